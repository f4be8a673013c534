"""A command at a real pseudo-terminal: what a person types, and what the screen is sent."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parent.parent.parent


class Terminal:
    """`flask ARGUMENTS`, running. `shown` is all that was written so far."""

    def __init__(self, arguments: list[str], data_dir: Path, columns: int = 100, lines: int = 30, **settings: str):
        self.shown = ''
        self._ours, theirs = pty.openpty()
        self.resize(columns, lines)
        self._process = subprocess.Popen(
            [sys.executable, '-m', 'flask', *arguments], cwd=ROOT, env=environment(data_dir, settings),
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack('HHHH', lines, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def wait_for(self, text: str, timeout: float = 8.0) -> str:
        """What was written up to and with `text`; it counts as read then."""
        end = time.monotonic() + timeout
        while text not in self.shown:
            assert time.monotonic() < end and self._read(end), f'{text!r} is not in {self.shown!r}'
        before, _, self.shown = self.shown.partition(text)
        return before + text

    def press_until(self, key: str, text: str | None, timeout: float = 10.0) -> None:
        """Press a key again and again until `text` is shown (None: until the program ended), as a person would: an
        interrupt in the instant before readline waits for keys is seen with the next key only."""
        end = time.monotonic() + timeout
        while self._process.poll() is None and (text is None or text not in self.shown):
            assert time.monotonic() < end, f'{text!r} is not in {self.shown!r}'
            self.type(key)
            pause = time.monotonic() + 2.0
            while self._read(pause) and (text is None or text not in self.shown):
                pass

    def wait_for_end(self, timeout: float = 5.0) -> int:
        """Its exit code, with the rest of what it wrote in `shown`."""
        end = time.monotonic() + timeout
        while self._read(end):
            pass
        return self._process.wait(max(0.1, end - time.monotonic()))

    @property
    def modes(self) -> int:
        """The terminal's local modes: whether it echoes, and hands on lines or keys."""
        return int(termios.tcgetattr(self._ours)[3])

    def _read(self, end: float) -> bool:
        if not select.select([self._ours], [], [], max(0.0, end - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # what Linux answers once the other end is closed
            return False
        self.shown += data.decode(errors='replace')
        return bool(data)


def environment(data_dir: Path, settings: Mapping[str, str]) -> dict[str, str]:
    unset = ('LLMHOST_', 'NO_COLOR', 'COLUMNS', 'LINES')
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
    return {**kept, 'LLMHOST_DATA_DIR': str(data_dir), 'TERM': 'xterm', 'LANG': 'C.UTF-8', **settings}
