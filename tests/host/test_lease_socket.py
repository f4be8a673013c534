"""Leases over the host's second socket."""
import os
import signal
import stat
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from llmhost.config import Config
from tests.e2e.processes import wait_until
from tests.host.conftest import HostUnderTest, started, stub
from tests.host.lease_client import LeaseClient

LIMITED = {'url': 'http://127.0.0.1:1', 'max_concurrency': 1}
HOLDER = '''
import pathlib, sys, time
from tests.host.lease_client import LeaseClient
clients = [LeaseClient(pathlib.Path(sys.argv[1])) for _ in range(10)]
print(all('url' in client.acquire('lan', 'gone') for client in clients), flush=True)
time.sleep(60)
'''


def client_of(host: HostUnderTest) -> LeaseClient:
    return LeaseClient(host.config.lease_socket)


def leases_of(host: HostUnderTest, name: str = 'lan') -> dict[str, Any]:
    leases: dict[str, Any] = host.client.get('/leases').json()[name]
    return leases


def wait_for(host: HostUnderTest, *, running: int, waiting: int, timeout: float = 2.0) -> float:
    """Until so many leases run and wait; how long that took."""
    def counts() -> tuple[int, int]:
        leases = leases_of(host)
        return sum(leases['running'].values()), sum(leases['waiting'].values())
    return wait_until(lambda: counts() == (running, waiting), timeout, f'{running} running and {waiting} waiting')


def test_the_leases_socket_is_this_users_alone(host: HostUnderTest) -> None:
    assert stat.S_IMODE(host.config.lease_socket.stat().st_mode) == 0o600


def test_a_free_server_is_granted_at_once(host: HostUnderTest) -> None:
    host.servers(lan=LIMITED)
    with client_of(host) as client:
        answer = client.acquire('lan', 'ann')
        assert answer['url'] is None
        assert answer['queued_ms'] < 100
        assert leases_of(host) == {'capacity': 1, 'running': {'ann': 1}, 'waiting': {}, 'memory': None}


def test_a_server_without_a_limit_is_granted_to_all(host: HostUnderTest) -> None:
    host.servers(lan={'url': 'http://127.0.0.1:1'})
    with ExitStack() as stack:
        for _ in range(20):
            assert 'url' in stack.enter_context(client_of(host)).acquire('lan')
        assert leases_of(host)['running'] == {'': 20}


def test_a_released_slot_goes_to_the_one_who_waits_and_the_connection_asks_again(host: HostUnderTest) -> None:
    host.servers(lan=LIMITED)
    with client_of(host) as ann, client_of(host) as bob:
        ann.acquire('lan', 'ann')
        bob.ask('lan', 'bob')
        wait_for(host, running=1, waiting=1)
        time.sleep(0.05)
        ann.release()
        assert bob.answer()['queued_ms'] >= 50
        ann.ask('lan', 'ann')
        bob.release()
        assert 'url' in ann.answer()


def test_a_slot_is_granted_fairly_over_the_socket(host: HostUnderTest) -> None:
    host.servers(lan=LIMITED)
    with ExitStack() as stack:
        heavy = [stack.enter_context(client_of(host)) for _ in range(60)]
        for client in heavy:
            client.ask('lan', 'A')
        wait_for(host, running=1, waiting=59)
        light = stack.enter_context(client_of(host))
        light.ask('lan', 'B')
        wait_for(host, running=1, waiting=60)
        heavy[0].answer()
        heavy[0].release()
        assert 'url' in light.answer()


def test_closing_the_connection_releases(host: HostUnderTest) -> None:
    host.servers(lan=LIMITED)
    with client_of(host) as bob:
        with client_of(host) as ann:
            ann.acquire('lan')
            bob.ask('lan')
            wait_for(host, running=1, waiting=1)
        assert 'url' in bob.answer()


def test_a_client_that_leaves_the_queue_frees_its_place(host: HostUnderTest) -> None:
    host.servers(lan=LIMITED)
    with client_of(host) as ann, client_of(host) as bob:
        ann.acquire('lan')
        with client_of(host) as leaving:
            leaving.ask('lan', 'leaving')
            wait_for(host, running=1, waiting=1)
        wait_for(host, running=1, waiting=0)
        bob.ask('lan')
        wait_for(host, running=1, waiting=1)
        ann.release()
        assert 'url' in bob.answer()


