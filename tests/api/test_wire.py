"""Requests as they come over a real connection to a real worker: what is read of them, and what the connection is worth after."""

import socket
import threading

import pytest
from e2e.gateway import Gateway
from fake_upstream import FakeUpstream, Reply
from openapi_check import check

from .conftest import KEY, MAX_BODY_BYTES
from .wire_client import CHAT, HELLO, Answer, WireClient

TOO_LARGE = {'type': 'invalid_request_error', 'code': 'request_too_large', 'param': None}
LARGE = MAX_BODY_BYTES + 1


def chunk(data: bytes) -> bytes:
    return b'%x\r\n%b\r\n' % (len(data), data)


def assert_refused(answer: Answer, status: int, code: str | None) -> None:
    check('ErrorResponse', answer.json)
    assert (answer.status, answer.json['error']['code']) == (status, code)


def test_body_over_the_limit_is_refused_before_it_is_sent(wire):
    wire.send(wire.build(b'', content_length=str(LARGE)))
    answer = wire.read()
    assert_refused(answer, 413, 'request_too_large')
    assert answer.json['error'].items() >= TOO_LARGE.items()


def test_connection_ends_after_a_body_over_the_limit(wire):
    assert wire.ask(b' ' * LARGE).status == 413
    assert wire.is_closed()


def test_chunked_body_over_the_limit_is_refused_while_it_is_sent(wire):
    wire.send(wire.build(b'', transfer_encoding='chunked') + chunk(b' ' * 60_000) + chunk(b' ' * 60_000))
    assert_refused(wire.read(), 413, 'request_too_large')
    assert wire.is_closed()


def test_chunked_body_within_the_limit_is_served(wire, behind):
    body = wire.build()[-20:]
    whole = wire.build().partition(b'\r\n\r\n')[2]
    assert whole.endswith(body)
    wire.send(wire.build(b'', transfer_encoding='chunked') + chunk(whole[:10]) + chunk(whole[10:]) + chunk(b''))
    assert wire.read().status == 200
    assert behind.requests[-1].json == HELLO


@pytest.mark.parametrize('megabytes', [1, 30])
def test_client_that_goes_on_sending_still_gets_the_refusal(wire, megabytes):
    piece = b' ' * 1_000_000
    wire.send(wire.build(b'', content_length=str(megabytes * len(piece))))
    for _ in range(megabytes):
        wire.send(piece)
    assert wire.read().status == 413


@pytest.mark.parametrize(('options', 'status'), [
    ({'authorization': ''}, 401), ({'path': '/v1/nothing'}, 404), ({'method': 'PUT'}, 405),
    ({'path': '/v1/models', 'method': 'GET'}, 200),
])
@pytest.mark.parametrize('framing', [{'content_length': '99000000'}, {'transfer_encoding': 'chunked'}])
def test_connection_ends_where_a_long_body_was_not_read(wire, options, status, framing):
    wire.send(wire.build(b'', **options, **framing))
    assert wire.read().status == status
    assert wire.is_closed()


def test_body_of_exactly_the_limit_is_read(wire):
    assert_refused(wire.ask(b' ' * MAX_BODY_BYTES), 400, None)


@pytest.mark.parametrize(('options', 'status'), [
    ({'authorization': 'Bearer wrong'}, 401),
    ({'authorization': ''}, 401),
    ({'path': '/v1/nothing'}, 404),
    ({'method': 'PUT'}, 405),
    ({'body': b'{'}, 400),
    ({'body': b''}, 400),
    ({'body': b'\xff\xfe'}, 400),
    ({'body': {'model': 'm', 'messages': []}}, 400),
    ({'body': {**HELLO, 'model': 'nothing'}}, 404),
])
def test_connection_is_kept_after_an_error(wire, options, status):
    answer = wire.ask(**options)
    check('ErrorResponse', answer.json)
    assert answer.status == status
    assert answer.headers.get('connection') != 'close'
    assert wire.ask().status == 200


def test_pipelined_requests_are_answered_in_order(wire):
    wire.send(wire.build() + wire.build(b'{') + wire.build({**HELLO, 'model': 'nothing'}) + wire.build())
    assert [wire.read().status for _ in range(4)] == [200, 400, 404, 200]


def test_request_after_a_stream_is_answered_on_the_same_connection(wire):
    wire.send(wire.build({**HELLO, 'stream': True}) + wire.build())
    stream = wire.read()
    assert stream.headers['content-type'].startswith('text/event-stream')
    assert stream.body.endswith(b'data: [DONE]\n\n')
    assert wire.read().status == 200


