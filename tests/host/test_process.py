"""The host under real gunicorn: started, kept alive and ended by its dirty worker pool."""
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import httpx2
import pytest

from llmhost.config import Config
from tests.e2e.processes import Process, find_process, list_children, list_descendants, wait_until
from tests.host.conftest import HostUnderTest, stub

APP = '''
def app(environ, start_response):
    start_response('200 OK', [])
    return [b'ok']
'''
CHECKOUT = Path(__file__).parents[2]


class Gunicorn:
    """gunicorn with one worker, the host, and one managed server that runs."""

    def __init__(self, config: Config, folder: Path) -> None:
        (folder / 'tiny.py').write_text(APP)
        self.host = HostUnderTest(config)
        self.host.servers(local=stub(f'spawn={folder / "pid"}'))
        command = [
            sys.executable, '-m', 'gunicorn', '--bind', f'unix:{folder}/web.sock', '--worker-class', 'gevent', '--workers', '1',
            '--dirty-app', 'llmhost.host.process:HostApp', '--dirty-workers', '1', '--name', f'llmhost-{os.getpid()}',
            '--no-control-socket', '--chdir', str(folder), '--pythonpath', str(CHECKOUT), 'tiny:app',
        ]
        self.log = folder / 'gunicorn.log'
        environment = {**os.environ, 'LLMHOST_DATA_DIR': str(config.data_dir)}
        with self.log.open('w') as file:
            self.master = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
        wait_until(self.host_pid, 10, 'the host')

    def host_pid(self) -> int | None:
        """The process that answers on the host's socket now."""
        with socket.socket(socket.AF_UNIX) as knock:  # httpx2 leaves its socket open when nobody listens
            if knock.connect_ex(str(self.host.config.host_socket)):
                return None
        try:
            return int(self.host.client.get('/health').json()['pid'])
        except httpx2.TransportError:
            return None

    def wait_for_another_host(self, pid: int) -> float:
        """Seconds until another process than `pid` answers."""
        return wait_until(lambda: self.host_pid() not in (None, pid), 5, f'a new host: {self.log.read_text()}')

    def processes(self) -> list[Process]:
        return list_descendants(self.master.pid)

    def end(self) -> None:
        self.host.client.close()
        left = self.processes()
        self.master.kill()
        self.master.wait()
        wait_until(lambda: not any(process.is_running() for process in left), 10, 'the end of all')


@pytest.fixture
def gunicorn(config: Config, tmp_path: Path) -> Generator[Gunicorn]:
    running = Gunicorn(config, tmp_path)
    try:
        yield running
    finally:
        running.end()


def children_of(pid: int) -> list[Process]:
    """The processes below the host: guards, servers, and what those started."""
    return list_descendants(pid)


def test_the_host_returns_when_it_is_killed(gunicorn: Gunicorn) -> None:
    gunicorn.host.url('local')
    pid = gunicorn.host_pid()
    assert pid
    children = children_of(pid)
    assert len(children) == 3
    os.kill(pid, signal.SIGKILL)
    gunicorn.wait_for_another_host(pid)
    wait_until(lambda: not any(child.is_running() for child in children), 5, 'the end of the old children')
    gunicorn.host.url('local')


def test_the_host_returns_when_its_arbiter_is_killed(gunicorn: Gunicorn) -> None:
    gunicorn.host.url('local')
    pid = gunicorn.host_pid()
    assert pid
    host, children = find_process(pid), children_of(pid)
    assert host and host.parent != gunicorn.master.pid
    os.kill(host.parent, signal.SIGKILL)
    gunicorn.wait_for_another_host(pid)
    wait_until(lambda: not any(process.is_running() for process in [host, *children]), 5, 'the end of the old host')
    gunicorn.host.url('local')


def test_nothing_is_left_when_gunicorn_ends(gunicorn: Gunicorn) -> None:
    gunicorn.host.url('local')
    processes = gunicorn.processes()
    assert len(processes) == 6, 'arbiter, host, worker, guard, server, and what it started'
    gunicorn.master.terminate()
    assert gunicorn.master.wait(timeout=10) == 0
    wait_until(lambda: not any(process.is_running() for process in processes), 1, 'the end of all')
    assert not gunicorn.host.config.host_socket.exists()


def test_nothing_is_left_when_gunicorn_is_killed(gunicorn: Gunicorn) -> None:
    gunicorn.host.url('local')
    processes = gunicorn.processes()
    gunicorn.master.kill()
    gunicorn.master.wait()
    wait_until(lambda: not any(process.is_running() for process in processes), 8, 'the end of all')


def test_a_reload_keeps_the_host_and_what_it_runs(gunicorn: Gunicorn) -> None:
    url, pid = gunicorn.host.url('local'), gunicorn.host_pid()
    workers = {process.pid for process in list_children(gunicorn.master.pid)}
    gunicorn.master.send_signal(signal.SIGHUP)
    wait_until(lambda: {process.pid for process in list_children(gunicorn.master.pid)} - workers, 5, 'new workers')
    assert gunicorn.host_pid() == pid
    assert gunicorn.host.url('local') == url


def test_gunicorn_that_is_ended_while_it_starts_leaves_nothing(config: Config, tmp_path: Path) -> None:
    running = Gunicorn(config, tmp_path)
    began = time.monotonic()
    pid = running.host_pid()
    assert pid
    os.kill(pid, signal.SIGKILL)
    running.wait_for_another_host(pid)
    processes = running.processes()
    running.master.terminate()
    assert running.master.wait(timeout=10) == 0
    assert time.monotonic() - began < 10
    wait_until(lambda: not any(process.is_running() for process in processes), 1, 'the end of all')
    running.host.client.close()
