"""A real nginx with the shipped deploy/nginx.conf; only its ports are other ones."""
import os
import re
from pathlib import Path
from string import Template

from .program import ROOT, Program, find_free_port
from .requirements import require_program

SHIPPED = ROOT / 'deploy' / 'nginx.conf'

# What Debian's /etc/nginx/nginx.conf gives a file in conf.d, gzip included, but in a folder of one's own.
MAIN = Template('''
$user
worker_processes 1;
daemon off;
pid $folder/nginx.pid;
error_log $folder/nginx.log info;
events { worker_connections 4096; }
http {
    access_log $folder/access.log;
    client_body_temp_path $folder/body;
    proxy_temp_path $folder/proxy;
    fastcgi_temp_path $folder/fastcgi;
    uwsgi_temp_path $folder/uwsgi;
    scgi_temp_path $folder/scgi;
    sendfile on;
    tcp_nopush on;
    types { text/html html; application/json json; }
    default_type application/octet-stream;
    gzip on;
    gzip_proxied any;
    gzip_min_length 1;
    gzip_types text/event-stream application/json;
    include $folder/llmhost.conf;
}
''')


class Nginx:
    """Running, once made, in front of what listens on 127.0.0.1:`upstream_port`."""

    def __init__(self, folder: Path, upstream_port: int):
        program = require_program('nginx')
        self.port = find_free_port()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'llmhost.conf').write_text(move_ports(SHIPPED.read_text(), self.port, upstream_port))
        user = 'user root;' if os.getuid() == 0 else ''  # its workers could not read the tests' folder otherwise
        (folder / 'nginx.conf').write_text(MAIN.substitute(folder=folder, user=user))
        log = folder / 'nginx.log'
        command = [program, '-p', str(folder), '-c', str(folder / 'nginx.conf'), '-e', str(log)]
        self.program = Program(command, log, str(folder))

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.port}'

    def stop(self) -> None:
        self.program.stop()


def move_ports(shipped: str, port: int, upstream_port: int) -> str:
    """The configuration on other ports, all else as it is. AssertionError when it does not name them as expected."""
    text, listens = re.subn(r'(?m)^    listen 80;$', f'    listen 127.0.0.1:{port};', shipped)
    text, listens_v6 = re.subn(r'(?m)^    listen \[::\]:80;\n', '', text)
    text, upstreams = re.subn(r'(?m)^    server 127\.0\.0\.1:4080;$', f'    server 127.0.0.1:{upstream_port};', text)
    assert (listens, listens_v6, upstreams) == (1, 1, 1), 'deploy/nginx.conf names other ports than the tests replace'
    return text
