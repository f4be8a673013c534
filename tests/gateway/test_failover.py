import math

import pytest
from fake_upstream import Reply
from front_door import CHAT, EMBEDDINGS

CHUNK = {'id': 'c', 'object': 'chat.completion.chunk', 'created': 1, 'model': 'm',
         'choices': [{'index': 0, 'delta': {'content': 'x'}, 'finish_reason': None}]}
streams = pytest.mark.parametrize('stream', [False, True], ids=['whole', 'stream'])

WORTH_ANOTHER = {
    'refused': None,
    'dropped': Reply(drop=True),
    'reset': Reply(drop=True, reset=True),
    '429': Reply.error(429, 'slow down'),
    '502': Reply.text('<html>bad gateway</html>', 502),
    '503': Reply.sample('llamacpp/error_503.json'),
    '504': Reply(504),
    '529': Reply.error(529, 'overloaded'),
    'error under 200': Reply.sample('lmstudio/error_200.json'),
    'error with a code under 200': Reply.sample('openrouter/error_200.json'),
    'not json': Reply.text('<html>hello</html>', 200, 'application/json'),
    'no completion': Reply.json({'hello': 'world'}),
}
STREAMED = {
    'error as the first event': Reply.events({'error': {'message': 'overloaded', 'code': 503}}),
    'error behind comments': Reply.events(': WAIT\n\n', 0.01, ': WAIT\n\n', {'error': {'message': 'no', 'code': 502}}),
    'cut before the first event': Reply.events(CHUNK, cut_after=0),
    'ended before the first event': Reply.events(done=False),
    'only a comment': Reply.events(': hello\n\n', done=False),
}
THE_ANSWER = [400, 401, 402, 403, 404, 409, 413, 422, 500, 501]


@pytest.fixture
def pool(door, add):
    """Two servers with the same model; the first is asked first."""
    return add('first', priority=1), add('second')


@streams
@pytest.mark.parametrize('reply', WORTH_ANOTHER.values(), ids=WORTH_ANOTHER)
def test_server_that_cannot_now_is_passed_over_and_the_client_sees_only_the_next(reply, stream, door, pool, request_log):
    first, second = pool
    first.refuse() if reply is None else first.answer(CHAT, reply)
    answer = door.chat(stream=stream)
    assert (answer.status_code, answer.headers['x-llmhost-server'], answer.headers['x-llmhost-attempts']) == (200, 'second', '2')
    assert 'error' not in answer.text and len(second.requests) == 1
    assert (request_log()[-1]['attempts'], request_log()[-1]['server']) == (2, 'second')


@pytest.mark.parametrize('reply', STREAMED.values(), ids=STREAMED)
def test_stream_that_fails_before_its_first_event_is_passed_over(reply, door, pool):
    first, _ = pool
    first.answer(CHAT, reply)
    stream = door.stream()
    assert (stream.headers['x-llmhost-server'], stream.done, stream.errors) == ('second', True, [])


@streams
@pytest.mark.parametrize('status', THE_ANSWER)
def test_refusal_is_the_answer_and_no_reason_to_try_elsewhere(status, stream, door, pool):
    first, second = pool
    first.answer(CHAT, Reply.error(status, 'No.', 'reason', 'messages'))
    answer = door.chat(stream=stream)
    assert (answer.status_code, second.requests) == (status, [])
    assert answer.json['error'] == {'message': 'No.', 'type': 'invalid_request_error', 'param': 'messages', 'code': 'reason'}


@pytest.mark.parametrize('reply', [Reply.events(CHUNK, cut_after=1), Reply.events(CHUNK, 0.02, {'error': {'message': 'no'}}),
                                   Reply.events(CHUNK, done=False)], ids=['cut', 'error', 'silent end'])
def test_stream_that_fails_after_its_first_event_is_not_begun_again_elsewhere(reply, door, pool):
    first, second = pool
    first.answer(CHAT, reply)
    stream = door.stream()
    assert (stream.content, len(stream.errors), stream.done, second.requests) == ('x', 1, False, [])


def test_failure_while_all_are_down_is_the_last_ones(door, pool):
    first, second = pool
    first.answer(CHAT, Reply.error(429, 'Mine is full.'))
    second.refuse()
    answer = door.chat()
    assert (answer.status_code, answer.json['error']['code']) == (502, 'upstream_unreachable')
    assert answer.headers['x-llmhost-attempts'] == '2'


