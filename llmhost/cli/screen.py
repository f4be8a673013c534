"""A terminal as a page that is drawn again and again."""

import os
import select
import shutil
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

OPEN = '\x1b[?1049h\x1b[?25l\x1b[?7l'
CLOSE = '\x1b[?7h\x1b[?25h\x1b[?1049l'
"""The alternate screen, no cursor, no wrapping; and back."""
HOME, END_OF_LINE, END_OF_SCREEN = '\x1b[H', '\x1b[K', '\x1b[J'
LOOK_SECONDS = 0.2
TERMINATED = 143


class Screen:
    """Takes the terminal, and gives it back as it was, whatever happens between."""

    def __init__(self) -> None:
        self._descriptor = sys.stdin.fileno()
        self._modes: list[Any] = []
        self._on_term: Any = None

    def __enter__(self) -> Self:
        self._modes = termios.tcgetattr(self._descriptor)
        self._on_term = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
        tty.setcbreak(self._descriptor)
        self._put(OPEN)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._put(CLOSE)
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._modes)
        signal.signal(signal.SIGTERM, self._on_term)

    def show(self, lines: Sequence[str], height: int) -> None:
        """Draw over what stands there, in one write: nothing is blank in between."""
        self._put(HOME + '\r\n'.join(f'{line}{END_OF_LINE}' for line in lines[:height]) + END_OF_SCREEN)

    def wait(self, seconds: float, on_resize: Callable[[], None]) -> str:
        """The key pressed within so many seconds, or ''."""
        end, size = time.monotonic() + seconds, self.size()
        while (left := end - time.monotonic()) > 0:
            if select.select([self._descriptor], [], [], min(left, LOOK_SECONDS))[0]:
                return os.read(self._descriptor, 64).decode(errors='replace')
            if size != self.size():
                size = self.size()
                on_resize()
        return ''

    @staticmethod
    def size() -> tuple[int, int]:
        """Columns and lines."""
        found = shutil.get_terminal_size()
        return found.columns, found.lines

    @staticmethod
    def _put(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
