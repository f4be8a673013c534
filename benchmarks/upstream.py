"""The upstream every product is measured against: nginx with one static answer, and the streaming program."""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from string import Template

from benchmarks.http_request import MARKER, PLAIN_MODEL
from benchmarks.processes import NotRun, Processes, find_free_port

ROOT = Path(__file__).resolve().parent.parent
STATIC = Template('''
worker_processes 1;
error_log stderr;
pid nginx.pid;
events { worker_connections 1024; }
http {
    access_log off;
    keepalive_requests 100000000;
    default_type application/json;
    server {
        listen 127.0.0.1:$port;
        location /v1/models { return 200 '$models'; }
        location / { return 200 '$completion'; }
    }
}
''')
COMPLETION = {
    'id': 'chatcmpl-bench', 'object': 'chat.completion', 'created': 1763600000, 'model': PLAIN_MODEL,
    'choices': [{'index': 0, 'finish_reason': 'stop', 'message': {
        'role': 'assistant', 'content': f'As you wish: {MARKER.decode()} jumps over the lazy dog.'}}],
    'usage': {'prompt_tokens': 20, 'completion_tokens': 12, 'total_tokens': 32},
}
MODELS = {'object': 'list', 'data': [{'id': PLAIN_MODEL, 'object': 'model', 'owned_by': 'bench'}]}


@dataclass(frozen=True)
class Upstream:
    """The ports of the two: one answers any POST with a completion, the other with a stream."""

    plain_port: int
    stream_port: int

    @property
    def plain_url(self) -> str:
        return f'http://127.0.0.1:{self.plain_port}'

    @property
    def stream_url(self) -> str:
        return f'http://127.0.0.1:{self.stream_port}'


def start_upstream(processes: Processes) -> Upstream:
    upstream = Upstream(find_free_port(), find_free_port())
    config = STATIC.substitute(port=upstream.plain_port, models=_encode(MODELS), completion=_encode(COMPLETION))
    start_nginx(processes, config)
    processes.start([sys.executable, '-m', 'benchmarks.stream_upstream', str(upstream.stream_port)], cwd=ROOT)
    return upstream


def find_nginx() -> str:
    """The path of nginx, which Debian keeps out of an ordinary user's PATH. Raises NotRun."""
    nginx = shutil.which('nginx') or shutil.which('nginx', path='/usr/sbin:/usr/local/sbin')
    if not nginx:
        raise NotRun('nginx is not installed')
    return nginx


def start_nginx(processes: Processes, config: str) -> int:
    """Starts nginx in the foreground with this configuration; the pid of its master."""
    path = processes.folder / 'nginx.conf'
    path.write_text(config)
    command = [find_nginx(), '-p', str(processes.folder), '-c', str(path), '-e', 'stderr', '-g', 'daemon off;']
    return processes.start(command).pid


def _encode(payload: object) -> str:
    return json.dumps(payload, separators=(',', ':'))
