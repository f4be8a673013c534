"""How far a pull has come: a bar that moves at a terminal, a line every tenth elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from llmhost.cli.output import fail, services

BAR_WIDTH = 24
DRAW_SECONDS = 0.1
RATE_SECONDS = 5.0
LINE_BYTES = 100 << 20
"""How often there is a line of a file whose length nobody said."""


class Progress:
    """Told of each part that comes. `tell` prints a line of its own in between."""

    def __init__(self, moving: bool | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._moving = sys.stdout.isatty() if moving is None else moving
        self._clock = clock
        self._since: tuple[float, int] | None = None
        self._before: tuple[float, int] | None = None
        self._drawn_at = -DRAW_SECONDS
        self._is_open = False
        self._step = 0

    def tell(self, text: str) -> None:
        self.end()
        click.echo(text)

    def progress(self, done: int, total: int | None) -> None:
        """`done` bytes of `total` are here."""
        now = self._clock()
        if self._since is None or self._since[1] > done:
            self._since = self._before = (now, done)
            self._step = _step_of(done, total) if done != total else 0
        if self._moving:
            if now - self._drawn_at >= DRAW_SECONDS or done == total:
                self._draw(now, done, total)
        elif _step_of(done, total) > self._step:
            self._step = _step_of(done, total)
            click.echo(describe(done, total, self._rate(now, done)))

    def end(self) -> None:
        """Leave the line of the bar."""
        if self._is_open:
            click.echo()
        self._is_open = False

    def _draw(self, now: float, done: int, total: int | None) -> None:
        filled = BAR_WIDTH * done // total if total else 0
        bar = f'[{"#" * filled}{"." * (BAR_WIDTH - filled)}] ' if total else ''
        click.echo(f'\r\x1b[K{bar}{describe(done, total, self._rate(now, done))}', nl=False, color=True)
        self._is_open, self._drawn_at = True, now

    def _rate(self, now: float, done: int) -> float:
        """Bytes a second, over the last five to ten seconds."""
        assert self._since is not None and self._before is not None
        start, had = self._before
        if now - self._since[0] >= RATE_SECONDS:
            self._before, self._since = self._since, (now, done)
        return (done - had) / (now - start) if now > start else 0.0


@contextmanager
def watching(model: str) -> Iterator[Progress]:
    """Show a pull; Ctrl-C ends it in words."""
    progress = Progress()
    try:
        yield progress
    except KeyboardInterrupt:
        progress.end()
        kept = services().catalogue.kept(model)
        fail(f'Stopped. The {size_text(kept)} that came are kept: the same command goes on from there.' if kept
             else 'Stopped. Nothing was kept.')
    finally:
        progress.end()


def describe(done: int, total: int | None, rate: float) -> str:
    """Percent, megabytes, speed and time left, as far as they are known."""
    speed = f'{rate / (1 << 20):.1f} MB/s'
    if not total:
        return f'{done >> 20} MB  {speed}'
    left = f'  ETA {_clock_text((total - done) / rate)}' if rate > 0 and done < total else ''
    return f'{100 * done // total:3d} %  {done >> 20} of {total >> 20} MB  {speed}{left}'


def size_text(size: int) -> str:
    """A file's size, in MB below a thousand of them."""
    return f'{size / (1 << 30):.1f} GB' if size >= 1000 << 20 else f'{size >> 20} MB'


def _step_of(done: int, total: int | None) -> int:
    return 10 * done // total if total else done // LINE_BYTES


def _clock_text(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02d}:{rest:02d}' if hours else f'{minutes}:{rest:02d}'
