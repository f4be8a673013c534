"""`flask presets`: aliases of models that bring parameters, a system prompt and fallbacks."""

from collections.abc import Callable, Sequence
from typing import Any

import click
import orjson
from flask.cli import AppGroup

from llmhost.cli.output import failing_clearly, json_option, print_json, print_table, services
from llmhost.services import Preset

Command = Callable[..., None]

UNSET: dict[str, Any] = {'system': None, 'params': {}, 'fallbacks': ()}
"""What `update --unset` takes back."""
CELL_LIMIT = 60
NO_PRESETS = 'No presets yet. Add one: flask presets add NAME --model M'

group = AppGroup('presets', help='Add, list, change and remove model presets. Changes are live on the next request.')


def parse_params(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    """`--param K=V`, repeated: V is JSON where it can be read as that, else text."""
    params: dict[str, Any] = {}
    for value in values:
        name, equals, text = value.partition('=')
        if not equals or not name:
            raise click.BadParameter('is NAME=VALUE.')
        params[name] = parse_value(text)
    return params


def parse_value(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


SETTINGS: Sequence[Callable[[Command], Command]] = (
    click.option('--system', metavar='S', help='Put this system prompt in front of every chat.'),
    click.option('--param', 'params', multiple=True, metavar='K=V', callback=parse_params,
                 help="A parameter for requests that do not give it (repeatable), such as temperature=0.2 or stop='[\"x\"]'."),
    click.option('--fallback', 'fallbacks', multiple=True, metavar='M', help='Ask this model next (repeatable, in order).'),
)


def settings(command: Command) -> Command:
    """The options that `add` and `update` share."""
    for option in reversed(SETTINGS):
        command = option(command)
    return command


@group.command('add')
@click.argument('name')
@click.option('--model', metavar='M', required=True, help='The model it stands for: an id, or server/id.')
@settings
@failing_clearly
def add(name: str, **fields: Any) -> None:
    """Add a preset: clients then ask for it by its name, as for a model.

    \b
    flask presets add writer --model llama3.2 --system 'You write plainly.' --param temperature=0.9
    flask presets add coder --model gpu/qwen3-coder --fallback cloud/gpt-5-mini
    """
    parts = services()
    preset = parts.presets.add(name, **_given(fields))
    click.echo(f"Added '{name}': {' → '.join(preset.models)}.")
    hidden = parts.models.servers_of(name)
    if hidden:
        click.echo(f"It hides the model '{name}' of {', '.join(hidden)}: ask for that as {hidden[0]}/{name}.", err=True)
    _warn_of_unknown(preset)


@group.command('remove')
@click.argument('name')
@failing_clearly
def remove(name: str) -> None:
    """Remove a preset."""
    services().presets.remove(name)
    click.echo(f"Removed '{name}'.")


@group.command('list')
@json_option
@failing_clearly
def list_presets(as_json: bool) -> None:
    """List the presets with what they bring."""
    presets = services().presets.list().values()
    if as_json:
        print_json([describe(preset) for preset in presets])
    elif not presets:
        click.echo(NO_PRESETS)
    else:
        print_table(('NAME', 'MODEL', 'FALLBACKS', 'PARAMETERS', 'SYSTEM PROMPT'), [_row(preset) for preset in presets])


@group.command('show')
@click.argument('name')
@json_option
@failing_clearly
def show(name: str, as_json: bool) -> None:
    """Show everything about one preset."""
    preset = services().presets.get(name)
    if as_json:
        print_json(describe(preset))
        return
    for field, text in (
        ('name', name), ('model', preset.model), ('fallbacks', ', '.join(preset.fallbacks)),
        ('params', _params_text(preset)), ('system', preset.system),
    ):
        if text:
            click.echo(f'{field.ljust(9)}  {text}')


@group.command('update')
@click.argument('name')
@click.option('--model', metavar='M', help='The model it stands for from now on.')
@click.option('--unset', multiple=True, type=click.Choice(tuple(UNSET)), help='Take this back (repeatable).')
@settings
@failing_clearly
def update(name: str, unset: tuple[str, ...], **fields: Any) -> None:
    """Change a preset; only what is given changes.

    The parameters and fallbacks given take the place of all it had.
    """
    changes = {field: UNSET[field] for field in unset} | _given(fields)
    if not changes:
        raise click.UsageError('Nothing to change: give at least one option.')
    preset = services().presets.update(name, **changes)
    click.echo(f"Updated '{name}'.")
    _warn_of_unknown(preset)


def describe(preset: Preset) -> dict[str, Any]:
    """A preset for a script."""
    return {
        'name': preset.name,
        'model': preset.model,
        'system': preset.system,
        'params': preset.params,
        'fallbacks': list(preset.fallbacks),
    }


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, as they are stored."""
    lists = {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
    return {name: value for name, value in lists.items() if value not in (None, [], {})}


def _warn_of_unknown(preset: Preset) -> None:
    for model in preset.models:
        if not services().models.servers_of(model):
            click.echo(f"No server is known to have the model '{model}' now.", err=True)


def _row(preset: Preset) -> tuple[str, ...]:
    lines = (preset.system or '').splitlines() or ['']
    return (preset.name, preset.model, *(_cut(text) or '-' for text in (
        ', '.join(preset.fallbacks), _params_text(preset), lines[0] + ('…' if lines[1:] else ''))))


def _params_text(preset: Preset) -> str:
    return ' '.join(f'{name}={orjson.dumps(value).decode()}' for name, value in preset.params.items())


def _cut(text: str) -> str:
    return text if len(text) <= CELL_LIMIT else f'{text[:CELL_LIMIT - 1]}…'
