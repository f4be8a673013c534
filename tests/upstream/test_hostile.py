"""Upstreams that say more than they were asked, say it for ever, or do not listen."""

import socket
import threading
import time

import pytest

from llmhost.errors import UpstreamBrokenError
from llmhost.upstream.sse import EventDecoder

from .wire_server import PAUSE, WireServer

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
OTHER = b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother'
STALL_SECONDS = 0.05


@pytest.mark.parametrize('unasked', [PAUSE + OTHER, OTHER, PAUSE + b'HTTP/1.1 408 Request Timeout\r\n\r\n'],
                         ids=['later', 'at once', 'time-out'])
def test_answer_nobody_asked_for_is_never_given_to_the_next_request(unasked, ask):
    with WireServer([OK + unasked, OK], [OK]) as server:
        assert ask(server.url) == (200, b'ok')
        time.sleep(0.06)  # what comes unasked is under way
        assert ask(server.url) == (200, b'ok')
        assert server.accepted == 2


def test_head_that_drips_does_not_outlast_the_wait(begin):
    drip = PAUSE.join(b'X-%d: y\r\n' % number for number in range(40))
    with WireServer([b'HTTP/1.1 200 OK\r\n' + drip + OK]) as server, begin(server.url) as exchange:
        began = time.monotonic()
        assert not exchange.wait_head(0.1)
        assert time.monotonic() - began < 0.5


def test_head_without_end_is_refused(begin):
    head = b'HTTP/1.1 200 OK\r\n' + b''.join(b'X-%d: %b\r\n' % (number, b'y' * 1000) for number in range(400))
    with WireServer([head]) as server, begin(server.url) as exchange, pytest.raises(UpstreamBrokenError):
        exchange.wait_head(2)


def test_switch_to_another_protocol_is_a_broken_answer(begin):
    switch = b'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'
    with WireServer([switch]) as server, begin(server.url) as exchange, pytest.raises(UpstreamBrokenError):
        exchange.wait_head(2)


def test_body_over_the_limit_is_refused(begin):
    body = b'HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n' + b'x' * 3000
    with WireServer([body]) as server, begin(server.url) as exchange:
        assert exchange.wait_head(2)
        with pytest.raises(UpstreamBrokenError, match='more than'):
            exchange.read_all(2, limit=1000)


def test_rest_that_never_ends_is_not_waited_for(begin):
    chunks = PAUSE.join([b'1\r\nx\r\n'] * 60)
    with WireServer([b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n' + chunks]) as server:
        with begin(server.url) as exchange:
            assert exchange.wait_head(2)
            began = time.monotonic()
            exchange.settle(0.05)
            assert time.monotonic() - began < 0.5


def serve_once(handle):
    """A server whose one connection `handle` has to itself; its port."""
    listener = socket.create_server(('127.0.0.1', 0))

    def run():
        with listener, listener.accept()[0] as connection:
            handle(connection)
    threading.Thread(target=run, daemon=True).start()
    return listener.getsockname()[1]


def test_upload_that_the_server_takes_slowly_is_sent_whole_and_once(begin):
    size = 8_000_000
    taken = []

    def handle(connection):
        got = 0
        while got < size:
            got += len(connection.recv(1_000_000))
            time.sleep(STALL_SECONDS if got < 3_000_000 else 0)
        taken.append(got)
        connection.sendall(OK)
    with begin(f'http://127.0.0.1:{serve_once(handle)}', b'x' * size, timeout=STALL_SECONDS / 2) as exchange:
        assert exchange.wait_head(5)
        assert (exchange.status, exchange.read_all(2), len(taken)) == (200, b'ok', 1)


def test_refusal_of_a_body_that_is_still_being_sent_is_read(begin):
    refusal = b'HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno'

    def handle(connection):
        connection.recv(1000)
        connection.sendall(refusal)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1_000_000):
            pass
    with begin(f'http://127.0.0.1:{serve_once(handle)}', b'x' * 8_000_000) as exchange:
        assert exchange.wait_head(2)
        assert (exchange.status, exchange.read_all(2)) == (413, b'no')


def test_caller_that_leaves_while_sending_closes_the_connection(begin):
    class LeftError(BaseException):
        pass
    ended = threading.Event()

    def handle(connection):
        connection.recv(1000)
        wait_for_end(connection)
        ended.set()

    def wait_for_end(connection):
        time.sleep(STALL_SECONDS)
        while connection.recv(1_000_000):
            pass
    port = serve_once(handle)
    original = socket.socket.send

    def send(self, data, *args):
        if len(data) > 100_000:
            raise LeftError
        return original(self, data, *args)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(LeftError):
        patch.setattr(socket.socket, 'send', send)
        begin(f'http://127.0.0.1:{port}', b'x' * 8_000_000)
    assert ended.wait(2)


def test_long_event_in_many_pieces_takes_time_in_proportion():
    decoder = EventDecoder()
    event = b'data: ' + b'x' * 16_000_000 + b'\n\n'
    found = [data for start in range(0, len(event), 65536) for data in decoder.feed(event[start:start + 65536])]
    assert [len(data) for data in found] == [16_000_000]
