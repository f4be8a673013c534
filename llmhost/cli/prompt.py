"""Reading what a person types: more lines than one, arrow keys, a history that lasts."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import click

try:
    import readline
except ImportError:  # not on every platform: then without arrow keys
    line_editor: ModuleType | None = None
else:
    line_editor = readline

HISTORY_LENGTH = 1000
BLOCK = '"""'
FIRST, NEXT = '> ', '… '
ONCE_MORE = 'Ctrl-C once more, or Ctrl-D, to quit.'


@dataclass(frozen=True, slots=True)
class Typed:
    """One message, or a command with its words."""

    text: str
    is_command: bool = False


class Prompt:
    """Gives what was typed, a message at a time. `read_line` is `input`, or what a test has in its place."""

    def __init__(self, read_line: Callable[[str], str] = input) -> None:
        self._read_line = read_line

    def read(self) -> Typed | None:
        """The next message or command; None when the person is done (Ctrl-D, or Ctrl-C twice)."""
        interrupted = False
        while True:
            try:
                typed = self._read_message()
            except EOFError:
                click.echo()
                return None
            except KeyboardInterrupt:
                click.echo()
                if interrupted:
                    return None
                interrupted = True
                click.echo(ONCE_MORE, err=True)
                continue
            if typed.text.strip():
                return typed
            interrupted = False

    def _read_message(self) -> Typed:
        """A line; with those after it where it ends in a backslash, or up to a closing `\"\"\"`."""
        line = self._read_line(FIRST)
        if line.lstrip().startswith(BLOCK):
            return Typed(self._read_block(line.lstrip().removeprefix(BLOCK)))
        lines = [line]
        while lines[-1].endswith('\\'):
            lines[-1] = lines[-1][:-1]
            lines.append(self._read_line(NEXT))
        text = '\n'.join(lines)
        return Typed(text.strip(), is_command=text.startswith('/'))

    def _read_block(self, line: str) -> str:
        lines = []
        while not line.rstrip().endswith(BLOCK):
            lines.append(line)
            line = self._read_line(NEXT)
        lines.append(line.rstrip().removesuffix(BLOCK))
        return '\n'.join(lines).strip('\n')


class History:
    """The lines of earlier times, in a file of mode 0600; a file that cannot be used is done without."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        if line_editor is None:
            return
        line_editor.set_history_length(HISTORY_LENGTH)
        with suppress(OSError):
            line_editor.read_history_file(self._path)

    def __exit__(self, *_: object) -> None:
        if line_editor is None:
            return
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600))  # the mode stands before a word is in it
            os.chmod(self._path, 0o600)
            line_editor.write_history_file(self._path)
            os.chmod(self._path, 0o600)
