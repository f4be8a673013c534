"""llmhost as it is deployed: gunicorn in the checkout, its workers and its host, with a data directory of its own."""
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from .processes import find_unix_listeners, list_children, list_descendants
from .program import ROOT, Program, find_free_port

FLASK_TIMEOUT = 60.0


class Gateway:
    """Running, once made. `settings` are environment variables; `workers` is WEB_CONCURRENCY."""

    def __init__(self, folder: Path, workers: int = 2, **settings: str):
        self.data_dir = folder / 'data'
        self.port = find_free_port()
        self.key = settings.get('LLMHOST_API_KEY', '')
        self.environ = {**os.environ, 'LLMHOST_API_KEY': '', **settings, 'LLMHOST_DATA_DIR': str(self.data_dir),
                        'LLMHOST_BIND': f'127.0.0.1:{self.port}', 'WEB_CONCURRENCY': str(workers)}
        self.program = Program([sys.executable, '-m', 'gunicorn'], folder / 'gunicorn.log', str(self.data_dir),
                               self.environ)

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.port}'

    def wait_until_ready(self) -> None:
        self.program.wait_until_answers(f'{self.url}/livez')

    # the console

    def flask(self, *arguments: str, typed: str | None = None) -> str:
        """What `flask ARGUMENTS` prints, with `typed` on its stdin. AssertionError unless it ends with exit code 0."""
        done = subprocess.run(self.flask_command(*arguments), cwd=ROOT, env=self.environ, input=typed, text=True,
                              capture_output=True, timeout=FLASK_TIMEOUT)
        assert done.returncode == 0, f'flask {" ".join(arguments)}: {done.returncode}\n{done.stderr}{done.stdout}'
        return done.stdout

    def flask_command(self, *arguments: str) -> list[str]:
        return [sys.executable, '-m', 'flask', *arguments]

    @property
    def registry(self) -> Path:
        return self.data_dir / 'servers.json'

    def read_registry(self) -> dict[str, Any]:
        """The entries by name, as they stand in the file; AssertionError or ValueError when it is not sound."""
        entries = json.loads(self.registry.read_text())['servers']
        assert isinstance(entries, dict)
        return entries

    # its processes

    @property
    def host_pid(self) -> int | None:
        """The pid of the process that listens on the host's socket; None while there is none."""
        return next(iter(find_unix_listeners(self.data_dir / 'run' / 'host.sock')), None)

    @property
    def worker_pids(self) -> set[int]:
        """The master's children that hold no host: gunicorn's dirty arbiter is the host's parent."""
        hosts = {self.host_pid}
        return {child.pid for child in list_children(self.program.pid)
                if not hosts & {child.pid, *(process.pid for process in list_descendants(child.pid))}}

    @property
    def child_pids(self) -> set[int]:
        """The host's children: managed model servers."""
        host = self.host_pid
        return {process.pid for process in list_descendants(host)} if host else set()

    def stop(self, timeout: float = 20.0) -> None:
        """Stop it gracefully, and assert that nothing of it is left."""
        self.program.stop(timeout)
