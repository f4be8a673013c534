"""`flask keys`: who may use this address."""

from datetime import UTC, datetime
from typing import Any

import click
from flask.cli import AppGroup

from llmhost.cli.output import failing_clearly, json_option, print_json, print_table, services
from llmhost.services import Key

group = AppGroup('keys', help='Create, list and revoke API keys. With one key, every request needs one.')


@group.command('create')
@click.argument('name')
@click.option('--user', metavar='U', help='Whose key it is. Default: NAME.')
@click.option('--model', 'models', multiple=True, metavar='GLOB', help='Allow only models that match (repeatable).')
@click.option('--expires', type=click.DateTime(['%Y-%m-%d']), metavar='YYYY-MM-DD', help='Its last day (UTC).')
@json_option
@failing_clearly
def create(name: str, user: str | None, models: tuple[str, ...], expires: datetime | None, as_json: bool) -> None:
    """Create a key. It is shown once and stored as a hash only."""
    if expires and expires.date() < datetime.now(UTC).date():
        raise click.BadParameter(f'{expires.date()} is past.', param_hint="'--expires'")
    fields: dict[str, Any] = {'user': user or name, 'models': list(models)}
    fields['expires'] = expires.date().isoformat() if expires else None
    text = services().keys.create(name, **fields)
    if as_json:
        print_json({'name': name, **fields, 'key': text})
        return
    click.echo(text)
    click.echo('Keep it now: it is not shown again.', err=True)


@group.command('list')
@json_option
@failing_clearly
def list_keys(as_json: bool) -> None:
    """List the keys: never their text."""
    keys = services().keys.list()
    if as_json:
        print_json([_describe(key) for key in keys])
    elif not keys:
        click.echo('No keys yet. Create one: flask keys create NAME')
    else:
        print_table(('NAME', 'USER', 'MODELS', 'EXPIRES', 'CREATED'), [_row(key) for key in keys])


@group.command('revoke')
@click.argument('name')
@failing_clearly
def revoke(name: str) -> None:
    """Revoke a key, from the next request on."""
    parts = services()
    parts.keys.revoke(name)
    click.echo(f"Revoked '{name}'.")
    if not parts.access.is_required():
        click.echo('That was the last key: requests need none now.', err=True)


def _row(key: Key) -> tuple[str, ...]:
    expired = ' (expired)' if key.has_expired(datetime.now(UTC).date()) else ''
    expires = f'{key.expires}{expired}' if key.expires else 'never'
    return key.name, key.user or '-', ', '.join(key.models) or 'all', expires, (key.created or '-').partition('T')[0]


def _describe(key: Key) -> dict[str, Any]:
    return {'name': key.name, 'user': key.user, 'models': list(key.models), 'expires': key.expires, 'created': key.created}
