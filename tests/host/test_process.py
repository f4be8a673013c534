"""The host under real gunicorn: started, kept alive and ended by its dirty worker pool."""
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from llmhost.config import Config
from llmhost.storage.slots import SharedSlots
from tests.e2e.processes import Process, find_process, list_descendants, wait_until
from tests.host.conftest import HostUnderTest, stub

APP = '''
import os, pathlib, time
from llmhost.storage.slots import SharedSlots

slots = SharedSlots(pathlib.Path(os.environ['LLMHOST_DATA_DIR']) / 'run', 10)

def app(environ, start_response):
    """Holds a slot until the file that the query names exists."""
    slots.try_acquire()
    while not os.path.exists(environ['QUERY_STRING']):
        time.sleep(0.01)
    slots.release()
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
        environment = {**os.environ, 'LLMHOST_DATA_DIR': str(config.data_dir), 'LLMHOST_LOG_LEVEL': 'DEBUG'}
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


def test_managed_servers_outlive_the_requests_they_serve(gunicorn: Gunicorn, tmp_path: Path) -> None:
    url = gunicorn.host.url('local')
    transport = httpx2.HTTPTransport(uds=str(tmp_path / 'web.sock'))
    slots = SharedSlots(gunicorn.host.config.run_dir, 10)
    with httpx2.Client(transport=transport, base_url='http://web') as client, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.get, f'/?{tmp_path / "gate"}')
        wait_until(lambda: slots.running() == 1, 5, 'the request')
        gunicorn.master.terminate()
        wait_until(lambda: 'Handling signal: term' in gunicorn.log.read_text(), 5, 'the signal')
        assert_answers_for(1.0, url)
        (tmp_path / 'gate').touch()
        assert answer.result().text == 'ok'
    slots.close()
    assert gunicorn.master.wait(timeout=10) == 0


def assert_answers_for(seconds: float, url: str) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert httpx2.get(url, trust_env=False).status_code == 200


def test_nothing_is_left_when_gunicorn_is_killed(gunicorn: Gunicorn) -> None:
    gunicorn.host.url('local')
    processes = gunicorn.processes()
    gunicorn.master.kill()
    gunicorn.master.wait()
    wait_until(lambda: not any(process.is_running() for process in processes), 8, 'the end of all')


def test_a_reload_keeps_the_host_and_what_it_runs(gunicorn: Gunicorn) -> None:
    url, pid = gunicorn.host.url('local'), gunicorn.host_pid()
    gunicorn.master.send_signal(signal.SIGHUP)
    wait_until(lambda: 'Reloading dirty workers' in gunicorn.log.read_text(), 5, 'the reload')
    assert gunicorn.log.read_text().count('Spawned dirty worker') == 1
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
