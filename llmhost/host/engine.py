"""One managed server: started on demand, ready or failed, restarted when it dies, stopped when asked."""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from llmhost.errors import UnavailableError
from llmhost.host.backoff import Backoff
from llmhost.host.child import Child, rotate_log
from llmhost.host.launch import Launch
from llmhost.host.ports import LOOPBACK, free_port, is_taken
from llmhost.host.readiness import until_ready
from llmhost.storage.status import DOWN, LOADING, UP

FIRST_PAUSE, LAST_PAUSE = 0.2, 30.0
PATIENCE = 2.0
HEALTHY_AFTER = 60.0
PORT_TRIES = 3
LOG_INTERVAL = 5.0
STOPPED_CODE = 'server_stopped'
OWN_REASONS = {
    ' is not a GGUF file.': 'Its model is not a GGUF file.',
    'The package xllamacpp is missing (': "The package xllamacpp is missing: pip install 'llmhost[local]'",
}
"""What llmhost's own child says of a fault that a person can mend, and how clients are told."""

log = logging.getLogger(__name__)


class Report(Protocol):
    """Told of every change of state."""

    def __call__(self, state: str, *, error: str | None = None, url: str | None = None, pid: int | None = None) -> None: ...


class PortTakenError(UnavailableError):
    """Another process took the port before the child did."""


class ChildFailedError(UnavailableError):
    """The child was never ready. `words` are its last ones, for the console alone: they may quote keys and paths."""

    def __init__(self, message: str, words: str) -> None:
        super().__init__(message)
        self.words = words


