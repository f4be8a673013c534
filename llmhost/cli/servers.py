"""`flask servers`: the registry of LLM servers."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from flask.cli import AppGroup

from llmhost.cli.output import ago, failing_clearly, json_option, print_json, print_table, services, yes_no
from llmhost.cli.progress import watching
from llmhost.errors import LLMHostError
from llmhost.services import Server, ServerStatus, provider_names

Command = Callable[..., None]

UNSET: dict[str, dict[str, Any]] = {
    'models': {'models': ()},
    'api-key': {'api_key': None, 'api_key_env': None},
    'headers': {'headers': {}},
    'timeout': {'timeout': None},
    'context': {'context': None},
    'threads': {'threads': None},
    'max-concurrency': {'max_concurrency': None},
    'idle-ttl': {'idle_ttl': None},
    'mmproj': {'mmproj': None},
    'memory-group': {'memory_group': None},
}
"""What `update --unset` takes back, and the fields it changes."""
CHECKED = frozenset({'url', 'provider', 'api_key', 'api_key_env', 'headers', 'mmproj'})
"""The fields that decide whether a server answers: changing one has it asked first."""
MODELS_SHOWN = 3
CELL_LIMIT = 60
NO_SERVERS = 'No servers yet. Add one: flask servers add NAME URL'

group = AppGroup('servers', help='Add, list, change and remove LLM servers. Changes are live on the next request.')


def parse_path(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """The absolute path of a file."""
    return None if value is None else str(Path(value).expanduser().absolute())


def parse_headers(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """`--header K=V`, repeated."""
    headers = {}
    for value in values:
        name, equals, text = value.partition('=')
        if not equals or not name:
            raise click.BadParameter('is NAME=VALUE.')
        headers[name] = text
    return headers


Decorator = Callable[[Command], Command]
SETTINGS: Sequence[Decorator] = (
    click.option('--provider', type=click.Choice(provider_names()), help='Its dialect. Default: guessed from the URL.'),
    click.option('--model', 'models', multiple=True, metavar='ID', help='Serve this model id (repeatable). Default: all.'),
    click.option('--api-key-env', metavar='VAR', help='The environment variable that holds its API key.'),
    click.option('--api-key-stdin', is_flag=True, help='Read its API key from standard input and store it (mode 0600).'),
    click.option('--header', 'headers', multiple=True, metavar='K=V', callback=parse_headers, help='Send this header too.'),
    click.option('--max-concurrency', type=click.IntRange(1), metavar='N', help='Requests it gets at once; the others wait.'),
    click.option('--priority', type=int, metavar='N', help='Among servers with the same model, higher is asked first.'),
    click.option('--timeout', type=click.FloatRange(0, min_open=True), metavar='S', help='Seconds it may be silent.'),
    click.option('--weight', type=click.IntRange(1), metavar='N', help='Its share of a pool, 1 unless told otherwise.'),
    click.option('--idle-ttl', type=click.FloatRange(0), metavar='S', help='Managed: stop it after S idle seconds.'),
    click.option('--memory-group', metavar='G', help='Managed: of the servers of a group one runs at a time.'),
    click.option('--mmproj', metavar='PATH', callback=parse_path, help='Managed, with --gguf: its vision projector.'),
    click.option('--context', type=click.IntRange(1), metavar='N', help='Managed: context length in tokens.'),
    click.option('--threads', type=click.IntRange(1), metavar='N', help='Managed: threads (default 1).'),
    click.option('--no-check', is_flag=True, help='Do not ask the server first whether it is there.'),
)


def settings(command: Command) -> Command:
    """The options that `add` and `update` share."""
    for option in reversed(SETTINGS):
        command = option(command)
    return command


def read_key(from_stdin: bool) -> str | None:
    """The API key on standard input, unseen at a terminal."""
    if not from_stdin:
        return None
    if sys.stdin.isatty():
        key = str(click.prompt('API key', hide_input=True, err=True)).strip()
    else:
        key = sys.stdin.readline().strip()
    if not key:
        raise click.UsageError('--api-key-stdin found no key on standard input.')
    return key


@group.command('add')
@click.argument('name')
@click.argument('url', required=False)
@click.option('--gguf', metavar='PATH|MODEL', help="A managed llama.cpp server: a file, or what 'flask models pull' takes.")
@click.option('--command', metavar="'… {port} …'", help='A managed server: llmhost runs this command.')
@settings
@failing_clearly
def add(
    name: str, url: str | None, gguf: str | None, command: str | None, api_key_stdin: bool, no_check: bool, **fields: Any,
) -> None:
    """Add a server: its URL, or what llmhost shall run.

    \b
    flask servers add studio http://mac.lan:1234
    flask servers add cloud https://api.openai.com/v1 --api-key-env OPENAI_API_KEY
    flask servers add small --gguf ~/models/qwen.gguf
    flask servers add coder --gguf qwen2.5-coder-1.5b-instruct
    """
    if sum(value is not None for value in (url, gguf, command)) != 1:
        raise click.UsageError('Give a URL, or --gguf, or --command: exactly one.')
    if fields.get('mmproj') and gguf is None:
        raise click.UsageError('--mmproj goes with --gguf.')
    _refuse_two_keys(api_key_stdin, fields['api_key_env'])
    console, catalogue = services().console, services().catalogue
    path = str(catalogue.path_of(gguf)) if gguf is not None else None
    server = console.build(name=name, url=url, gguf=path, command=command, api_key=read_key(api_key_stdin), **fields)
    if gguf is not None:
        with watching(gguf) as watch:
            catalogue.provide(name, gguf, watch)
    models = console.add(server, check=not no_check)
    click.echo(f"Added '{name}' ({server.provider}){_found(models)}")
    if models:
        click.echo(f'Models: {_shorten(models, 10)}')


@group.command('remove')
@click.argument('name')
@failing_clearly
def remove(name: str) -> None:
    """Remove a server from the registry."""
    services().console.remove(name)
    click.echo(f"Removed '{name}'.")


@group.command('list')
@json_option
@failing_clearly
def list_servers(as_json: bool) -> None:
    """List the servers with their models and health."""
    entries = services().console.all()
    if as_json:
        print_json([describe(server, status) for server, status in entries])
    elif not entries:
        click.echo(NO_SERVERS)
    else:
        titles = ('NAME', 'PROVIDER', 'URL', 'MODELS', 'HEALTH', 'CHECKED', 'LAST ERROR')
        print_table(titles, [_row(server, status) for server, status in entries])
        if not any(status.checked_at for _, status in entries):
            click.echo("Nothing was seen yet: llmhost looks while it serves ('flask up'), 'flask servers check' now.", err=True)


@group.command('show')
@click.argument('name')
@json_option
@failing_clearly
def show(name: str, as_json: bool) -> None:
    """Show everything about one server, except its secrets."""
    document = describe(*services().console.get(name))
    if as_json:
        print_json(document)
        return
    width = max(map(len, document))
    for key, value in document.items():
        if value not in (None, [], {}):
            click.echo(f'{key.ljust(width)}  {_text_of(key, value)}')


@group.command('update')
@click.argument('name')
@click.option('--url', metavar='URL', help='Its new address.')
@click.option('--unset', multiple=True, type=click.Choice(tuple(UNSET)), help='Take this setting back (repeatable).')
@settings
@failing_clearly
def update(name: str, unset: tuple[str, ...], api_key_stdin: bool, no_check: bool, **fields: Any) -> None:
    """Change a server; only what is given changes.

    The models and headers given take the place of all it had.
    """
    _refuse_two_keys(api_key_stdin, fields['api_key_env'])
    changes = {field: value for setting in unset for field, value in UNSET[setting].items()}
    changes |= {key: value for key, value in fields.items() if value not in (None, (), {})}
    if fields['api_key_env']:
        changes['api_key'] = None
    if api_key_stdin:
        changes |= {'api_key': read_key(True), 'api_key_env': None}
    if not changes:
        raise click.UsageError('Nothing to change: give at least one option.')
    services().console.update(name, check=not no_check and not CHECKED.isdisjoint(changes), **changes)
    click.echo(f"Updated '{name}'.")


@group.command('enable')
@click.argument('name')
@failing_clearly
def enable(name: str) -> None:
    """Let a server be used again."""
    services().console.enable(name, True)
    click.echo(f"Enabled '{name}'.")


@group.command('disable')
@click.argument('name')
@failing_clearly
def disable(name: str) -> None:
    """Keep a server in the registry, unused."""
    services().console.enable(name, False)
    click.echo(f"Disabled '{name}'.")


@group.command('check')
@click.argument('name', required=False)
@failing_clearly
def check(name: str | None) -> None:
    """Ask one server, or all, for their models now. Exit code 1 when one cannot be used."""
    console = services().console
    servers = [console.get(name)[0]] if name else list(console.servers().values())
    if not servers:
        click.echo(NO_SERVERS)
    failed = 0
    for server in servers:
        try:
            click.echo(f'{server.name}: usable{_found(console.check(server))}')
        except LLMHostError as error:
            failed += 1
            click.echo(f'{server.name}: {error.message}', err=True)
    if failed:
        raise click.exceptions.Exit(1)


def describe(server: Server, status: ServerStatus) -> dict[str, Any]:
    """A server for a reader: secrets are replaced by whether they are there."""
    models = list(server.models) or [entry['id'] for entry in status.models]
    return {
        'name': server.name,
        'provider': server.provider,
        'url': server.url or status.url,
        'gguf': server.gguf,
        'mmproj': server.mmproj,
        'command': server.command,
        'enabled': server.enabled,
        'models': models or ([server.name] if server.managed else []),
        'api_key': 'stored' if server.api_key else f'from {server.api_key_env}' if server.api_key_env else None,
        'headers': sorted(server.headers),
        'max_concurrency': server.max_concurrency,
        'priority': server.priority,
        'weight': server.weight,
        'timeout': server.timeout,
        'idle_ttl': server.idle_ttl,
        'memory_group': server.memory_group,
        'context': server.context,
        'threads': server.threads,
        'health': status.state,
        'since': status.since,
        'checked_at': status.checked_at,
        'last_error': status.error or status.last_error,
        'last_error_at': status.last_error_at,
    }


def last_error_of(status: ServerStatus) -> str:
    """Why it is not well, or what it last suffered from and when."""
    if status.error or not status.last_error:
        return status.error or ''
    return f'{ago(status.last_error_at)}: {status.last_error}'


def _row(server: Server, status: ServerStatus) -> tuple[str, ...]:
    document = describe(server, status)
    place = server.url or server.gguf or server.command or ''
    return (
        server.name,
        server.provider,
        place if len(place) <= CELL_LIMIT else f'…{place[1 - CELL_LIMIT:]}',
        _shorten(document['models'], MODELS_SHOWN) or '-',
        status.state,
        ago(status.checked_at),
        _cut(last_error_of(status)),
    )


def _refuse_two_keys(from_stdin: bool, variable: str | None) -> None:
    if from_stdin and variable:
        raise click.UsageError('Give --api-key-env or --api-key-stdin, not both.')


def _text_of(field: str, value: Any) -> str:
    """A field's value for a person."""
    if field in ('since', 'checked_at'):
        return ago(value)
    if isinstance(value, bool):
        return yes_no(value)
    return _shorten(value, 50) if isinstance(value, list) else f'{value:g}' if isinstance(value, float) else str(value)


def _cut(text: str) -> str:
    return text if len(text) <= CELL_LIMIT else f'{text[:CELL_LIMIT - 1]}…'


def _shorten(names: list[str], limit: int) -> str:
    more = f' (+{len(names) - limit} more)' if len(names) > limit else ''
    return ', '.join(names[:limit]) + more


def _found(models: list[str]) -> str:
    count = f'{len(models)} model{"" if len(models) == 1 else "s"}'
    return f': {count}.' if models else '.'
