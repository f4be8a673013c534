"""The host as gunicorn runs it: `dirty_apps = ['llmhost.host.process:HostApp']`, `dirty_workers = 1`.

gunicorn imports this module in its master too, before the workers are forked, so all that knows asyncio is imported by `init`.
"""

import logging
import os
import signal
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, Any

from gunicorn.dirty.app import DirtyApp

from llmhost.config import Config, load_config
from llmhost.errors import LLMHostError
from llmhost.storage.slots import SharedSlots

if TYPE_CHECKING:
    from llmhost.host.thread import HostThread

WATCH_INTERVAL = 0.2
DRAIN_TIMEOUT = 30.0
DRAIN_VARIABLE = 'LLMHOST_DRAIN_TIMEOUT'
"""gunicorn's graceful time-out, as its master found it (`llmhost.serving`); DRAIN_TIMEOUT without."""
STOP_TIMEOUT = 10.0
ORPHAN_TIMEOUT = 0.5
CLOSE_WAIT = 2.0
RESPAWN_PAUSE = 1.0
"""gunicorn starts a new host the moment one has failed, as often as it fails."""
GENTLE, QUICK = signal.SIGTERM, signal.SIGQUIT

log = logging.getLogger(__name__)


class HostApp(DirtyApp):  # type: ignore[misc]  # gunicorn has no types
    """Starts the host's thread, and ends the process when there is no reason left for it to run."""

    workers = 1
    """Without it, gunicorn's SIGHUP starts a second host beside the first and then ends the newer one."""

    def __init__(self) -> None:
        self._parent = os.getppid()
        self._asked_to_leave: int | None = None
        self._closed = threading.Event()
        self._gunicorns: dict[int, Any] = {}

    def init(self) -> None:
        """Returns when the host's socket accepts."""
        from llmhost.host import thread  # asyncio must stay out of gunicorn's master
        from llmhost.schemas import load_server  # marshmallow too: nobody else there needs it

        self._take_signals()
        config = load_config()
        self._host: HostThread = thread.HostThread(config, load_server)
        threading.Thread(target=self._watch, args=(config,), name='llmhost-watch', daemon=True).start()
        try:
            self._host.start()
        except (LLMHostError, OSError):
            time.sleep(RESPAWN_PAUSE)
            raise

    def close(self) -> None:
        self._closed.set()
        self._host.stop(STOP_TIMEOUT)

    def _take_signals(self) -> None:
        """gunicorn loses a signal that comes before its own loop runs, and ends us while the workers still stream."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            self._gunicorns[number] = signal.signal(number, self._on_signal)
        # a handler left by the arbiter this process was forked from, whose loop it would wake
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._asked_to_leave == QUICK:
            self._gunicorns[number](number, frame)
        else:
            self._asked_to_leave = GENTLE if number == GENTLE else QUICK

    def _watch(self, config: Config) -> None:
        """Until `close`, or a reason to end: the parents died, the host failed, or a signal came and no request runs."""
        limit = None
        drain_timeout = float(config.variables.get(DRAIN_VARIABLE) or DRAIN_TIMEOUT)
        while not self._closed.wait(WATCH_INTERVAL):
            if os.getppid() != self._parent:
                self._end('gunicorn is gone', ORPHAN_TIMEOUT)
            if not self._host.is_alive():
                time.sleep(RESPAWN_PAUSE)
                self._end('it has failed', 0.0)
            if self._asked_to_leave is not None:
                limit = limit or time.monotonic() + drain_timeout
                if self._asked_to_leave == QUICK or time.monotonic() > limit or not _requests_run(config):
                    self._leave()

    def _leave(self) -> None:
        """Have gunicorn end this process in its own way; do it ourselves where it does not."""
        self._asked_to_leave = QUICK
        os.kill(os.getpid(), QUICK)
        if not self._closed.wait(CLOSE_WAIT):
            self._end('gunicorn did not end it', STOP_TIMEOUT)

    def _end(self, reason: str, timeout: float) -> None:
        """Without Python's own ending, which waits for threads. Guards kill the children that are left."""
        log.warning('The host ends: %s.', reason)
        self._host.stop(timeout)
        os._exit(1)


def _requests_run(config: Config) -> bool:
    """Whether a worker still has requests: the managed servers must outlive the streams they feed."""
    slots = SharedSlots(config.run_dir, config.max_concurrency)
    try:
        return slots.running() > 0
    finally:
        slots.close()
