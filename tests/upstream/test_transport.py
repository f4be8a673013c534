import gzip
import math
import time
import zlib

import pytest
from fake_upstream import FakeUpstream, Raw, Reply

from llmhost.errors import UpstreamBrokenError, UpstreamConnectError, UpstreamError, UpstreamTimeoutError

from .wire_server import PAUSE, WireServer

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
PATH = '/v1/chat/completions'


def read_pieces(exchange, timeout=2.0):
    """The body, a read at a time."""
    pieces = []
    while piece := exchange.read(timeout):
        pieces.append(piece)
    assert piece == b''
    return pieces


# reuse


def test_connection_is_used_again_once_its_answer_was_read(ask, upstream):
    for _ in range(3):
        assert ask(upstream.url)[0] == 400
    assert upstream.accepted == 1


@pytest.mark.parametrize('reply', [
    Reply.events({'a': 1}, {'a': 2}), Reply(body=b'x' * 300000), Reply(204), Reply.json({}, 500), Reply(body=b''),
], ids=['chunked', 'long', 'no content', 'error', 'empty'])
def test_connection_is_used_again_after_every_kind_of_answer(reply, ask, upstream):
    upstream.always(PATH, reply)
    assert ask(upstream.url) == ask(upstream.url)
    assert upstream.accepted == 1


def test_connection_is_closed_when_its_answer_was_not_read_to_the_end(begin, upstream):
    upstream.always(PATH, Reply.events({'a': 1}, math.inf))
    with begin(upstream.url) as exchange:
        assert exchange.wait_head(2) and exchange.read(2)
    upstream.wait_for_disconnect()


def test_connection_is_closed_when_the_caller_leaves_before_the_head(begin, upstream):
    upstream.always(PATH, Reply(hang=True))
    with begin(upstream.url) as exchange:
        assert not exchange.wait_head(0.01)
    upstream.wait_for_disconnect()


def test_connection_is_not_used_again_when_the_server_says_it_closes_it(ask, upstream):
    upstream.always(PATH, Reply(body=b'x', headers={'connection': 'close'}))
    ask(upstream.url), ask(upstream.url)
    assert upstream.accepted == 2


def test_concurrent_exchanges_have_a_connection_each_and_share_them_later(begin, upstream):
    with begin(upstream.url) as one, begin(upstream.url) as other:
        for exchange in (one, other):
            assert exchange.wait_head(2)
            exchange.read_all(2)
    with begin(upstream.url) as again:
        assert again.wait_head(2)
    assert upstream.accepted == 2


def test_rest_of_an_answer_nobody_reads_is_awaited_so_that_the_connection_can_be_used_again(begin, upstream):
    upstream.answer(PATH, Reply.events({'a': 1}, 0.02, {'a': 2}))
    with begin(upstream.url) as exchange:
        assert exchange.wait_head(2) and exchange.read(2)
        exchange.settle(1)
    with begin(upstream.url) as exchange:
        assert exchange.wait_head(2)
    assert upstream.accepted == 1


# stale connections


def test_stale_connection_is_replaced_and_the_request_sent_once_more(ask, upstream):
    upstream.answer(PATH, Reply(body=b'1', close_idle=True), Reply(body=b'2'))
    assert ask(upstream.url) == (200, b'1')
    upstream.wait_until(lambda upstream: upstream.open_connections == 0)
    assert ask(upstream.url) == (200, b'2')
    assert (upstream.accepted, len(upstream.requests)) == (2, 2)


def test_connection_that_dies_under_a_second_request_is_replaced_exactly_once(ask):
    with WireServer([OK, b''], [b''], [OK]) as server:
        assert ask(server.url) == (200, b'ok')
        with pytest.raises(UpstreamBrokenError, match='broke off before it answered'):
            ask(server.url)
        assert [connection for connection, _ in server.requests] == [1, 1, 2]


def test_new_connection_that_dies_is_not_tried_again(ask):
    with WireServer([b''], [OK]) as server:
        with pytest.raises(UpstreamBrokenError, match='broke off before it answered'):
            ask(server.url)
        assert server.accepted == 1


