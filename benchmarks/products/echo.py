"""Bare Flask on the gunicorn and worker class llmhost runs on, calling no upstream: the floor of the stack."""

import sys
from importlib.util import find_spec

from benchmarks.processes import NotRun
from benchmarks.product import Site, Started
from benchmarks.upstream import ROOT


def start(site: Site) -> Started:
    require_stack()
    # Started in the run's folder, not in the checkout: gunicorn would read llmhost's gunicorn.conf.py there.
    process = site.processes.start([
        sys.executable, '-m', 'gunicorn', '--worker-class', 'gevent', '--workers', '1', '--pythonpath', str(ROOT),
        '--no-control-socket', '--bind', f'127.0.0.1:{site.port}', 'benchmarks.products.echo_app:app'])
    return Started(process.pid, site.build_plain())


def require_stack() -> None:
    """Raises NotRun naming what this interpreter lacks of Flask, gunicorn and gevent."""
    missing = [name for name in ('flask', 'gunicorn', 'gevent') if find_spec(name) is None]
    if missing:
        raise NotRun(f'{", ".join(missing)} not installed for {sys.executable}')
