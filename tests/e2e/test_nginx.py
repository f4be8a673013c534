"""What deploy/nginx.conf must let through untouched, and what it must say itself."""
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fake_upstream import FakeUpstream, Reply, encode_event
from openapi_check import check

from .conftest import StartGateway
from .gateway import Gateway
from .nginx import Nginx
from .wire import CHAT, Call, build_chat, build_chunk, chat, list_chats

pytestmark = pytest.mark.e2e

STREAM_HEADERS = {'content-type': 'text/event-stream'}
MEBIBYTE = 1 << 20


@pytest.fixture(scope='module')
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream(models=['m1']) as server:
        yield server


@pytest.fixture(scope='module')
def gateway(start_gateway: StartGateway, upstream: FakeUpstream) -> Gateway:
    gateway = start_gateway()
    gateway.flask('servers', 'add', 'fake', upstream.url, '--provider', 'openai')
    return gateway


@pytest.fixture(autouse=True)
def forget(upstream: FakeUpstream) -> None:
    upstream.reset()


def test_each_token_arrives_before_the_next_is_sent(url: str, upstream: FakeUpstream) -> None:
    """The upstream sends a token once the client has the one before: holding one back would stop the stream."""
    seen = threading.Semaphore(0)

    def iter_tokens() -> Iterator[bytes]:
        for number in range(10):
            yield encode_event(build_chunk(str(number)))
            assert seen.acquire(timeout=10)
        yield b'data: [DONE]\n\n'
    upstream.answer(CHAT, Reply(headers=STREAM_HEADERS, body=iter_tokens()))
    texts = []
    with chat(url, 'm1', stream=True) as call:
        for data in call.iter_data():
            if data != '[DONE]':
                texts += [choice['delta']['content'] for choice in json.loads(data)['choices']]
                seen.release()
    assert texts == [str(number) for number in range(10)]


@pytest.mark.slow
def test_stream_survives_a_silence_of_70_seconds(url: str, upstream: FakeUpstream) -> None:
    upstream.answer(CHAT, Reply.events(build_chunk('before'), 70.0, build_chunk('after')))
    with chat(url, 'm1', stream=True, timeout=30) as call:
        lines = list(call.iter_lines())
    assert len([line for line in lines if line.startswith(':')]) >= 4
    assert 'before' in next(line for line in lines if line.startswith('data: '))
    assert 'after' in lines[-2]
    assert lines[-1] == 'data: [DONE]'


@pytest.mark.slow
def test_connection_idle_for_as_long_as_nginx_keeps_it_is_still_good(nginx: Nginx, upstream: FakeUpstream) -> None:
    """nginx never repeats a POST: gunicorn must not close a kept connection before nginx does, after 60 s."""
    upstream.reset()
    for pause in (57, 0):
        with chat(nginx.url, 'm1') as call:
            assert call.status == 200
        time.sleep(pause)


def test_stream_is_neither_compressed_nor_cached(url: str, upstream: FakeUpstream) -> None:
    with Call(url + CHAT, build_chat('m1', stream=True), {'Accept-Encoding': 'gzip'}) as call:
        assert call.status == 200
        assert call.headers['Content-Type'].startswith('text/event-stream')
        assert call.headers['Cache-Control'] == 'no-cache'
        assert call.headers['Content-Encoding'] is None
        assert call.read().endswith(b'data: [DONE]\n\n')


def test_gateway_asks_a_proxy_not_to_buffer(gateway: Gateway, upstream: FakeUpstream) -> None:
    upstream.reset()
    with chat(gateway.url, 'm1', stream=True) as call:
        assert call.headers['X-Accel-Buffering'] == 'no'


def test_request_id_and_server_come_back(url: str, upstream: FakeUpstream) -> None:
    with Call(url + CHAT, build_chat('m1'), {'X-Request-Id': 'my-request-1'}) as call:
        assert call.headers['X-Request-Id'] == 'my-request-1'
        assert call.headers['X-Llmhost-Server'] == 'fake'


def test_upstream_never_sees_the_proxys_headers(nginx: Nginx, upstream: FakeUpstream) -> None:
    upstream.reset()
    with chat(nginx.url, 'm1') as call:
        assert call.status == 200
    assert not [name for name in list_chats(upstream)[0].headers if name.startswith('x-forwarded') or name == 'x-real-ip']


def test_body_of_ten_mebibytes_is_passed_on_whole(url: str, upstream: FakeUpstream) -> None:
    text = 'x' * (10 * MEBIBYTE)
    with Call(url + CHAT, {'model': 'm1', 'messages': [{'role': 'user', 'content': text}]}) as call:
        assert call.status == 200
    assert list_chats(upstream)[0].json['messages'][0]['content'] == text


def test_body_over_the_limit_is_refused_before_it_is_sent(url: str) -> None:
    host, port = url.removeprefix('http://').split(':')
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        lines = [f'POST {CHAT} HTTP/1.1', f'Host: {host}', 'Content-Type: application/json', 'Content-Length: 67108865']
        connection.sendall('\r\n'.join([*lines, '', '']).encode())
        status, document = read_answer(connection)
    assert status == 413
    check('ErrorResponse', document)
    assert document['error']['code'] == 'request_too_large'


def test_metrics_are_for_the_machine_itself(nginx: Nginx) -> None:
    with Call(f'{nginx.url}/metrics') as call:
        assert call.status == 200
        assert b'llmhost_' in call.read()
    with socket.create_connection(('127.0.0.1', nginx.port), timeout=10, source_address=('127.0.0.2', 0)) as connection:
        connection.sendall(b'GET /metrics HTTP/1.1\r\nHost: llmhost\r\n\r\n')
        status, document = read_answer(connection)
    assert status == 403
    check('ErrorResponse', document)


def test_gateway_that_is_down_is_an_error_clients_understand(
    start_gateway: StartGateway, start_nginx: Callable[[Gateway], Nginx]
) -> None:
    gateway = start_gateway(workers=1)
    nginx = start_nginx(gateway)
    gateway.stop()
    with chat(nginx.url, 'm1') as call:
        assert call.status == 502
        assert int(call.headers['Retry-After']) >= 1
        check('ErrorResponse', call.json())


def read_answer(connection: socket.socket) -> tuple[int, Any]:
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, json.loads(response.read())
