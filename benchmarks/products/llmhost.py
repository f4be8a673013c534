"""llmhost as it is deployed, one worker: key, validation, metrics and request log on; its own host process beside."""

import os
import subprocess
import sys

from benchmarks.http_request import KEY, PLAIN_MODEL, STREAM_MODEL
from benchmarks.processes import NotRun
from benchmarks.product import Site, Started
from benchmarks.products.echo import require_stack
from benchmarks.upstream import ROOT


def start(site: Site) -> Started:
    require_stack()
    missing = [name for name in ('gunicorn.conf.py', 'wsgi.py', 'llmhost/app.py') if not (ROOT / name).is_file()]
    if missing:
        raise NotRun(f'the checkout has no {", ".join(missing)} yet')
    environ = {'LLMHOST_DATA_DIR': str(site.processes.folder / 'data'), 'LLMHOST_BIND': f'127.0.0.1:{site.port}',
               'LLMHOST_API_KEY': KEY, 'WEB_CONCURRENCY': '1'}
    _add_server(environ, 'bench', site.upstream.plain_url, PLAIN_MODEL)
    _add_server(environ, 'bench-stream', site.upstream.stream_url, STREAM_MODEL)
    process = site.processes.start([sys.executable, '-m', 'gunicorn', '-c', 'gunicorn.conf.py', 'wsgi:app'],
                                   environ=environ, cwd=ROOT)
    return Started(process.pid, site.build_plain(), site.build_stream(), has_host=True)


def _add_server(environ: dict[str, str], name: str, url: str, model: str) -> None:
    command = [sys.executable, '-m', 'flask', 'servers', 'add', name, url, '--no-check', '--model', model]
    added = subprocess.run(command, cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, timeout=60)
    if added.returncode:
        lines = (added.stderr.strip() or added.stdout.strip() or f'exit code {added.returncode}').splitlines()
        raise NotRun(f'flask servers add: {lines[-1][:160]}')
