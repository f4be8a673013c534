"""Portkey's open-source gateway under node; the upstream is named by a header of each request, as it is made for."""

import shutil

from benchmarks.processes import NotRun
from benchmarks.product import Site, Started

SCRIPT = 'node_modules/@portkey-ai/gateway/build/start-server.js'


def start(site: Site) -> Started:
    node = shutil.which('node')
    if not node:
        raise NotRun('node is not installed')
    if not site.portkey or not (site.portkey / SCRIPT).is_file():
        raise NotRun('@portkey-ai/gateway was not found; --portkey names the folder whose node_modules has it')
    process = site.processes.start([node, str(site.portkey / SCRIPT), f'--port={site.port}', '--headless'],
                                   environ={'NODE_ENV': 'production'})
    return Started(process.pid, site.build_plain(headers=_build_headers(site.upstream.plain_url)),
                   site.build_stream(headers=_build_headers(site.upstream.stream_url)))


def _build_headers(url: str) -> dict[str, str]:
    return {'x-portkey-provider': 'openai', 'x-portkey-custom-host': f'{url}/v1'}