@pytest.mark.parametrize(('reply', 'status', 'code'), [
    (None, 502, 'upstream_unreachable'),
    (Reply(drop=True), 502, 'upstream_broken'),
    (Reply.error(529, 'x'), 503, None),
    (Reply(302, {'location': 'http://gpu.lan/'}), 502, 'upstream_broken'),
    (Reply(body=b'{', cut_after=0), 502, 'upstream_broken'),
], ids=['refused', 'dropped', '529', 'redirect', 'cut'])
@streams
def test_failure_of_the_only_server_has_its_own_status(reply, status, code, stream, door, add):
    only = add('only')
    only.refuse() if reply is None else only.answer(CHAT, reply)
    answer = door.chat(stream=stream)
    assert (answer.status_code, answer.json['error']['code']) == (status, code)


@streams
def test_silent_server_is_given_up_after_its_own_timeout(stream, door, add):
    only = add('only', timeout=0.1)
    only.answer(CHAT, Reply(hang=True))
    answer = door.chat(stream=stream)
    assert (answer.status_code, answer.json['error']['code']) == (504, 'upstream_timeout')
    only.wait_for_disconnect()


@pytest.mark.parametrize('settings', [{'read_timeout': 0.1}])
def test_silent_server_is_given_up_after_the_timeout_of_the_settings(door, add):
    only = add('only')
    only.answer(CHAT, Reply(hang=True))
    assert door.chat().status_code == 504
    only.wait_for_disconnect()


def test_timeout_counts_silence_and_not_the_whole_answer(door, add):
    only = add('only', timeout=0.2)
    only.answer(CHAT, Reply.events(*[CHUNK] * 12, gap=0.03))
    assert door.stream().content == 'x' * 12


def test_stream_that_falls_silent_ends_in_an_error_after_the_servers_timeout(door, add):
    only = add('only', timeout=0.1)
    only.answer(CHAT, Reply.events(CHUNK, math.inf))
    stream = door.stream()
    assert (stream.content, [error['code'] for error in stream.errors]) == ('x', ['upstream_timeout'])
    only.wait_for_disconnect()


# cooling down


def test_server_that_failed_is_asked_last_for_a_while(door, pool):
    first, second = pool
    first.answer(CHAT, Reply(503))
    assert [door.chat().headers['x-llmhost-server'] for _ in range(3)] == ['second'] * 3
    assert (len(first.requests), len(second.requests)) == (1, 3)


def test_server_that_failed_is_still_asked_when_the_others_fail_too(door, pool):
    first, second = pool
    first.answer(CHAT, Reply(503))
    door.chat()
    second.refuse()
    assert door.chat().headers['x-llmhost-server'] == 'first'


def test_rate_limit_cools_a_server_as_long_as_it_said(door, pool):
    first, _ = pool
    first.answer(CHAT, Reply.error(429, 'x', headers={'retry-after-ms': '50'}))
    assert door.chat().headers['x-llmhost-server'] == 'second'
    assert door.chat().headers['x-llmhost-server'] == 'second'
    came_back = False
    for _ in range(200):
        came_back = door.chat().headers['x-llmhost-server'] == 'first'
        if came_back:
            break
    assert came_back


def test_server_that_refused_a_request_is_not_cooled(door, pool):
    first, _ = pool
    first.answer(CHAT, Reply.error(400, 'x'))
    assert [door.chat().status_code, door.chat().headers['x-llmhost-server']] == [400, 'first']


def test_embeddings_fail_over_too(door, pool):
    first, _ = pool
    first.answer(EMBEDDINGS, Reply(503))
    answer = door.post(EMBEDDINGS, {'model': 'm', 'input': 'x'})
    assert (answer.status_code, answer.headers['x-llmhost-server']) == (200, 'second')


def test_server_asked_by_its_name_has_no_stand_in(door, pool):
    first, second = pool
    first.answer(CHAT, Reply(503))
    assert (door.chat('first/m').status_code, second.requests) == (503, [])


def test_each_server_gets_the_model_by_the_id_it_knows(door, pool):
    first, second = pool
    first.answer(CHAT, Reply(503))
    door.chat()
    assert first.requests[0].body == second.requests[0].body


@streams
def test_silent_server_of_a_pool_is_passed_over(stream, door, add):
    add('silent', priority=1, timeout=0.1).answer(CHAT, Reply(hang=True))
    add('well')
    answer = door.chat(stream=stream)
    assert (answer.status_code, answer.headers['x-llmhost-server']) == (200, 'well')
