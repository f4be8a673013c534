"""An answer on the console, as it comes."""

import time
from collections.abc import Iterable

import click

from llmhost.cli.output import printable
from llmhost.services import Pace, Piece

PATIENCE = 1.0
CLEAR_LINE = '\r\x1b[K'


class AnswerText:
    """Writes pieces to standard output: on a terminal reasoning dim, a clock while nothing comes, and no control characters."""

    def __init__(self, is_terminal: bool, has_colour: bool) -> None:
        self._is_terminal = is_terminal
        self._has_colour = has_colour
        self._line_is_open = False
        self._is_waiting = False
        self._was_reasoning = False

    def show(self, pieces: Iterable[Piece | None]) -> None:
        """Write them all; whatever ends them, the cursor is at the start of a line after."""
        began = time.monotonic()
        self._was_reasoning = False
        try:
            for piece in pieces:
                if piece is not None:
                    self._write(piece)
                elif not self._line_is_open and time.monotonic() - began > PATIENCE:
                    self._wait(time.monotonic() - began)
        except KeyboardInterrupt:
            self._line_is_open = True  # the terminal wrote ^C
            raise
        finally:
            self._stop_waiting()
            if self._line_is_open:
                click.echo()
                self._line_is_open = False

    def note(self, text: str) -> None:
        """A line beside the answer, on a terminal."""
        if self._is_terminal:
            click.echo(self._dim(text))

    def _write(self, piece: Piece) -> None:
        if not self._is_terminal:
            text = '' if piece.is_reasoning else piece.text
        else:
            self._stop_waiting()
            self._part(piece)
            text = printable(piece.text)
        if text:
            click.echo(self._dim(text) if piece.is_reasoning else text, nl=False)
            self._line_is_open = not text.endswith('\n')

    def _part(self, piece: Piece) -> None:
        """An empty line between the reasoning and the answer."""
        if self._was_reasoning and not piece.is_reasoning:
            click.echo('\n' if self._line_is_open else '')
            self._line_is_open = False
        self._was_reasoning = piece.is_reasoning

    def _wait(self, seconds: float) -> None:
        if self._is_terminal:
            click.echo(f'{CLEAR_LINE}{self._dim(f"… {seconds:.0f} s")}', nl=False)
            self._is_waiting = True

    def _stop_waiting(self) -> None:
        if self._is_waiting:
            click.echo(CLEAR_LINE, nl=False)
            self._is_waiting = False

    def _dim(self, text: str) -> str:
        return click.style(text, dim=True) if self._has_colour else text


def describe(pace: Pace) -> str:
    """How fast it was, in a line."""
    parts = []
    if pace.tokens is not None:
        parts.append(f'{pace.tokens} token{"" if pace.tokens == 1 else "s"}')
    if pace.tokens_per_second is not None:
        parts.append(f'{pace.tokens_per_second:.1f} tokens/s')
    if pace.first is not None:
        parts.append(f'first after {pace.first - pace.began:.2f} s')
    return ' · '.join((*parts, f'{pace.seconds:.2f} s'))
