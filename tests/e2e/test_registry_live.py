"""The console changes the registry under running workers: seen at once, nothing lost, whoever is killed."""
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest
from fake_upstream import FakeUpstream

from .conftest import StartGateway
from .gateway import Gateway
from .processes import find_connection_owners
from .program import ROOT
from .wire import list_models

pytestmark = pytest.mark.e2e

ADDS = 50
WRITERS = 8


@pytest.fixture(scope='module')
def gateway(start_gateway: StartGateway) -> Gateway:
    return start_gateway(workers=4)


@pytest.fixture
def connections(gateway: Gateway) -> Iterator[list[HTTPConnection]]:
    """A kept-alive connection to each worker."""
    opened: dict[int, HTTPConnection] = {}
    spare = []
    while gateway.worker_pids - opened.keys():
        connection = HTTPConnection('127.0.0.1', gateway.port, timeout=10)
        ask_models(connection)
        owners = find_connection_owners(connection.sock.getsockname()[1], gateway.port)
        spare.append(connection)
        opened.setdefault(owners.pop(), connection)
        assert len(spare) < 500, f'{len(opened)} of 4 workers take connections'
    yield list(opened.values())
    for connection in spare:
        connection.close()


def test_every_worker_sees_a_change_on_its_next_request(gateway: Gateway, connections: list[HTTPConnection]) -> None:
    with FakeUpstream(models=['new-1', 'new-2']) as upstream:
        assert 'new-1' not in list_models(gateway.url)
        gateway.flask('servers', 'add', 'new', upstream.url)
        assert all({'new-1', 'new-2'} <= ask_models(connection) for connection in connections * 5)
        gateway.flask('servers', 'disable', 'new')
        assert not any('new-1' in ask_models(connection) for connection in connections * 5)
        gateway.flask('servers', 'enable', 'new')
        assert all('new-1' in ask_models(connection) for connection in connections * 5)
        gateway.flask('servers', 'remove', 'new')
        assert not any('new-1' in ask_models(connection) for connection in connections * 5)


def test_adds_from_many_processes_at_once_lose_none(gateway: Gateway) -> None:
    names = [f'bulk-{number}' for number in range(ADDS)]
    writers = [subprocess.Popen([sys.executable, '-m', 'tests.e2e.bulk_add', *names[number::WRITERS]], cwd=ROOT,
                                env=gateway.environ) for number in range(WRITERS)]
    assert [writer.wait(60) for writer in writers] == [0] * WRITERS
    assert set(names) <= gateway.read_registry().keys()
    assert {f'model-of-{name}' for name in names} <= list_models(gateway.url)


def test_add_that_is_killed_leaves_the_old_or_the_new_file(gateway: Gateway) -> None:
    for number in range(6):
        before = gateway.read_registry()
        command = gateway.flask_command('servers', 'add', f'killed-{number}', 'http://127.0.0.1:9', '--no-check',
                                        '--model', 'm')
        process = subprocess.Popen(command, cwd=ROOT, env=gateway.environ, stdout=subprocess.DEVNULL)
        wait_for_writing(gateway, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        after = gateway.read_registry()
        assert after == before or after.keys() - before.keys() == {f'killed-{number}'}
    gateway.flask('servers', 'add', 'survivor', 'http://127.0.0.1:9', '--no-check', '--model', 'm')
    assert 'survivor' in gateway.read_registry()
    assert not [path for path in gateway.data_dir.iterdir() if path.suffix == '.tmp']


def wait_for_writing(gateway: Gateway, process: 'subprocess.Popen[bytes]') -> None:
    """Until the process has its new file half written, or is done: whatever is caught first."""
    stat = gateway.registry.stat()
    end = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < end:
        if any(path.suffix == '.tmp' for path in gateway.data_dir.iterdir()):
            return
        if gateway.registry.stat().st_ino != stat.st_ino:
            return


def ask_models(connection: HTTPConnection) -> set[str]:
    connection.request('GET', '/v1/models')
    response = connection.getresponse()
    document = json.loads(response.read())
    assert response.status == 200, document
    return {model['id'] for model in document['data']}