@pytest.mark.parametrize('started', [b'H', b'HTTP/1.1 200 OK\r\n', b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf'])
def test_request_is_not_sent_again_once_its_answer_has_begun(started, ask):
    with WireServer([OK, started], [OK]) as server:
        ask(server.url)
        with pytest.raises(UpstreamBrokenError):
            ask(server.url)
        assert server.accepted == 1


def test_stale_connection_to_a_server_that_is_gone_is_a_connect_error(ask, upstream):
    ask(upstream.url)
    upstream.refuse()
    with pytest.raises(UpstreamConnectError, match='refused'):
        ask(upstream.url)


# what answers look like


@pytest.mark.parametrize('between', [b'', PAUSE], ids=['together', 'apart'])
def test_continue_before_the_answer_is_skipped(between, ask):
    with WireServer([b'HTTP/1.1 100 Continue\r\n\r\n' + between + OK, OK]) as server:
        assert ask(server.url) == (200, b'ok')
        assert ask(server.url) == (200, b'ok')
        assert server.accepted == 1


def test_early_hints_are_not_taken_for_the_answers_headers(begin):
    with WireServer([b'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n' + OK]) as server:
        with begin(server.url) as exchange:
            assert exchange.wait_head(2)
            assert (exchange.status, exchange.headers) == (200, {'content-length': '2'})
            assert exchange.read_all(2) == b'ok'


def test_body_without_length_ends_with_the_connection(ask):
    with WireServer([b'HTTP/1.1 200 OK\r\n\r\nall of it']) as server:
        assert ask(server.url) == (200, b'all of it')
        assert ask(server.url) == (200, b'all of it')
        assert server.accepted == 2


def test_answer_in_http_1_0_is_read(ask):
    with WireServer([b'HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nold']) as server:
        assert ask(server.url) == (200, b'old')


@pytest.mark.parametrize('answer', [
    b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf',
    b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n',
    b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhalf',
], ids=['length', 'chunked', 'inside a chunk'])
def test_body_that_is_cut_is_an_error_after_what_came(answer, begin):
    with WireServer([answer]) as server, begin(server.url) as exchange:
        assert exchange.wait_head(2)
        assert exchange.read(2) == b'half'
        with pytest.raises(UpstreamBrokenError, match='broke off before its answer was complete: it closed the connection'):
            exchange.read(2)


def test_body_that_is_reset_is_an_error_of_its_own_words(begin, upstream):
    upstream.answer(PATH, Reply.events({'a': 1}, 0.02, {'a': 2}, cut_after=1, reset=True))
    with begin(upstream.url) as exchange, pytest.raises(UpstreamBrokenError, match='connection reset'):
        exchange.wait_head(2)
        exchange.read_all(2)


def test_bytes_behind_the_answer_spoil_the_connection_but_not_the_answer(ask):
    with WireServer([OK + b'rubbish', OK], [OK]) as server:
        assert ask(server.url) == (200, b'ok')
        assert ask(server.url) == (200, b'ok')
        assert server.accepted == 2


@pytest.mark.parametrize(('encoding', 'encode'), [('gzip', gzip.compress), ('deflate', zlib.compress), ('x-gzip', gzip.compress)])
def test_compressed_body_is_read_though_none_was_asked_for(encoding, encode, ask, upstream):
    text = b'{"text": "' + b'naive ' * 50000 + b'"}'
    upstream.answer(PATH, Reply(body=encode(text), headers={'content-encoding': encoding}))
    assert ask(upstream.url) == (200, text)
    assert upstream.requests[0].headers['accept-encoding'] == 'identity'


def test_compressed_stream_is_read_piece_by_piece(begin, upstream):
    packer = zlib.compressobj(wbits=31)
    pieces = [packer.compress(b'data: a\n\n') + packer.flush(zlib.Z_SYNC_FLUSH), 0.02,
              packer.compress(b'data: b\n\n') + packer.flush()]
    upstream.answer(PATH, Reply.events(*pieces, done=False, headers={'content-encoding': 'gzip'}))
    with begin(upstream.url) as exchange:
        assert exchange.wait_head(2)
        assert read_pieces(exchange) == [b'data: a\n\n', b'data: b\n\n']


def test_body_that_is_not_compressed_as_it_says_is_an_error(ask, upstream):
    upstream.answer(PATH, Reply(body=b'plain text', headers={'content-encoding': 'gzip'}))
    with pytest.raises(UpstreamBrokenError):
        ask(upstream.url)


@pytest.mark.parametrize('answer', [
    b'SSH-2.0-OpenSSH_9.2\r\n', b'\x15\x03\x01\x00\x02\x02\x46', b'220 mail ESMTP\r\n\r\n', b'HTTP/1.1 abc\r\n\r\n',
    b'HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n', b'<html></html>\r\n\r\n',
], ids=['ssh', 'tls', 'smtp', 'status', 'length', 'html'])
def test_answer_that_is_not_http_is_told_so(answer, ask):
    with WireServer([answer]) as server, pytest.raises(UpstreamBrokenError, match='does not answer in HTTP'):
        ask(server.url)


def test_garbage_inside_a_chunked_body_is_an_error(ask, upstream):
    upstream.answer(PATH, Reply.events({'a': 1}, 0.02, Raw(b'zz\r\n')))
    with pytest.raises(UpstreamBrokenError):
        ask(upstream.url)


def test_answer_that_comes_in_parts_is_read(ask):
    parts = [b'HTTP/1.1 2', b'00 OK\r\nContent-Le', b'ngth: 2\r', b'\n\r\n', b'o', b'k']
    with WireServer([PAUSE.join(parts)]) as server:
        assert ask(server.url) == (200, b'ok')


def test_header_names_are_in_lower_case_and_repeated_ones_keep_a_value(begin):
    answer = b'HTTP/1.1 429 Slow\r\nRetry-After: 3\r\nX-A: 1\r\nX-a: 2\r\nContent-Length: 0\r\n\r\n'
    with WireServer([answer]) as server, begin(server.url) as exchange:
        assert exchange.wait_head(2)
        assert (exchange.status, exchange.headers['retry-after'], exchange.headers['x-a']) == (429, '3', '2')


def test_large_body_is_sent_and_received_whole(ask):
    with FakeUpstream() as upstream:
        upstream.always(PATH, lambda request: Reply(body=request.body))
        body = bytes(range(256)) * 20000
        assert ask(upstream.url, body) == (200, body)


# waiting


def test_slow_head_is_awaited_in_pieces_of_the_callers_choice(begin, upstream):
    upstream.answer(PATH, Reply(body=b'late', delay=0.15))
    with begin(upstream.url) as exchange:
        ticks = 0
        while not exchange.wait_head(0.02):
            ticks += 1
        assert 3 <= ticks <= 8
        assert exchange.read_all(2) == b'late'
    assert len(upstream.requests) == 1


def test_silent_stream_is_awaited_in_pieces_and_loses_nothing(begin, upstream):
    upstream.answer(PATH, Reply.events({'a': 1}, 0.1, {'a': 2}))
    with begin(upstream.url) as exchange:
        assert exchange.wait_head(2)
        pieces = []
        while (piece := exchange.read(0.02)) != b'':
            pieces.append(piece)
        assert pieces.count(None) >= 2
        assert b''.join(filter(None, pieces)) == b'data: {"a":1}\n\ndata: {"a":2}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize('reply', [
    Reply.events({'a': 1}, math.inf), Reply(body=(b'half', math.inf), headers={'content-length': '100'}),
], ids=['chunked', 'length'])
def test_reading_all_of_a_body_that_stops_coming_is_a_timeout(reply, begin, upstream):
    upstream.answer(PATH, reply)
    with begin(upstream.url) as exchange:
        assert exchange.wait_head(2)
        with pytest.raises(UpstreamTimeoutError, match=r'sent nothing for 0\.05 s'):
            exchange.read_all(0.05)


def test_reading_all_of_a_body_that_keeps_coming_is_not(begin, upstream):
    upstream.answer(PATH, Reply.events(*[{'a': 1}] * 10, gap=0.02))
    with begin(upstream.url) as exchange:
        assert exchange.wait_head(2)
        assert exchange.read_all(0.15).count(b'data:') == 11


def test_closed_exchange_cannot_be_read(begin, upstream):
    upstream.answer(PATH, Reply.events({'a': 1}, math.inf))
    exchange = begin(upstream.url)
    exchange.wait_head(2)
    exchange.close()
    exchange.close()
    with pytest.raises(UpstreamError):
        while True:
            exchange.read(1)


def test_server_that_reads_no_request_is_given_up_after_the_connect_timeout(begin):
    with WireServer([]) as server:
        started = time.monotonic()
        with pytest.raises(UpstreamBrokenError):
            with begin(server.url, b'x' * 50_000_000, timeout=0.2) as exchange:
                exchange.wait_head(2)
        assert time.monotonic() - started < 1.5
