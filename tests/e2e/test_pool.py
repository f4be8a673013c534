"""A pool of two, one of them ill: clients never notice, and the console says which and why."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from fake_upstream import FakeUpstream, Reply

from .conftest import StartGateway
from .gateway import Gateway
from .llama import require_llama
from .weights import find_weights
from .wire import CHAT, build_chunk, chat, run_at_once

pytestmark = pytest.mark.e2e

ILLS = {
    '503': (Reply.error(503, 'overloaded'), 'answered with status 503'),
    '429': (Reply.error(429, 'slow down', headers={'retry-after': '7'}), 'answered with status 429'),
    'hangs': (Reply(hang=True), 'sent nothing'),
    'html': (Reply.text('<html>Bad Gateway</html>', 200), 'not JSON'),
    '200 with an error': (Reply.json({'error': 'Unexpected endpoint or method.'}), 'answered with status 502'),
}
NOTICED_WITHIN = 10.0


def list_servers(gateway: Gateway) -> dict[str, dict[str, object]]:
    return {server['name']: server for server in json.loads(gateway.flask('servers', 'list', '--json'))}


def wait_for(gateway: Gateway, name: str, field: str, fits: object, timeout: float = NOTICED_WITHIN) -> None:
    """Until `flask servers list` shows it."""
    deadline = time.monotonic() + timeout
    while not fits(list_servers(gateway)[name][field]):  # type: ignore[operator]
        assert time.monotonic() < deadline, list_servers(gateway)[name]


@pytest.fixture
def pool(start_gateway: StartGateway, upstream: FakeUpstream) -> Gateway:
    gateway = start_gateway(workers=2)
    gateway.flask('servers', 'add', 'ill', upstream.url, '--provider', 'openai', '--priority', '5', '--timeout', '1')
    return gateway


@pytest.mark.parametrize('ill', ILLS)
def test_client_of_a_pool_never_notices_and_the_console_says_why(ill: str, pool: Gateway, upstream: FakeUpstream) -> None:
    reply, reason = ILLS[ill]
    upstream.always(CHAT, reply)
    with FakeUpstream(models=['m1']) as well:
        pool.flask('servers', 'add', 'well', well.url, '--provider', 'openai')
        for stream in (False, True, False):
            with chat(pool.url, 'm1', stream=stream) as call:
                assert (call.status, call.headers['x-llmhost-server']) == (200, 'well')
                assert b'error' not in call.read()
        wait_for(pool, 'ill', 'last_error', lambda text: reason in (text or ''))
        pool.stop()


def test_rate_limit_cools_that_server_until_it_said(pool: Gateway, upstream: FakeUpstream) -> None:
    upstream.answer(CHAT, Reply.error(429, 'slow down', headers={'retry-after': '4'}))
    with FakeUpstream(models=['m1']) as well:
        pool.flask('servers', 'add', 'well', well.url, '--provider', 'openai')
        with chat(pool.url, 'm1') as call:
            assert call.status == 200
        wait_for(pool, 'ill', 'health', lambda state: state == 'rate_limited', 3)
        wait_for(pool, 'ill', 'health', lambda state: state == 'up')
        with chat(pool.url, 'm1') as call:
            assert call.headers['x-llmhost-server'] == 'ill'
        pool.stop()


def test_server_that_refuses_connections_is_down_and_its_return_is_noticed(pool: Gateway, upstream: FakeUpstream) -> None:
    with FakeUpstream(models=['m1']) as well:
        pool.flask('servers', 'add', 'well', well.url, '--provider', 'openai')
        upstream.refuse()
        with chat(pool.url, 'm1') as call:
            assert call.headers['x-llmhost-server'] == 'well'
        wait_for(pool, 'ill', 'health', lambda state: state == 'down')
        upstream.listen()
        wait_for(pool, 'ill', 'health', lambda state: state == 'up')
        pool.stop()


def test_streams_go_on_while_the_host_is_killed_and_comes_back(start_gateway: StartGateway, upstream: FakeUpstream) -> None:
    gateway = start_gateway(workers=2)
    gateway.flask('servers', 'add', 'fake', upstream.url, '--provider', 'openai')
    upstream.always(CHAT, Reply.events(*[build_chunk('x')] * 20, build_chunk('', 'stop'), gap=0.1))

    def stream(number: int) -> str:
        with chat(gateway.url, 'm1', stream=True) as call:
            events = call.iter_data()
            next(events)
            if number == 0 and gateway.host_pid:
                os.kill(gateway.host_pid, signal.SIGKILL)
            return list(events)[-1]
    assert run_at_once(20, stream) == ['[DONE]'] * 20
    deadline = time.monotonic() + 5
    while gateway.host_pid is None:
        assert time.monotonic() < deadline
    gateway.stop()


def test_stopped_model_is_started_once_for_forty_clients(start_gateway: StartGateway) -> None:
    require_llama()
    gateway = start_gateway(workers=2)
    gateway.flask('servers', 'add', 'local', '--gguf', str(find_weights()))

    def ask(number: int) -> int:
        with chat(gateway.url, 'local', max_tokens=3, timeout=60) as call:
            return call.status
    assert run_at_once(40, ask) == [200] * 40
    assert sum('llamacpp.py' in command and 'guard.py' not in command for command in commands(gateway)) == 1
    gateway.stop()


def commands(gateway: Gateway) -> list[str]:
    """The command lines of the host's descendants."""
    return [Path(f'/proc/{pid}/cmdline').read_text().replace('\0', ' ') for pid in gateway.child_pids]