def test_http_1_0_client_gets_a_whole_answer_and_the_end(wire):
    wire.send(wire.build(method='POST').replace(b'HTTP/1.1', b'HTTP/1.0', 1))
    assert wire.read().status == 200
    assert wire.is_closed()


@pytest.mark.parametrize('path', ['/v1/models', '/livez', '/health', '/v1/models/m'])
def test_head_is_answered_without_a_body(wire, path):
    answer = wire.ask(b'', path=path, method='HEAD')
    assert answer.status == 200
    assert int(answer.headers['content-length']) > 0
    assert wire.ask().status == 200


def test_head_where_only_post_is_taken_is_refused(wire):
    answer = wire.ask(b'', method='HEAD')
    assert (answer.status, answer.headers['allow']) == (405, 'OPTIONS, POST')


def test_client_that_waits_for_100_continue_is_served(wire):
    request = wire.build(expect='100-continue')
    head, _, body = request.partition(b'\r\n\r\n')
    wire.send(head + b'\r\n\r\n')
    assert wire.socket.recv(100).startswith(b'HTTP/1.1 100 Continue')
    wire.send(body)
    assert wire.read().status == 200


def test_client_that_sends_less_than_it_announced_and_goes_is_no_defect(gateway, wire):
    wire.send(wire.build(b'{"model"', content_length='5000'))
    wire.socket.shutdown(socket.SHUT_WR)
    wire.is_closed()
    with WireClient(gateway.port, KEY) as other:
        assert other.ask().status == 200
    assert 'Traceback' not in gateway.program.log.read_text()


def test_client_that_closes_its_sending_half_counts_as_gone(wire, behind):
    behind.answer(CHAT, Reply(hang=True))
    before = len(behind.requests)
    wire.send(wire.build())
    behind.wait_until(lambda upstream: len(upstream.requests) > before)
    wire.socket.shutdown(socket.SHUT_WR)
    behind.wait_until(lambda upstream: not upstream.under_way, timeout=1.5)


@pytest.mark.parametrize('request_id', ['mine-1.2:3_4', 'a' * 128])
def test_sane_request_id_is_kept_and_passed_on(wire, behind, request_id):
    assert wire.ask(x_request_id=request_id).headers['x-request-id'] == request_id
    assert behind.requests[-1].headers['x-request-id'] == request_id


@pytest.mark.parametrize('request_id', ['with space', 'a' * 129, 'naïve', '{"a":1}', '<script>', "'; --"])
def test_insane_request_id_is_replaced(wire, request_id):
    assert wire.ask(x_request_id=request_id).headers['x-request-id'].startswith('req_')


def test_header_that_is_no_header_is_refused_without_a_traceback(gateway, wire):
    wire.send(b'POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nno header at all\r\n\r\n')
    assert wire.socket.recv(100).startswith(b'HTTP/1.1 400')
    assert 'Traceback' not in gateway.program.log.read_text()


def test_wrong_and_right_requests_of_many_clients_do_not_mix(gateway):
    """Sixteen connections at once, each asking rightly and wrongly in turn."""
    wrong = []

    def ask_in_turn(number: int) -> None:
        with WireClient(gateway.port, KEY) as wire:
            for turn in range(4):
                model = 'm' if (number + turn) % 2 else f'nothing-{number}'
                answer = wire.ask({**HELLO, 'model': model})
                if answer.status != (200 if model == 'm' else 404) or model.encode() not in answer.body:
                    wrong.append((model, answer))
    threads = [threading.Thread(target=ask_in_turn, args=[number]) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_metrics_count_what_was_refused(gateway: Gateway, behind: FakeUpstream, wire: WireClient):
    wire.ask(b'{')
    text = wire.ask(b'', path='/metrics', method='GET').body.decode()
    assert 'llmhost_requests_total{server="",status="400",task="chat"}' in text
    assert 'llmhost_slots 200.0' in text


def test_slash_doubled_in_front_is_passed_over(wire):
    assert wire.ask(path='//v1/chat/completions').status == 200


def test_slash_doubled_elsewhere_leads_to_the_right_address(wire):
    answer = wire.ask(path='/v1//chat/completions')
    assert (answer.status, answer.headers['location']) == (308, 'http://llmhost/v1/chat/completions')
    assert wire.ask().status == 200
