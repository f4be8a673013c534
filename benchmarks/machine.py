"""The machine and the versions behind the figures."""

import json
import os
import platform
import re
import shutil
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.products.portkey import SCRIPT
from benchmarks.upstream import find_nginx

PACKAGES = ('flask', 'gunicorn', 'gevent', 'requests', 'llmhost')


def describe_machine(litellm: str | None, portkey: Path | None) -> dict[str, str]:
    """What to know before comparing figures, by name."""
    versions = {'python': platform.python_version(), **_find_packages(), 'nginx': _ask(find_nginx(), '-v'),
                'node': _ask('node', '--version'), 'litellm': _find_litellm(litellm), 'portkey': _find_portkey(portkey)}
    return {
        'date': time.strftime('%Y-%m-%d %H:%M %Z'),
        'machine': f'{os.cpu_count()} x {_find_cpu()}, {platform.system()} {platform.release()}',
        'load average': '{:.2f} {:.2f} {:.2f}'.format(*os.getloadavg()),
        'versions': ' · '.join(f'{name} {found}' for name, found in versions.items() if found),
        'plain load by': 'wrk' if shutil.which('wrk') else 'asyncio (wrk is not installed)',
    }


def _find_cpu() -> str:
    match = re.search(r'model name\s*: (.*)', Path('/proc/cpuinfo').read_text())
    return match[1] if match else platform.machine()


def _find_packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # the row of what needs it says that it is missing
    return found


def _find_litellm(litellm: str | None) -> str:
    """From the metadata beside the command: `litellm --version` takes ten seconds."""
    if not litellm:
        return ''
    folders = Path(litellm).resolve().parent.parent.glob('lib/python*/site-packages/litellm-*.dist-info')
    return next((folder.name.removeprefix('litellm-').removesuffix('.dist-info') for folder in folders), 'unknown')


def _find_portkey(portkey: Path | None) -> str:
    """With the version of its HTTP server, on which it depends whether its streams work (README.md)."""
    if not portkey or not (portkey / SCRIPT).is_file():
        return ''
    modules = portkey / 'node_modules'
    gateway, server = (_read_version(modules, name) for name in ('@portkey-ai/gateway', '@hono/node-server'))
    return f'{gateway} (node-server {server})'


def _read_version(modules: Path, package: str) -> str:
    manifest = modules / package / 'package.json'
    return str(json.loads(manifest.read_text())['version']) if manifest.is_file() else 'unknown'


def _ask(command: str, option: str) -> str:
    if not shutil.which(command):
        return ''
    answer = subprocess.run([command, option], capture_output=True, text=True, timeout=10)
    match = re.search(r'\d+(\.\d+)+', answer.stdout + answer.stderr)
    return match[0] if match else ''
