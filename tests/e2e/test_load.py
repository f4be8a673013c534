"""Many at once: every stream whole and in order, the limit exact, nothing hung, nothing leaked."""
import json
import math
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from fake_upstream import FakeUpstream, Reply, Request

from .conftest import StartGateway
from .gateway import Gateway
from .processes import find_connection_owners, wait_until
from .wire import CHAT, build_chunk, chat, run_at_once, wait_for_chat

pytestmark = pytest.mark.e2e

STREAMS = 64
CHUNKS = 100
DELAY = 0.25


@pytest.fixture(scope='module')
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream(models=['m1']) as server:
        yield server


def start(start_gateway: StartGateway, upstream: FakeUpstream, **settings: str) -> Gateway:
    gateway = start_gateway(**settings)
    gateway.flask('servers', 'add', 'fake', upstream.url, '--provider', 'openai')
    upstream.reset()
    return gateway


def test_many_streams_are_each_whole_and_in_order(start_gateway: StartGateway, upstream: FakeUpstream) -> None:
    gateway = start(start_gateway, upstream)
    upstream.always(CHAT, count_for)
    texts = run_at_once(STREAMS, lambda number: stream_text(gateway, f'stream {number}'))
    assert texts == [''.join(f'[stream {number}:{count}]' for count in range(CHUNKS)) for number in range(STREAMS)]


def test_requests_over_the_limit_wait_their_turn(start_gateway: StartGateway, upstream: FakeUpstream) -> None:
    gateway = start(start_gateway, upstream, LLMHOST_MAX_CONCURRENCY='50')
    slow = SlowAnswers()
    upstream.always(CHAT, slow)
    answers = run_at_once(200, lambda _: ask(gateway))
    assert Counter(status for status, _ in answers) == {200: 200}
    assert slow.peak <= 50


def test_requests_over_the_queue_are_told_when_to_come_back(
    start_gateway: StartGateway, upstream: FakeUpstream
) -> None:
    gateway = start(start_gateway, upstream, LLMHOST_MAX_CONCURRENCY='50', LLMHOST_QUEUE_SIZE='20')
    slow = SlowAnswers()
    upstream.always(CHAT, slow)
    answers = run_at_once(200, lambda _: ask(gateway))
    statuses = Counter(status for status, _ in answers)
    assert statuses.keys() == {200, 429}
    assert statuses[200] >= 70
    assert slow.peak <= 50
    assert all(int(retry_after) >= 1 for status, retry_after in answers if status == 429)


def test_requests_that_waited_too_long_are_told_when_to_come_back(
    start_gateway: StartGateway, upstream: FakeUpstream
) -> None:
    gateway = start(start_gateway, upstream, LLMHOST_MAX_CONCURRENCY='1', LLMHOST_QUEUE_TIMEOUT='0.5')
    upstream.always(CHAT, Reply(hang=True))
    with chat(gateway.url, 'm1', stream=True):
        wait_for_chat(upstream)
        started = time.monotonic()
        status, retry_after = ask(gateway)
    assert status == 429 and int(retry_after) >= 1
    assert 0.4 < time.monotonic() - started < 5


def test_killed_worker_gives_its_slots_back(start_gateway: StartGateway, upstream: FakeUpstream) -> None:
    gateway = start(start_gateway, upstream, LLMHOST_MAX_CONCURRENCY='4', LLMHOST_QUEUE_TIMEOUT='10')
    upstream.always(CHAT, Reply.events(build_chunk('on'), math.inf))
    held = [chat(gateway.url, 'm1', stream=True) for _ in range(4)]
    owners = Counter(pid for call in held for pid in find_connection_owners(call.local_port, gateway.port))
    assert next(held[0].iter_data()) and sum(owners.values()) == 4
    pid, count = owners.most_common(1)[0]
    upstream.always(CHAT, SlowAnswers())
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    assert [status for status, _ in run_at_once(count, lambda _: ask(gateway))] == [200] * count
    assert time.monotonic() - killed < 5
    for call in held:
        call.close()
    wait_until(lambda: upstream.under_way == 0, 3, 'all streams are cancelled')
    assert [status for status, _ in run_at_once(4, lambda _: ask(gateway))] == [200] * 4


def ask(gateway: Gateway) -> tuple[int, str | None]:
    """The status and Retry-After of a completion."""
    with chat(gateway.url, 'm1', timeout=60) as call:
        call.read()
        return call.status, call.headers['Retry-After']


def stream_text(gateway: Gateway, content: str) -> str:
    """What a stream says, from its first event to `[DONE]`."""
    messages = [{'role': 'user', 'content': content}]
    with chat(gateway.url, 'm1', messages=messages, stream=True, timeout=60) as call:
        *events, last = call.iter_data()
    assert last == '[DONE]'
    return ''.join(choice['delta'].get('content', '') for event in events for choice in json.loads(event)['choices'])


def count_for(request: Request) -> Reply:
    """A stream that counts, and says whose it is."""
    asked = request.json['messages'][0]['content']
    chunks = [build_chunk(f'[{asked}:{count}]') for count in range(CHUNKS)]
    return Reply.events(*chunks, build_chunk('', 'stop'), gap=0.01)


class SlowAnswers:
    """Answers each request a little later. `peak` is exact: a request is done here before its answer is sent."""

    def __init__(self) -> None:
        self.peak = self._running = 0
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Reply:
        with self._lock:
            self._running += 1
            self.peak = max(self.peak, self._running)
        time.sleep(DELAY)
        with self._lock:
            self._running -= 1
        message = {'role': 'assistant', 'content': 'done'}
        return Reply.json({
            'id': 'chatcmpl-1', 'object': 'chat.completion', 'created': 1, 'model': 'm1',
            'choices': [{'index': 0, 'message': message, 'finish_reason': 'stop'}],
        })
