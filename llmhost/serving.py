"""How llmhost is served: gunicorn's settings and hooks (`gunicorn.conf.py` takes them from here), and `flask run`'s host.

gunicorn's master loads this before it forks. It must not import requests (whose TLS gevent could then no longer patch in the
workers) nor prometheus_client (which looks at its environment when it is imported): so it imports no services.
"""

import atexit
import logging
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import click

from llmhost import logs
from llmhost.config import Config, load_config
from llmhost.errors import ConfigurationError, UnavailableError
from llmhost.gateway.access import Access
from llmhost.schemas import load_key, load_server
from llmhost.storage.keys import KeyStore

HOST_APP = 'llmhost.host.process:HostApp'
METRICS_FOLDER = 'PROMETHEUS_MULTIPROC_DIR'
GREETING = 'LLMHOST_GREETING'
"""What `flask up` wants said once the address listens."""
DRAIN_VARIABLE = 'LLMHOST_DRAIN_TIMEOUT'
"""Tells the host gunicorn's graceful time-out."""
NOT_TCP = ('unix:', 'fd:')
WORKERS_LIMIT = 4
GRACEFUL_TIMEOUT = 30
HOST_GRACE = 5
HOST_START_TIMEOUT = 10.0

log = logging.getLogger(__name__)


def gunicorn_settings(config: Config) -> dict[str, Any]:
    """The settings by their gunicorn names. The command line and `GUNICORN_CMD_ARGS` go before them."""
    return {
        'wsgi_app': 'llmhost.app:create_app()',
        # gunicorn ends what it takes for the orphaned dirty pool of an earlier run of the same name
        'proc_name': f'llmhost-{sha256(os.fsencode(config.data_dir)).hexdigest()[:12]}',
        'bind': config.bind,
        'workers': _workers(config.variables.get('WEB_CONCURRENCY')),
        'worker_class': 'llmhost.gunicorn_worker.Worker',
        'worker_connections': 4000,
        'worker_tmp_dir': '/dev/shm' if os.path.isdir('/dev/shm') else None,
        'keepalive': 75,
        'graceful_timeout': GRACEFUL_TIMEOUT,
        # the host goes last: managed servers must outlive the streams they feed
        'dirty_apps': [HOST_APP],
        'dirty_workers': 1,
        'dirty_graceful_timeout': GRACEFUL_TIMEOUT + HOST_GRACE,
        'control_socket_disable': True,
        'logconfig_dict': _log_settings(config),
        'on_starting': on_starting,
        'when_ready': when_ready,
        'child_exit': child_exit,
        'on_exit': on_exit,
    }


def _log_settings(config: Config) -> dict[str, Any]:
    """gunicorn's own comings and goings are for DEBUG: they would hide what llmhost says."""
    settings = logs.settings(config.log_level, config.log_format)
    if config.log_level == 'INFO':
        loggers = settings['loggers']
        loggers['gunicorn.error'] = {**loggers['gunicorn.error'], 'level': 'WARNING'}
    return settings


def _workers(text: str | None) -> int:
    if text and not text.isdecimal():
        raise ConfigurationError(f'WEB_CONCURRENCY is a whole number above 0, not {text!r}.')
    return int(text or 0) or min(WORKERS_LIMIT, max(2, os.cpu_count() or 2))


def prepare(config: Config) -> None:
    """Make the data directory and the folder of the workers' counters; refuse what must not be served.

    Raises ConfigurationError. Runs in gunicorn's master before anything is forked.
    """
    refuse_open_door(config)
    try:
        config.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        config.data_dir.chmod(0o700)
    except OSError as error:
        raise ConfigurationError(
            f'The data directory {config.data_dir} cannot be used: {error.strerror}. Set LLMHOST_DATA_DIR.') from error
    _make_metrics_folder(config.run_dir)


def _make_metrics_folder(run_dir: Path) -> None:
    """Unless the operator named one. That of the master this one was started from (SIGUSR2) changes hands."""
    if not os.environ.get(METRICS_FOLDER):
        os.environ[METRICS_FOLDER] = tempfile.mkdtemp(prefix='metrics-', dir=run_dir)
    own = Path(os.environ[METRICS_FOLDER])
    if own.parent != run_dir or not own.name.startswith('metrics-'):
        return
    (own / 'owner').write_text(str(os.getpid()))
    for folder in run_dir.glob('metrics-*'):
        if not _is_used(folder):
            shutil.rmtree(folder, ignore_errors=True)


