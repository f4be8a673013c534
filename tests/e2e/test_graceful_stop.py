"""SIGTERM: what runs may finish, up to a limit; then it is cancelled, and nothing is left behind."""
import math
import signal
import time

import openai
import pytest
from fake_upstream import FakeUpstream, Reply

from .conftest import StartGateway
from .gateway import Gateway
from .llama import require_llama
from .processes import wait_until
from .program import is_ok
from .weights import find_weights
from .wire import CHAT, Call, build_chat, build_chunk, chat, wait_for_chat, wait_for_departure

pytestmark = pytest.mark.e2e

LIMIT = 1


def start(start_gateway: StartGateway, upstream: FakeUpstream, **settings: str) -> Gateway:
    gateway = start_gateway(**settings)
    gateway.flask('servers', 'add', 'fake', upstream.url, '--provider', 'openai')
    return gateway


def test_running_stream_finishes(start_gateway: StartGateway, upstream: FakeUpstream) -> None:
    gateway = start(start_gateway, upstream)
    chunks = [build_chunk(str(number)) for number in range(10)]
    upstream.answer(CHAT, Reply.events(*chunks, build_chunk('', 'stop'), gap=0.1))
    with chat(gateway.url, 'm1', stream=True) as call:
        events = call.iter_data()
        first = next(events)
        gateway.program.signal(signal.SIGTERM)
        rest = list(events)
    assert len([first, *rest]) == 12
    assert rest[-1] == '[DONE]'
    assert gateway.program.wait(10) == 0
    gateway.stop()


def test_running_completion_finishes(start_gateway: StartGateway, upstream: FakeUpstream) -> None:
    gateway = start(start_gateway, upstream)
    upstream.always(CHAT, lambda request: upstream.dialect.answer(request).with_(delay=1.0))
    with chat(gateway.url, 'm1') as call:
        wait_for_chat(upstream)
        gateway.program.signal(signal.SIGTERM)
        assert call.status == 200
        assert call.json()['choices']
    gateway.stop()


def test_new_requests_are_not_taken_while_it_stops(start_gateway: StartGateway, upstream: FakeUpstream) -> None:
    gateway = start(start_gateway, upstream)
    chunks = [build_chunk('x')] * 25
    upstream.answer(CHAT, Reply.events(*chunks, build_chunk('', 'stop'), gap=0.1))
    with chat(gateway.url, 'm1', stream=True) as call:
        next(call.iter_data())
        gateway.program.signal(signal.SIGTERM)
        wait_until(lambda: not is_ok(f'{gateway.url}/livez'), 3, 'connections are refused')
        assert list(call.iter_data())[-1] == '[DONE]'
    gateway.stop()


def test_idle_connection_does_not_delay_the_stop(start_gateway: StartGateway) -> None:
    """nginx, and every client with a pool, keeps connections open that have nothing to finish."""
    gateway = start_gateway()
    with Call(f'{gateway.url}/livez') as idle:
        assert idle.read()
        gateway.stop(timeout=5)


def test_stream_past_the_limit_is_cancelled_and_raises_in_the_client(
    start_gateway: StartGateway, upstream: FakeUpstream
) -> None:
    gateway = start(start_gateway, upstream, GUNICORN_CMD_ARGS=f'--graceful-timeout {LIMIT}')
    upstream.answer(CHAT, Reply.events(build_chunk('and'), math.inf))
    with openai.OpenAI(base_url=f'{gateway.url}/v1', api_key='none', max_retries=0) as client:
        stream = client.chat.completions.create(**build_chat('m1'), stream=True)
        next(stream)
        gateway.program.signal(signal.SIGTERM)
        stopped = time.monotonic()
        assert wait_for_departure(upstream, LIMIT + 5) - stopped > LIMIT / 2
        with pytest.raises(openai.APIError, match='being stopped'):
            list(stream)
    gateway.program.wait(5)
    gateway.stop()


def test_completion_past_the_limit_is_answered_with_503(start_gateway: StartGateway, upstream: FakeUpstream) -> None:
    gateway = start(start_gateway, upstream, GUNICORN_CMD_ARGS=f'--graceful-timeout {LIMIT}')
    upstream.answer(CHAT, Reply(hang=True))
    with chat(gateway.url, 'm1') as call:
        wait_for_chat(upstream)
        gateway.program.signal(signal.SIGTERM)
        assert call.status == 503
        assert 'being stopped' in call.json()['error']['message']
    gateway.program.wait(5)
    gateway.stop()


def test_managed_model_server_outlives_the_stream_it_feeds(start_gateway: StartGateway) -> None:
    require_llama()
    gateway = start_gateway(workers=1)
    gateway.flask('servers', 'add', 'local', '--gguf', str(find_weights()))
    with chat(gateway.url, 'local', stream=True, max_tokens=200, ignore_eos=True) as call:
        events = call.iter_data()
        first = next(events)
        assert gateway.child_pids
        gateway.program.signal(signal.SIGTERM)
        rest = list(events)
    assert 'error' not in first + rest[-2]
    assert rest[-1] == '[DONE]'
    gateway.stop()
