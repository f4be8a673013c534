"""What commands print: aligned tables, JSON for scripts, one clear line for an error."""

import functools
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn, ParamSpec, TypeVar

import click
import orjson
from flask import current_app

from llmhost.errors import LLMHostError
from llmhost.services import Config, Services

P = ParamSpec('P')
R = TypeVar('R')

CONTROLS = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)))

json_option = click.option('--json', 'as_json', is_flag=True, help='Print JSON, for scripts.')
api_key_env_option = click.option(
    '--api-key-env', metavar='VAR', help='The environment variable that holds the API key. Default: LLMHOST_API_KEY.')


def services() -> Services:
    """The services of the application the commands belong to."""
    found: Services = current_app.extensions['llmhost']
    return found


def fail(message: str) -> NoReturn:
    """One line on stderr, exit code 1."""
    click.echo(f'Error: {message}', err=True)
    sys.exit(1)


def failing_clearly(command: Callable[P, R]) -> Callable[P, R]:
    """A command whose LLMHostError is one line and exit code 1."""
    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except LLMHostError as error:
            fail(error.message)
        except UnicodeEncodeError:
            fail('What was typed is not UTF-8 text.')
        except OSError as error:
            fail(f'{error.strerror or error}{f": {error.filename}" if error.filename else ""}.')
    return run


def print_json(document: Any) -> None:
    click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())


def print_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as their longest cell, two spaces apart."""
    lines = [titles, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    for line in lines:
        click.echo('  '.join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def printable(text: str) -> str:
    """Text of others without what a terminal would obey: control characters other than tab and line feed."""
    return text.translate(CONTROLS)


def has_colour(config: Config) -> bool:
    """Whether the terminal may be asked for dim text (https://no-color.org)."""
    return not config.variables.get('NO_COLOR') and config.variables.get('TERM') != 'dumb'


def yes_no(statement: bool) -> str:
    return 'yes' if statement else 'no'


def ago(moment: float | None) -> str:
    """How long ago, in the largest whole unit."""
    if moment is None:
        return 'never'
    seconds = max(0, int(time.time() - moment))
    for unit, length in (('d', 86400), ('h', 3600), ('min', 60)):
        if seconds >= length:
            return f'{seconds // length} {unit} ago'
    return f'{seconds} s ago'
