"""`flask up`: start serving."""

import os
import socket
import sys

import click
from flask.cli import with_appcontext

from llmhost.cli.output import failing_clearly, services
from llmhost.errors import ConfigurationError

GREETING = 'LLMHOST_GREETING'
"""The variable whose text is printed once the address listens (`llmhost.serving`)."""


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
    parts.access.refuse_open_door(bind)
    _refuse_taken(bind)
    environment = {**os.environ, 'LLMHOST_BIND': bind}
    if workers:
        environment['WEB_CONCURRENCY'] = str(workers)
    if not parts.console.servers():
        click.echo('No server is registered yet: setting up a small test model (SmolLM2-135M), about 93 MB.')
        parts.embedded.add(click.echo)
    model = next((model['id'] for model in parts.models.list()), None)
    environment[GREETING] = _greeting(bind, model, parts.access.is_required())
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, '-m', 'gunicorn', '-c', 'python:llmhost.gunicorn_conf'], environment)


def _bind(configured: str, host: str | None, port: int | None) -> str:
    if host is None and port is None:
        return configured
    is_file = configured.startswith(('unix:', 'fd:'))
    configured_host, _, configured_port = ('', '', '') if is_file else configured.rpartition(':')
    name = host or configured_host.strip('[]') or '127.0.0.1'
    return f'{f"[{name}]" if ":" in name else name}:{port or configured_port or 4080}'


def _refuse_taken(bind: str) -> None:
    """Raises ConfigurationError where gunicorn could not listen: better before a model is fetched than after."""
    if bind.startswith(('unix:', 'fd:')):
        return
    name, _, port = bind.rpartition(':')
    host = name.strip('[]')
    with socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            raise ConfigurationError(f'{bind} cannot be used: {error.strerror or error}. Choose another: --port.') from error


def _greeting(bind: str, model: str | None, needs_key: bool) -> str:
    """The address, the model and a line to try."""
    if bind.startswith(('unix:', 'fd:')):
        return f'llmhost serves  {bind}'
    url = f'http://{bind}/v1'
    if model is None:
        return f'llmhost serves  {url}'
    key = " -H 'Authorization: Bearer YOUR_KEY'" if needs_key else ''
    return (
        f'llmhost serves  {url}\nmodel           {model}\n'
        f"try it          curl {url}/chat/completions{key} -H 'Content-Type: application/json' "
        f"""-d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Say hello."}}], "max_tokens": 50}}'""")
