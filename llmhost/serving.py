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
        'logconfig_dict': logs.settings(config.log_level, config.log_format),
        'on_starting': on_starting,
        'child_exit': child_exit,
        'on_exit': on_exit,
    }


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
    if METRICS_FOLDER not in os.environ:
        os.environ[METRICS_FOLDER] = tempfile.mkdtemp(prefix='metrics-', dir=config.run_dir)
        for folder in config.run_dir.glob('metrics-*'):
            if str(folder) != os.environ[METRICS_FOLDER] and not _is_used(folder):
                shutil.rmtree(folder, ignore_errors=True)
        (Path(os.environ[METRICS_FOLDER]) / 'owner').write_text(str(os.getpid()))


def refuse_open_door(config: Config) -> None:
    """Serving beyond loopback without a key needs `LLMHOST_AUTH=off` in words. Raises ConfigurationError."""
    if config.binds_loopback_only or config.auth != 'auto':
        return
    if not Access(KeyStore(config.data_dir / 'keys.json', load_key), config).has_keys():
        raise ConfigurationError(
            f'{config.bind} can be reached from other machines, and no API key exists. '
            "Make one with 'flask keys create NAME', or allow everyone with LLMHOST_AUTH=off.")


def _is_used(folder: Path) -> bool:
    """Whether the server that owns a folder of counters still runs."""
    try:
        os.kill(int((folder / 'owner').read_text()), 0)
    except (OSError, ValueError):
        return False
    return True


def on_starting(server: Any) -> None:
    """The command line may have named other addresses than LLMHOST_BIND."""
    config = load_config()
    for address in server.cfg.bind:
        try:
            refuse_open_door(replace(config, bind=address))
        except ConfigurationError as error:
            sys.exit(f'Error: {error}')
        server.log.info('llmhost serves %s', address if address.startswith('unix:') else f'http://{address}/v1')


def child_exit(server: Any, worker: Any) -> None:
    """A dead worker's gauges no longer count."""
    from prometheus_client import multiprocess  # after PROMETHEUS_MULTIPROC_DIR is set

    multiprocess.mark_process_dead(worker.pid, os.environ.get(METRICS_FOLDER))  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:
    shutil.rmtree(os.environ.get(METRICS_FOLDER, ''), ignore_errors=True)


def start_host_under_flask_run(config: Config) -> None:
    """`flask run` has no dirty pool: the host then runs in a thread of that process."""
    context = click.get_current_context(silent=True)
    if context is None or context.info_name != 'run':
        return
    try:
        refuse_open_door(replace(config, bind=f'{context.params.get("host")}:{context.params.get("port")}'))
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
