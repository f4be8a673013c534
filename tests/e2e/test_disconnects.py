"""A client is killed: the upstream sees its connection close within a second, whatever was going on."""
import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_upstream import FakeUpstream, Reply

from .conftest import StartGateway
from .gateway import Gateway
from .wire import CHAT, build_chat, build_chunk, chat, list_chats, wait_for_chat, wait_for_departure

pytestmark = pytest.mark.e2e

LIMIT = 1.0


@pytest.fixture(scope='module')
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream(models=['m1']) as server:
        yield server


@pytest.fixture(scope='module')
def gateway(start_gateway: StartGateway, upstream: FakeUpstream) -> Gateway:
    gateway = start_gateway(LLMHOST_MAX_CONCURRENCY='1')
    gateway.flask('servers', 'add', 'fake', upstream.url, '--provider', 'openai')
    return gateway


@pytest.fixture(autouse=True)
def forget(upstream: FakeUpstream) -> None:
    upstream.reset()


class LoneClient:
    """A client in its own process, started with a chat request."""

    def __init__(self, url: str, payload: dict[str, Any]):
        command = [sys.executable, '-S', str(Path(__file__).with_name('lone_client.py')), url + CHAT]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._process.stdin.write(json.dumps(payload).encode())
        self._process.stdin.close()

    def read_data(self) -> str:
        """The next `data:` line."""
        while line := self._process.stdout.readline():
            if line.startswith(b'data: '):
                return line.decode()
        raise AssertionError('the stream ended')

    def kill(self) -> float:
        """When it was killed."""
        when = time.monotonic()
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()
        return when


def test_stream_is_cancelled_when_the_client_dies_between_tokens(url: str, upstream: FakeUpstream) -> None:
    upstream.answer(CHAT, Reply.events(*[build_chunk(str(number)) for number in range(2000)], gap=0.03))
    client = LoneClient(url, build_chat('m1', stream=True))
    client.read_data()
    assert_cancelled(client, upstream)


def test_stream_is_cancelled_when_the_client_dies_in_a_silence(url: str, upstream: FakeUpstream) -> None:
    upstream.answer(CHAT, Reply.events(build_chunk('and'), math.inf))
    client = LoneClient(url, build_chat('m1', stream=True))
    client.read_data()
    assert_cancelled(client, upstream)


def test_stream_is_cancelled_when_the_client_dies_before_the_first_token(url: str, upstream: FakeUpstream) -> None:
    upstream.answer(CHAT, Reply.events(math.inf))
    client = LoneClient(url, build_chat('m1', stream=True))
    wait_for_chat(upstream)
    assert_cancelled(client, upstream)


@pytest.mark.parametrize('stream', [False, True])
def test_request_is_cancelled_when_the_client_dies_before_the_head(
    url: str, upstream: FakeUpstream, stream: bool
) -> None:
    upstream.answer(CHAT, Reply(hang=True))
    client = LoneClient(url, build_chat('m1', stream=stream))
    wait_for_chat(upstream)
    assert_cancelled(client, upstream)


def test_request_is_cancelled_when_the_client_dies_amid_the_body(url: str, upstream: FakeUpstream) -> None:
    upstream.answer(CHAT, Reply(headers={'content-type': 'application/json'}, body=(b'{"id": "chatcmpl-1",', math.inf)))
    client = LoneClient(url, build_chat('m1'))
    wait_for_chat(upstream)
    assert_cancelled(client, upstream)


def test_place_in_the_queue_is_given_up_when_the_client_dies(url: str, upstream: FakeUpstream) -> None:
    """There is one slot: the first holds it, the second waits for it and dies, and is never asked of the upstream."""
    upstream.answer(CHAT, Reply.events(build_chunk('on'), math.inf))
    first = LoneClient(url, build_chat('m1', stream=True))
    wait_for_chat(upstream)
    second = LoneClient(url, build_chat('m1'))
    time.sleep(0.5)  # until it stands in line
    second.kill()
    time.sleep(LIMIT)
    assert_cancelled(first, upstream)
    with chat(url, 'm1') as call:
        assert call.status == 200
    assert len(list_chats(upstream)) == 2


def assert_cancelled(client: LoneClient, upstream: FakeUpstream) -> None:
    killed = client.kill()
    assert 0 < wait_for_departure(upstream) - killed < LIMIT