def test_what_a_killed_process_held_is_free_within_a_second(host: HostUnderTest) -> None:
    host.servers(lan={**LIMITED, 'max_concurrency': 10})
    command = [sys.executable, '-c', HOLDER, str(host.config.lease_socket)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b'True\n'
        assert leases_of(host)['running'] == {'gone': 10}
        os.kill(holder.pid, signal.SIGKILL)
        wait_for(host, running=0, waiting=0, timeout=1.0)


def test_a_changed_limit_counts_at_once_and_ends_nothing(host: HostUnderTest) -> None:
    host.servers(lan=LIMITED)
    with client_of(host) as ann, client_of(host) as bob, client_of(host) as eve:
        ann.acquire('lan')
        bob.ask('lan')
        wait_for(host, running=1, waiting=1)
        host.servers(lan={**LIMITED, 'max_concurrency': 2})
        assert 'url' in bob.answer()
        host.servers(lan=LIMITED)
        eve.ask('lan')
        wait_for(host, running=2, waiting=1)
        ann.release()
        wait_for(host, running=1, waiting=1)
        bob.release()
        assert 'url' in eve.answer()


def test_more_than_may_wait_are_refused(config: Config) -> None:
    for host in started(replace(config, queue_size=1)):
        host.servers(lan=LIMITED)
        with client_of(host) as ann, client_of(host) as bob, client_of(host) as eve:
            ann.acquire('lan')
            bob.ask('lan')
            wait_for(host, running=1, waiting=1)
            error = eve.acquire('lan')['error']
            assert (error['code'], error['retry_after']) == ('rate_limit_exceeded', 1.0)
            ann.release()
            assert 'url' in bob.answer()
            eve.ask('lan')
            bob.release()
            assert 'url' in eve.answer(), 'the connection of a refused lease can ask again'


@pytest.mark.parametrize(('entry', 'name', 'code'), [
    ({}, 'other', 'server_not_found'),
    ({'enabled': False}, 'lan', 'server_disabled'),
])
def test_servers_that_cannot_be_used_are_refused(host: HostUnderTest, entry: dict[str, Any], name: str, code: str) -> None:
    host.servers(lan={**LIMITED, **entry})
    with client_of(host) as client:
        assert client.acquire(name)['error']['code'] == code


@pytest.mark.parametrize(('after', 'code'), [
    ({}, 'server_not_found'), ({'lan': {**LIMITED, 'enabled': False}}, 'server_disabled'),
], ids=['removed', 'disabled'])
def test_those_who_wait_for_a_server_that_goes_are_told(host: HostUnderTest, after: dict[str, Any], code: str) -> None:
    host.servers(lan=LIMITED)
    with client_of(host) as ann, client_of(host) as bob:
        ann.acquire('lan')
        bob.ask('lan')
        wait_for(host, running=1, waiting=1)
        host.servers(**after)
        assert bob.answer()['error']['code'] == code
        host.servers(lan=LIMITED)
        bob.ask('lan')
        wait_for(host, running=1, waiting=1)
        ann.release()
        assert 'url' in bob.answer(), 'what ann held was counted all the while'


@pytest.mark.parametrize('data', [
    b'GET / HTTP/1.1\r\n\r\n', b'[]\n', b'{}\n', b'{"server": 1}\n', b'{"server": "lan", "key": 1}\n', b'{"server": "lan"\n',
    b'\xff\n', b'x' * 20_000, b'{"server": "lan"}\n{"server": "lan"}\n',
], ids=lambda data: repr(data[:20]))
def test_what_is_not_understood_closes_the_connection(host: HostUnderTest, data: bytes) -> None:
    host.servers(lan=LIMITED)
    with client_of(host) as client:
        client.send(data)
        if data.count(b'"server": "lan"}') == 2:
            assert 'url' in client.answer()
        assert client.answer() == {}
    wait_for(host, running=0, waiting=0)


def test_lines_may_come_in_pieces_and_several_at_once(host: HostUnderTest) -> None:
    host.servers(lan=LIMITED)
    with client_of(host) as client:
        for piece in (b'{"server":', b' "lan", "key"', b': null}', b'\n\n{"server": "lan", "key": "x"}\n'):
            client.send(piece)
            time.sleep(0.01)
        assert ['url' in client.answer(), 'url' in client.answer()] == [True, True]
        assert leases_of(host)['running'] == {'x': 1}


def test_a_host_that_stops_ends_every_lease(host: HostUnderTest) -> None:
    host.servers(lan=LIMITED, local=stub())
    with client_of(host) as ann, client_of(host) as bob, client_of(host) as eve:
        ann.acquire('lan')
        bob.ask('lan')
        assert eve.acquire('local')['url']
        wait_for(host, running=1, waiting=1)
        assert host.thread.stop()
        assert (ann.answer(), eve.answer()) == ({}, {})
        assert (bob.answer()['error']['message'], bob.answer()) == ("'lan' was stopped.", {})
    assert not host.config.lease_socket.exists()


def test_a_lease_is_quick(host: HostUnderTest) -> None:
    """Prints what it costs (pytest -s); how quick it has to be is for benchmarks/ to say."""
    host.servers(lan={**LIMITED, 'max_concurrency': 4})
    with client_of(host) as client:
        seconds = []
        for _ in range(1000):
            began = time.perf_counter()
            client.acquire('lan', 'ann')
            seconds.append(time.perf_counter() - began)
            client.release()
    print(f'\na lease: p50 {statistics.median(seconds) * 1e3:.3f} ms, {len(seconds) / sum(seconds):.0f} a second')
    assert statistics.median(seconds) < 0.05