class Engine:
    """One managed server. A single task lives from the first `ensure` on; all who ask share its present attempt.

    Once it was ready it is kept running. One that never was is tried again only when asked, and not more often than the
    backoff allows. `after` has to be done first: the stop of the process this one replaces.
    """

    def __init__(
        self,
        name: str,
        launch: Callable[[], Launch],
        log_path: Path,
        *,
        start_timeout: float,
        report: Report,
        after: asyncio.Task[None] | None = None,
    ) -> None:
        self._name = name
        self._launch = launch
        self._log_path = log_path
        self._start_timeout = start_timeout
        self._report = report
        self._after = after
        self._backoff = Backoff(FIRST_PAUSE, LAST_PAUSE)
        self._task: asyncio.Task[None] | None = None
        self._cancelled: asyncio.Task[None] | None = None
        self._outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._last_error = ''
        self._ready_since = 0.0
        self.wanted = False
        """Whether it was ready before, and so is to be kept running."""

    @property
    def url(self) -> str | None:
        """Its URL while it is ready."""
        return self._outcome.result() if self._outcome.done() else None

    @property
    def ready_since(self) -> float | None:
        """Since when (monotonic) it is ready, if it is."""
        return self._ready_since if self._outcome.done() else None

    @property
    def is_active(self) -> bool:
        """Whether it has a process, or is about to."""
        return self._task is not None and not self._task.done()

    async def ensure(self) -> str:
        """Its URL, once it is ready. Raises UnavailableError with the reason it is not; a caller may be cancelled freely."""
        pause = self._backoff.remaining()
        if pause > PATIENCE:
            raise UnavailableError(self._last_error, code='server_not_started', retry_after=pause)
        self.begin()
        return await asyncio.shield(self._outcome)

    def begin(self) -> None:
        """Start it, if it is not running or starting."""
        if not self.is_active:
            self._task = asyncio.create_task(self._keep_running(), name=f'engine {self._name}')
            self._task.add_done_callback(self._finish)

    async def stop(self) -> None:
        """Stop the process and wait until it is gone. Those who wait for it are told; nothing is reported.

        From now on it has no URL, and afterwards it may be started anew.
        """
        self.wanted = False
        self._fail_waiters(f"'{self._name}' was stopped.", STOPPED_CODE)
        task = self._task
        if task is not None:
            if task is not self._cancelled:  # a second time would break off the child's end
                self._cancelled = task
                task.cancel()
            await asyncio.wait({task})
        self._fail_waiters(f"'{self._name}' was stopped.", STOPPED_CODE)

    async def _keep_running(self) -> None:
        if self._after is not None:
            await asyncio.wait({self._after})
        while True:
            await asyncio.sleep(self._backoff.remaining())
            await self._live()
            if not self.wanted:
                return

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("'%s' is not looked after any more.", self._name, exc_info=error)
            self._fail(f"'{self._name}' failed: {type(error).__name__}.")

    async def _live(self) -> None:
        """One life of the process."""
        try:
            child, url = await self._bring_up()
        except ChildFailedError as error:
            failed, quoted = f"'{self._name}' did not start: {error}", error.words or 'it wrote nothing.'
            self._fail(f"{failed}; 'flask servers show {self._name}' and its log have the reason.", f'{failed}: {quoted}')
            return
        except UnavailableError as error:
            self._fail(f"'{self._name}' did not start: {error}")
            return
        try:
            began = time.monotonic()
            self._come_up(child, url)
            await self._until_ended(child)
            if time.monotonic() - began > HEALTHY_AFTER:
                self._backoff.reset()
            self._outcome = asyncio.get_running_loop().create_future()
            log_name = '/'.join(self._log_path.parts[-3:])  # and not its words: a server that was asked may log what it was sent
            self._fail(f"'{self._name}' {_end_of(child)}; its log has more: {log_name}")
        finally:
            await child.stop()

    def _come_up(self, child: Child, url: str) -> None:
        log.info("'%s' is ready at %s (process %d).", self._name, url, child.pid)
        self.wanted = True
        self._ready_since = time.monotonic()
        self._outcome.set_result(url)
        self._report(UP, url=url, pid=child.pid)

    def _fail(self, reason: str, seen: str | None = None) -> None:
        """`reason` is told to clients and logged; `seen`, where it says more, is in the status."""
        log.warning('%s', reason)
        self._last_error = reason
        self._backoff.fail()
        self._report(DOWN, error=seen or reason)
        self._fail_waiters(reason)

    def _fail_waiters(self, reason: str, code: str = 'server_not_started') -> None:
        if not self._outcome.done():
            self._outcome.set_exception(UnavailableError(reason, code=code))
            self._outcome.exception()  # seen: perhaps nobody waits
        self._outcome = asyncio.get_running_loop().create_future()

    async def _bring_up(self) -> tuple[Child, str]:
        """A child that is ready, and its URL. Raises UnavailableError."""
        launch = self._launch()
        for _ in range(PORT_TRIES):
            try:
                return await self._bring_up_on(free_port(), launch)
            except PortTakenError:
                continue
            except OSError as error:  # no descriptors, no memory, a full disk
                raise UnavailableError(f'{error.strerror or error}.') from error
        raise UnavailableError('No free port was found.')

    async def _bring_up_on(self, port: int, launch: Launch) -> tuple[Child, str]:
        url = f'http://{LOOPBACK}:{port}'
        child = await Child.start(launch.on(port), launch.environment, self._log_path)
        try:
            self._report(LOADING, pid=child.pid)
            await self._until_ready(child, url, launch)
        except BaseException as error:
            await child.stop()
            if isinstance(error, UnavailableError) and is_taken(port):
                raise PortTakenError('Its port was taken.') from error
            raise
        return child, url

    async def _until_ready(self, child: Child, url: str, launch: Launch) -> None:
        ready = asyncio.create_task(until_ready(url, all_of=launch.all_of, any_of=launch.any_of))
        try:
            await asyncio.wait({ready, child.ended}, timeout=self._start_timeout, return_when=asyncio.FIRST_COMPLETED)
            if child.ended.done():
                raise _failed(child, f'It {_end_of(child)}')
            if not ready.done():
                raise _failed(child, f'It was not ready within {self._start_timeout:g} s')
            await ready
        finally:
            ready.cancel()
            await asyncio.wait({ready})

    async def _until_ended(self, child: Child) -> None:
        """Waits for the child's end, and keeps its log short meanwhile."""
        while not child.ended.done():
            await asyncio.wait({child.ended}, timeout=LOG_INTERVAL)
            if not child.ended.done():  # its end must be known at once
                await asyncio.to_thread(rotate_log, self._log_path)


def _end_of(child: Child) -> str:
    """How it ended."""
    status = child.ended.result()
    if status < 0:
        return 'was killed together with its guard'
    return f'was ended by signal {status - 128}' if status > 128 else f'ended with status {status}'


def _failed(child: Child, how: str) -> UnavailableError:
    """The error of a child that was never ready: with a reason of llmhost's own words, where that is the cause."""
    words = child.tail()
    own = next((reason for sign, reason in OWN_REASONS.items() if sign in words), None)
    return UnavailableError(own) if own else ChildFailedError(how, words)
