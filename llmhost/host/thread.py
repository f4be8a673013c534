"""The dedicated asyncio thread. One class, started in the host process under gunicorn, and in-process by everything else."""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from llmhost.config import Config
from llmhost.errors import UnavailableError
from llmhost.host.host import Host
from llmhost.host.lease_server import serving_leases
from llmhost.host.lock import only_host
from llmhost.host.server import HostServer, build_app, listening

Document = dict[str, Any]

LOCK_WAIT = 6.0
"""An older host of the same data directory has this long to go: it gives its children 5 s to end."""
START_TIMEOUT = 10.0
STOP_TIMEOUT = 10.0

log = logging.getLogger(__name__)
for chatty in ('httpx2', 'uvicorn.error'):  # a line for each probe, and for what we say ourselves
    logging.getLogger(chatty).setLevel(logging.WARNING)


class HostThread:
    """The host in a daemon thread. Only `start`, `stop` and `is_alive` are for other threads."""

    def __init__(self, config: Config, check_server: Callable[[Document], Document]) -> None:
        self._config = config
        self._check_server = check_server
        self._thread = threading.Thread(target=self._run, name='llmhost-host', daemon=True)
        self._started: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main_task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    def start(self, timeout: float = START_TIMEOUT) -> None:
        """Returns when the socket accepts. Raises UnavailableError when another host runs here, or it takes too long."""
        self._thread.start()
        try:
            self._started.result(timeout)
        except TimeoutError as error:
            self.stop(timeout=1.0)
            raise UnavailableError(f'The host did not start within {timeout:g} s.') from error

    def stop(self, timeout: float = STOP_TIMEOUT) -> bool:
        """Stop all it runs; waits until that is done, up to `timeout`. Returns whether it is."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: it has stopped already
                self._loop.call_soon_threadsafe(self._leave)
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def _leave(self) -> None:
        self._stopping.set()
        if not self._started.done() and self._main_task is not None:
            self._main_task.cancel()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except asyncio.CancelledError:
            log.info('The host was stopped before it had started.')
        except Exception as error:  # the thread's last line: nobody else would ever see it
            if isinstance(error, UnavailableError):
                log.error('%s', error)
            else:
                log.exception('The host has failed.')
            if not self._started.done():
                self._started.set_exception(error)

    async def _main(self) -> None:
        self._loop, self._main_task = asyncio.get_running_loop(), asyncio.current_task()
        run_dir = self._config.run_dir
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        async with only_host(run_dir / 'host.lock', LOCK_WAIT):
            with listening(self._config.host_socket) as listener, listening(self._config.lease_socket) as lease_listener:
                await self._serve(listener, lease_listener)

    async def _serve(self, listener: socket.socket, lease_listener: socket.socket) -> None:
        """Until `stop`, or until a part of it fails: then all of it does."""
        host = Host(self._config, self._check_server)
        server = HostServer(build_app(host), on_started=lambda: self._started.set_result(None))
        async with serving_leases(host, lease_listener), asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve([listener]))
            running = tasks.create_task(host.run())
            await self._stopping.wait()
            running.cancel()
            await asyncio.wait({running})
            server.should_exit = True
