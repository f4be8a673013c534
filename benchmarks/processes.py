"""Programs started for the benchmark, and only those stopped again, by pid."""

import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

STOP_TIMEOUT = 10.0


class NotRun(Exception):
    """A product could not be measured; the text is the reason shown in its row."""


def find_free_port() -> int:
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        port: int = listener.getsockname()[1]
    return port


class Processes:
    """Starts programs with their output in `folder`; leaving the `with` block stops them, the newest first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> 'Processes':
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self._stop_all()
        finally:
            self._stop_all()  # what a Ctrl-C during the first left

    def start(self, command: Sequence[str], *, environ: Mapping[str, str] | None = None,
              cwd: Path | None = None) -> subprocess.Popen[bytes]:
        """A session of its own keeps a Ctrl-C at the terminal from reaching the program before we stop it."""
        with self.log.open('ab') as log:
            process = subprocess.Popen(command, cwd=cwd or self.folder, env={**os.environ, **(environ or {})},
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self._started.append(process)
        return process

    def _stop_all(self) -> None:
        while self._started:
            _stop(self._started[-1])
            self._started.pop()

    @property
    def log(self) -> Path:
        return self.folder / 'output.log'

    def has_ended(self) -> bool:
        """Whether a program that should be running is not."""
        return any(process.poll() is not None for process in self._started)

    def last_words(self) -> str:
        """The last line the programs wrote, for the reason of a failed start."""
        lines = [line.strip() for line in self.log.read_text(errors='replace').splitlines() if line.strip()]
        return lines[-1][:160] if lines else 'it wrote nothing'


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # the usual case: it took its children with it
