"""`flask models`: the catalogue of models, and the files on disk."""

import re
from typing import Any

import click
from flask.cli import AppGroup

from llmhost.cli.output import failing_clearly, json_option, print_json, print_table, services
from llmhost.cli.progress import size_text, watching
from llmhost.services import Model

SHA256 = re.compile('[0-9a-f]{64}')

group = AppGroup('models', help='List, pull and remove model files, for servers that llmhost runs itself.')


def parse_sha256(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """`--sha256 HEX`, as `sha256sum` prints it."""
    if value is not None and not SHA256.fullmatch(value.lower()):
        raise click.BadParameter('is 64 hexadecimal digits.')
    return value and value.lower()


@group.command('list')
@json_option
@failing_clearly
def list_models(as_json: bool) -> None:
    """List what the catalogue offers and what is on disk."""
    models = services().catalogue.all()
    if as_json:
        print_json([describe(model) for model in models])
        return
    print_table(('NAME', 'SIZE', 'LICENCE', 'CONTEXT', 'FOR', 'INSTALLED'), [_row(model) for model in models])


@group.command('pull')
@click.argument('model')
@click.option('--sha256', metavar='HEX', callback=parse_sha256, help='The SHA-256 the file must have.')
@failing_clearly
def pull(model: str, sha256: str | None) -> None:
    """Fetch a model file: checked, and resumed where it stopped.

    \b
    flask models pull qwen3-4b
    flask models pull hf:Qwen/Qwen3-1.7B-GGUF/Qwen3-1.7B-Q8_0.gguf
    flask models pull https://files.lan/mine.gguf --sha256 HEX
    """
    with watching(model) as watch:
        path = services().catalogue.pull(model, watch, sha256)
    click.echo(str(path))
    name = path.name if '://' in model else model
    click.echo(f'Serve it: flask servers add NAME --gguf {name}')


@group.command('rm')
@click.argument('model')
@click.option('--force', is_flag=True, help='Even where a server uses it.')
@failing_clearly
def remove(model: str, force: bool) -> None:
    """Remove a model file, and what an unfinished pull left of it."""
    freed = services().catalogue.remove(model, force)
    click.echo(f"Removed '{model}': {size_text(freed)} are free again.")


def describe(model: Model) -> dict[str, Any]:
    """A model for a reader."""
    entry = model.entry
    return {
        'name': model.name,
        'title': entry.title if entry else None,
        'size': model.file.size,
        'licence': entry.licence if entry else None,
        'context': entry.context if entry else None,
        'capabilities': list(entry.capabilities) if entry else [],
        'source': model.file.origin or None,
        'page': entry.page if entry else None,
        'sha256': model.file.sha256,
        'installed': model.path is not None,
        'path': str(model.path) if model.path else None,
        'kept_bytes': model.kept,
    }


def _row(model: Model) -> tuple[str, ...]:
    entry, size = model.entry, model.file.size
    unfinished = f'{size_text(model.kept)} of it' if model.kept else 'no'
    return (
        model.name,
        size_text(size) if size is not None else '-',
        entry.licence if entry else '-',
        str(entry.context) if entry else '-',
        ', '.join(entry.capabilities) if entry else '-',
        'yes' if model.path else unfinished,
    )