def refuse_open_door(config: Config) -> None:
    """Serving beyond loopback without a key needs `LLMHOST_AUTH=off` in words. Raises ConfigurationError."""
    Access(KeyStore(config.data_dir / 'keys.json', load_key), config).refuse_open_door(config.bind)


def _is_used(folder: Path) -> bool:
    """Whether the server that owns a folder of counters still runs."""
    try:
        os.kill(int((folder / 'owner').read_text()), 0)
    except (OSError, ValueError):
        return False
    return True


def on_starting(server: Any) -> None:
    """The command line may have named other addresses and times than the environment: what is forked goes by these."""
    configs = [replace(load_config(), bind=_written(address)) for address in server.cfg.address]
    try:
        for config in configs:
            refuse_open_door(config)
    except ConfigurationError as error:
        sys.exit(f'Error: {error}')
    os.environ['LLMHOST_BIND'] = min(configs, key=_reach).bind
    os.environ[DRAIN_VARIABLE] = str(server.cfg.graceful_timeout)
    grace = max(server.cfg.dirty_graceful_timeout, server.cfg.graceful_timeout + HOST_GRACE)
    server.cfg.set('dirty_graceful_timeout', grace)


def _reach(config: Config) -> tuple[bool, bool]:
    """Orders addresses: what other machines can reach first, then what browsers can."""
    return config.binds_loopback_only, config.bind.startswith('unix:')


def _written(address: Any) -> str:
    """One of gunicorn's parsed addresses as LLMHOST_BIND has it."""
    if isinstance(address, tuple):
        host, port = address
        return f'[{host}]:{port}' if ':' in host else f'{host}:{port}'
    return f'fd://{address}' if isinstance(address, int) else f'unix:{address}'


def when_ready(server: Any) -> None:
    """Now it listens: what `flask up` has to say, else the addresses."""
    greeting = os.environ.pop(GREETING, None)
    if greeting:
        with suppress(OSError):  # standard output may be closed
            click.echo(greeting)
        return
    for address in map(_written, server.cfg.address):
        log.info('llmhost serves %s', address if address.startswith(NOT_TCP) else f'http://{address}/v1')


def child_exit(server: Any, worker: Any) -> None:
    """A dead worker's gauges no longer count."""
    from prometheus_client import multiprocess  # after PROMETHEUS_MULTIPROC_DIR is set

    multiprocess.mark_process_dead(worker.pid, os.environ.get(METRICS_FOLDER))  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:
    """Remove the workers' counters, where the folder is this master's own."""
    folder = Path(os.environ.get(METRICS_FOLDER, ''))
    with suppress(OSError):
        if (folder / 'owner').read_text() == str(os.getpid()):
            shutil.rmtree(folder, ignore_errors=True)
    log.info('llmhost has stopped.')


def config_of_flask_run(config: Config) -> Config:
    """Under `flask run`, the address is the one its options name."""
    context = click.get_current_context(silent=True)
    if context is None or context.info_name != 'run':
        return config
    host = str(context.params.get('host') or '127.0.0.1')
    return replace(config, bind=host if host.startswith('unix:') else _written((host, context.params.get('port'))))


def start_host_under_flask_run(config: Config) -> None:
    """`flask run` has no dirty pool: the host then runs in a thread of that process."""
    context = click.get_current_context(silent=True)
    if context is None or context.info_name != 'run':
        return
    try:
        refuse_open_door(config)
    except ConfigurationError as error:
        raise click.ClickException(error.message) from error
    from llmhost.host.thread import HostThread  # heavy, and only this one command needs it here

    host = HostThread(config, load_server)
    try:
        host.start(HOST_START_TIMEOUT)
    except UnavailableError as error:  # such as: another llmhost runs the host for this data directory already
        log.warning('%s Going on without a host of its own.', error)
    else:
        atexit.register(host.stop, HOST_START_TIMEOUT)


def settings_from_environment() -> dict[str, Any]:
    """What `gunicorn.conf.py` needs. Raises ConfigurationError."""
    config = load_config()
    prepare(config)
    return gunicorn_settings(config)
