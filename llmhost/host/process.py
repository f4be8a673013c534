"""The host as gunicorn runs it: `dirty_apps = ['llmhost.host.process:HostApp']`, `dirty_workers = 1`.

gunicorn imports this module in its master too, before the workers are forked, so all that knows asyncio is imported by `init`.
"""

import logging
import os
import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

from gunicorn.dirty.app import DirtyApp

from llmhost.config import load_config
from llmhost.errors import UnavailableError

if TYPE_CHECKING:
    from llmhost.host.thread import HostThread

WATCH_INTERVAL = 0.2
LEAVE_TIMEOUT = 0.7
STOP_TIMEOUT = 10.0
CLOSE_WAIT = 2.0
LEAVE_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)

log = logging.getLogger(__name__)


class HostApp(DirtyApp):  # type: ignore[misc]  # gunicorn has no types
    """Starts the host's thread, and ends the process when there is no reason left for it to run."""

    workers = 1
    """Without it, gunicorn's SIGHUP starts a second host beside the first and then ends the newer one."""

    def __init__(self) -> None:
        self._parent = os.getppid()
        self._host: HostThread | None = None
        self._asked_to_leave = threading.Event()
        self._closed = threading.Event()

    def init(self) -> None:
        """Returns when the host's socket accepts."""
        from llmhost.host.thread import HostThread  # asyncio must stay out of gunicorn's master
        from llmhost.schemas import load_server  # marshmallow too: nobody else there needs it

        self._take_signals()
        self._host = HostThread(load_config(), load_server)
        threading.Thread(target=self._watch, name='llmhost-watch', daemon=True).start()
        self._host.start()

    def close(self) -> None:
        self._closed.set()
        if self._host is not None:
            self._host.stop(STOP_TIMEOUT)
