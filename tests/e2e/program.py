"""A program under test: in a session of its own, with its log in a file, stopped by pid, and nothing left of it."""
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from .processes import Process, list_descendants, list_related, wait_until
from .wire import Call

LOGS: list[Path] = []
"""The logs of all programs started so far: the failed test shows what they wrote meanwhile."""

ROOT = Path(__file__).parent.parent.parent


def find_free_port() -> int:
    with socket.create_server(('127.0.0.1', 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


class Program:
    """Started at once. `marker` is text that only its processes have in their environment or command line."""

    def __init__(self, command: Sequence[str], log: Path, marker: str, environ: Mapping[str, str] | None = None):
        self.marker = marker
        self.log = log
        LOGS.append(log)
        with log.open('ab') as output:
            self._process = subprocess.Popen(command, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=output,
                                             stderr=output, start_new_session=True)

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_answers(self, url: str, timeout: float = 20.0) -> None:
        """Wait for a 200 from `url`."""
        def answers() -> bool:
            assert self._process.poll() is None, f'it ended with {self._process.returncode}: {self.last_words()}'
            return is_ok(url)
        wait_until(answers, timeout, f'{url} answers 200. {self.last_words()}')

    def last_words(self) -> str:
        return self.log.read_text(errors='replace')[-2000:]

    def list_processes(self) -> set[Process]:
        """The program and all it has started, whoever their parent is by now."""
        return {*list_descendants(self.pid), *list_related(self.pid, self.marker)}

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout: float) -> int:
        """Its exit code. AssertionError when it is still running after `timeout` seconds."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f'still running {timeout} s later: {self.last_words()}') from None

    def stop(self, timeout: float = 15.0) -> None:
        """SIGTERM, then assert that it ends, and that nothing it started goes on running."""
        before = self.list_processes()
        try:
            if self._process.poll() is None:
                self.signal(signal.SIGTERM)
                self.wait(timeout)
        finally:
            left = self._kill_rest(before)
        assert not left, f'left running: {left}'

    def _kill_rest(self, before: set[Process]) -> list[str]:
        """Descriptions of what still ran a second after the end; it does not any more."""
        end = time.monotonic() + 1
        while (left := self._list_left(before)) and time.monotonic() < end:
            time.sleep(0.02)
        described = [str(process) for process in left]
        for process in left:
            kill(process.pid)
        self._process.wait()
        return described

    def _list_left(self, before: set[Process]) -> set[Process]:
        return {process for process in before if process.is_running()} | list_related(self.pid, self.marker)


def kill(pid: int) -> None:
    """SIGKILL, to a process that may have ended meanwhile."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def is_ok(url: str) -> bool:
    try:
        with Call(url, timeout=5) as call:
            return call.status == 200
    except (OSError, http.client.HTTPException):
        return False
