"""The host's life: its socket, its lock, and its death, however it comes."""
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx2
import pytest

from llmhost.config import Config
from llmhost.errors import UnavailableError
from llmhost.host.thread import HostThread
from llmhost.schemas import load_server
from llmhost.storage.status import UP
from tests.e2e.processes import find_process, list_descendants, wait_until
from tests.host.conftest import HostUnderTest, stub

LONE_HOST = '''
import os, pathlib, signal, sys
from llmhost.config import Config
from llmhost.host.thread import HostThread
from llmhost.schemas import load_server
HostThread(Config(data_dir=pathlib.Path(sys.argv[1]), variables=dict(os.environ)), load_server).start()
print('started', flush=True)
signal.pause()
'''


def test_health_names_the_process(host: HostUnderTest) -> None:
    answer = host.client.get('/health').json()
    assert answer['pid'] == os.getpid()
    assert time.time() - 60 < answer['started_at'] < time.time()


def test_the_socket_is_this_users_alone(host: HostUnderTest) -> None:
    path = host.config.host_socket
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_socket_left_behind_is_replaced(config: Config) -> None:
    config.run_dir.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(config.host_socket))
    host = HostUnderTest(config)
    host.thread.start()
    assert host.client.get('/health').status_code == 200
    host.close()
    assert not config.host_socket.exists()


def test_a_second_host_waits_for_the_first_to_go(host: HostUnderTest) -> None:
    second = HostThread(host.config, load_server)
    threading.Timer(0.5, host.thread.stop).start()
    second.start()
    assert host.client.get('/health').status_code == 200
    assert second.stop()


def test_a_second_host_is_refused_while_the_first_runs(host: HostUnderTest) -> None:
    with pytest.raises(UnavailableError, match=f'process {os.getpid()}'):
        HostThread(host.config, load_server).start()


def test_a_host_that_waits_for_another_can_be_stopped(host: HostUnderTest) -> None:
    second = HostThread(host.config, load_server)
    with pytest.raises(UnavailableError, match='within 0.2 s'):
        second.start(timeout=0.2)
    assert not second.is_alive()


def test_unknown_and_unmanaged_servers_are_refused(host: HostUnderTest) -> None:
    host.servers(lan={'url': 'http://127.0.0.1:1'})
    assert "no server named 'other'" in host.refusal('other', 404)
    assert 'not managed' in host.refusal('lan', 400)
    assert host.client.post('/servers/other/probe').status_code == 404


def test_a_start_is_known_right_after_the_registry_changed(host: HostUnderTest) -> None:
    host.servers(local=stub())
    assert host.start('local').status_code == 200


def test_killing_the_host_leaves_no_orphan(config: Config, tmp_path: Path) -> None:
    under_test = HostUnderTest(config)
    under_test.servers(local=stub(f'spawn={tmp_path / "pid"}'), stubborn=stub('stubborn'))
    command = [sys.executable, '-c', LONE_HOST, str(config.data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as host, under_test.client:
        assert host.stdout and host.stdout.readline() == b'started\n'
        under_test.url('local')
        under_test.url('stubborn')
        descendants = list_descendants(host.pid)
        grandchild = int((tmp_path / 'pid').read_text())
        assert len(descendants) == 5, 'two guards, two servers, and what one of them started'
        assert grandchild in {process.pid for process in descendants}
        host.kill()
        wait_until(lambda: not any(process.is_running() for process in descendants), 5, 'the end of all')


def test_killing_host_and_guard_together_leaves_no_server(config: Config) -> None:
    under_test = HostUnderTest(config)
    under_test.servers(local=stub())
    command = [sys.executable, '-c', LONE_HOST, str(config.data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as host, under_test.client:
        assert host.stdout and host.stdout.readline() == b'started\n'
        under_test.url('local')
        server = find_process(under_test.wait_for_state('local', UP).pid or 0)
        assert server is not None
        os.kill(host.pid, signal.SIGSTOP)
        os.kill(server.parent, signal.SIGKILL)
        wait_until(lambda: not server.is_running(), 2, 'the end of the server')
        host.kill()


def test_requests_run_side_by_side(host: HostUnderTest, tmp_path: Path) -> None:
    host.servers(slow=stub(f'gate={tmp_path / "gate"}'))
    transport = httpx2.HTTPTransport(uds=str(host.config.host_socket))
    with httpx2.Client(transport=transport, base_url='http://host', timeout=20) as waiting:
        thread = threading.Thread(target=waiting.post, args=('/servers/slow/start',))
        thread.start()
        assert host.client.get('/health').elapsed.total_seconds() < 1
        (tmp_path / 'gate').touch()
        thread.join()
