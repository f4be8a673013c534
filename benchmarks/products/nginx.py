"""nginx as a plain proxy: the floor of any gateway. Upstream connections are kept, streams are not buffered."""

from string import Template

from benchmarks.product import Site, Started
from benchmarks.upstream import start_nginx

CONFIG = Template('''
worker_processes 1;
error_log stderr;
pid nginx.pid;
events { worker_connections 4096; }
http {
    access_log off;
    keepalive_requests 100000000;
    proxy_http_version 1.1;
    proxy_set_header Connection '';
    upstream plain { server 127.0.0.1:$plain; keepalive 256; keepalive_requests 100000000; }
    upstream stream { server 127.0.0.1:$stream; keepalive 256; keepalive_requests 100000000; }
    server {
        listen 127.0.0.1:$port;
        location / { proxy_pass http://plain; }
        location /stream/ { proxy_pass http://stream/; proxy_buffering off; }
    }
}
''')


def start(site: Site) -> Started:
    upstream = site.upstream
    pid = start_nginx(site.processes, CONFIG.substitute(port=site.port, plain=upstream.plain_port,
                                                        stream=upstream.stream_port))
    return Started(pid, site.build_plain(), site.build_stream(path='/stream/v1/chat/completions'))
