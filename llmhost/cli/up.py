"""`flask up`: start serving."""

import os
import sys
from typing import Any

import click
from flask.cli import with_appcontext

from llmhost.cli.output import failing_clearly, services


@click.command('up')
@click.option('--host', metavar='H', help='The address to listen on. Default: that of LLMHOST_BIND (127.0.0.1).')
@click.option('--port', type=click.IntRange(1, 65535), metavar='P', help='The port. Default: that of LLMHOST_BIND (4080).')
@click.option('--workers', type=click.IntRange(1), metavar='N', help='Worker processes. Default: WEB_CONCURRENCY, else 2 to 4.')
@with_appcontext
@failing_clearly
def command(host: str | None, port: int | None, workers: int | None) -> None:
    """Start serving. With no server registered, a small test model is fetched and served too."""
    parts = services()
    bind = _bind(parts.config.bind, host, port)
    environment = {**os.environ, 'LLMHOST_BIND': bind}
    if workers:
        environment['WEB_CONCURRENCY'] = str(workers)
    if not parts.console.servers():
        click.echo('No server is registered yet: setting up a small test model (SmolLM2-135M), about 93 MB.')
        parts.embedded.add(click.echo)
    _greet(bind, next((model['id'] for model in parts.models.list()), None), parts.access.is_required())
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, '-m', 'gunicorn', '-c', 'python:llmhost.gunicorn_conf'], environment)


def _bind(configured: str, host: str | None, port: int | None) -> str:
    configured_host, _, configured_port = configured.rpartition(':')
    if configured.startswith('unix:') and host is None and port is None:
        return configured
    name = host or configured_host.strip('[]') or '127.0.0.1'
    return f'{f"[{name}]" if ":" in name else name}:{port or configured_port or 4080}'


def _greet(bind: str, model: str | None, needs_key: bool) -> None:
    """The address, the model and a line to try."""
    url = f'http://{bind}/v1'
    click.echo(f'llmhost serves  {url}')
    if model is None:
        return
    key: Any = " -H 'Authorization: Bearer YOUR_KEY'" if needs_key else ''
    click.echo(f'model           {model}')
    click.echo('try it          ' + (
        f"curl {url}/chat/completions{key} -H 'Content-Type: application/json' "
        f"""-d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Say hello."}}], "max_tokens": 50}}'"""))
