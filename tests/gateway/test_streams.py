import json
import math
import time

import pytest
from fake_upstream import Reply, encode_event
from front_door import CHAT, COMPLETIONS, KEEP_ALIVE, MESSAGES
from openapi_check import check, check_stream

USAGE = {'prompt_tokens': 9, 'completion_tokens': 2, 'total_tokens': 11}
SCHEMA = 'CreateChatCompletionStreamResponse'


def chunk(content=None, finish=None, **fields):
    delta = {} if content is None else {'content': content}
    return {'id': 'c', 'object': 'chat.completion.chunk', 'created': 1, 'model': 'm',
            'choices': [{'index': 0, 'delta': delta, 'finish_reason': finish}], **fields}


def usage_chunk():
    return chunk(choices=[], usage=USAGE)


END = chunk(finish='stop')


@pytest.fixture
def box(add):
    return add('box')


def events(box, *items, **options):
    box.answer(CHAT, Reply.events(*items, **options))


# the head


def test_stream_is_sent_unbuffered_by_proxies(door, box):
    headers = door.stream().headers
    assert (headers['cache-control'], headers['x-accel-buffering']) == ('no-cache', 'no')
    assert headers['x-llmhost-server'] == 'box' and 'content-length' not in headers


def test_first_event_comes_before_the_second_was_made(door, box):
    events(box, chunk('a'), math.inf)
    with door.open() as response:
        assert next(response.response) == encode_event(chunk('a'))
    box.wait_for_disconnect()


@pytest.mark.parametrize('segment', [1, 7, 100, 10000])
@pytest.mark.parametrize('newline', ['\n', '\r\n'])
def test_events_are_whole_however_the_bytes_come(segment, newline, door, box):
    chunks = [chunk(word) for word in ('naïve ', '你好 ', '👋')]
    events(box, ': hi\n\n', *chunks, END, segment=segment, newline=newline)
    stream = door.stream()
    assert (stream.chunks, stream.done) == ([*chunks, END], True)


def test_chunk_that_needs_no_mending_is_passed_on_byte_for_byte(door, box):
    odd = b'data: {"object":"chat.completion.chunk", "id":"c","created":1,  "model":"m","unknown":{"a":[1.0e3]},' \
          b'"choices":[{"index":0,"delta":{"content":"\\u00e9"},"finish_reason":null,"mine":1}]}\n\n'
    events(box, odd, END)
    assert door.stream().text.startswith(odd)


# the end


@pytest.mark.parametrize('stream_end', [
    Reply.events(chunk('a'), END, done=False),
    Reply.events(chunk('a'), END, done=False, cut_after=2),
    Reply.events(chunk('a'), encode_event(END)[:-2], done=False),
    Reply.events(chunk('a'), encode_event(END)[:-1], done=False),
    Reply.events(chunk('a'), END, b'data: [DONE]', done=False),
    Reply.events(chunk('a'), END, 0.02, done=False, cut_after=2, reset=True),
], ids=['no done', 'cut behind the end', 'last event without its empty line', 'with half of it', 'done without it', 'reset'])
def test_answer_that_is_complete_ends_properly_though_its_stream_does_not(stream_end, door, box):
    box.answer(CHAT, stream_end)
    stream = door.stream()
    assert (stream.content, stream.finish_reason, stream.done, stream.errors) == ('a', 'stop', True, [])
    assert stream.text.count(b'[DONE]') == 1


@pytest.mark.parametrize('stream_end', [
    Reply.events(chunk('a'), done=False), Reply.events(chunk('a'), chunk('b'), cut_after=1),
    Reply.events(chunk('a'), 0.02, chunk('b'), cut_after=1, reset=True), Reply.events(chunk('a'), b'data: {"id":', done=False),
], ids=['silent end', 'cut', 'reset', 'half an event'])
def test_answer_that_breaks_off_ends_in_one_error_event_and_no_done(stream_end, door, box, request_log):
    box.answer(CHAT, stream_end)
    stream = door.stream()
    assert (stream.content, stream.done) == ('a', False)
    [error] = stream.errors
    assert (error['type'], error['code'], error['param']) == ('server_error', 'upstream_broken', None)
    assert stream.text.endswith(b'\n\n') and b'[DONE]' not in stream.text
    assert request_log()[-1]['error'] == 'upstream_broken'


@pytest.mark.parametrize('tail', [[], ['data: [DONE]\n\n'], [chunk('b'), END]], ids=['end', 'done', 'more'])
@pytest.mark.parametrize('together', [None, 100000], ids=['apart', 'in one write'])
def test_error_after_the_first_event_ends_the_stream_whatever_follows(tail, together, door, box):
    error = {'error': {'message': 'out of memory', 'type': 'InternalServerError', 'param': None, 'code': 500}}
    events(box, chunk('a'), error, *tail, done=False, segment=together)
    stream = door.stream()
    assert (stream.content, stream.done) == ('a', False)
    assert [(error['message'], error['type'], error['code']) for error in stream.errors] == [
        ('out of memory', 'InternalServerError', None)]
    check('ErrorResponse', stream.documents[-1])


@pytest.mark.parametrize('pause', [0.0, 0.005], ids=['at once', 'a moment later'])
def test_connection_is_used_again_after_a_stream_whose_end_came(pause, door, box):
    for _ in range(2):
        events(box, chunk('a'), END, 'data: [DONE]\n\n', pause, done=False)
        assert door.stream().done
    assert box.accepted == 1


# silence


@pytest.mark.parametrize('settings', [{'keepalive_interval': 0.03}])
@pytest.mark.parametrize('items', [
    [0.2, chunk('a'), END], [chunk('a'), 0.2, END], [chunk('a'), END, 0.2],
], ids=['before the first event', 'between events', 'before the end'])
def test_silent_stream_is_kept_alive_by_comments(items, door, box):
    events(box, *items)
    stream = door.stream()
    assert 2 <= stream.text.count(KEEP_ALIVE) <= 7
    assert (stream.content, stream.done) == ('a', True)


@pytest.mark.parametrize('settings', [{'keepalive_interval': 0.03}])
def test_server_slow_to_answer_at_all_is_kept_alive_and_its_failure_becomes_an_event(door, box):
    box.answer(CHAT, Reply.error(400, 'Too long.', delay=0.2))
    stream = door.stream()
    assert stream.text.count(KEEP_ALIVE) >= 2
    assert ([error['message'] for error in stream.errors], stream.done) == (['Too long.'], False)


@pytest.mark.parametrize('settings', [{'keepalive_interval': 0.03}])
def test_upstreams_own_comments_do_not_stand_in_for_llmhosts(door, box):
    events(box, *[': PROCESSING\n\n', 0.01] * 20, chunk('a'), END)
    stream = door.stream()
    assert stream.text.count(KEEP_ALIVE) >= 3
    assert b'PROCESSING' not in stream.text


@pytest.mark.parametrize('settings', [{'keepalive_interval': 0.03}])
def test_next_server_is_asked_though_a_comment_was_sent(door, box, add):
    box.answer(CHAT, Reply(503, delay=0.1))
    add('second')
    stream = door.stream()
    assert stream.text.startswith(KEEP_ALIVE)
    assert (stream.done, stream.errors) == (True, [])


def test_busy_stream_has_no_comments(door, box):
    assert KEEP_ALIVE not in door.stream().text


# clients that leave


@pytest.mark.parametrize('taken', [0, 1], ids=['before the first event', 'after it'])
@pytest.mark.parametrize('settings', [{'keepalive_interval': 0.03, 'max_concurrency': 1}])
def test_stream_closed_early_ends_the_upstreams_work_and_gives_back_its_slot(taken, door, box, request_log):
    events(box, *[chunk('a')] * taken, math.inf)
    response = door.open()
    next(response.response)
    left = time.monotonic()
    response.close()
    assert box.wait_for_disconnect() - left < 0.5
    assert request_log()[-1]['status'] == 499
    assert (door.services.slots.running(), door.services.slots.waiting()) == (0, 0)
    assert door.chat().status_code == 200


# usage


@pytest.mark.parametrize('given', [None, {}, {'include_usage': False}, {'include_obfuscation': False}])
def test_usage_is_asked_for_and_withheld_from_a_client_that_did_not_ask(given, door, box, request_log):
    events(box, chunk('a'), END, usage_chunk())
    stream = door.stream(**({} if given is None else {'stream_options': given}))
    assert box.requests[0].json['stream_options'] == {**(given or {}), 'include_usage': True}
    assert (stream.usage, stream.chunks) == (None, [chunk('a'), END])
    assert (request_log()[-1]['prompt_tokens'], request_log()[-1]['completion_tokens']) == (9, 2)


def test_usage_is_given_to_a_client_that_asked(door, box, request_log):
    events(box, chunk('a'), END, usage_chunk())
    assert door.stream(stream_options={'include_usage': True}).usage == USAGE
    assert request_log()[-1]['prompt_tokens'] == 9


@pytest.mark.parametrize('asked', [True, False])
def test_usage_inside_the_last_choice_is_never_withheld(asked, door, box, request_log):
    events(box, chunk('a'), chunk(finish='stop', usage=USAGE))
    assert door.stream(stream_options={'include_usage': asked}).usage == USAGE
    assert request_log()[-1]['completion_tokens'] == 2


def test_chunk_without_choices_and_usage_is_passed_on(door, box):
    filters = chunk(choices=[], prompt_filter_results=[{'prompt_index': 0}])
    events(box, filters, chunk('a'), END)
    assert door.stream().chunks[0] == filters


# what is sent on


@pytest.mark.parametrize('stream', [
    {}, {'stream': False}, {'stream': None}, {'stream': True, 'stream_options': {'include_usage': True}},
], ids=['plain', 'false', 'null', 'stream with usage'])
def test_clients_own_bytes_are_forwarded_when_nothing_has_to_change(stream, door, box):
    payload = {'model': 'm', 'messages': MESSAGES, **stream, 'unknown': {'x': [1.50, 'é']}, 'temperature': 1e0}
    body = json.dumps(payload, indent=3, ensure_ascii=False).encode()
    door.post(CHAT, body)
    assert box.requests[0].body == body


def test_model_by_its_servers_name_changes_the_model_and_nothing_else(door, box):
    payload = {'messages': MESSAGES, 'unknown': {'x': [1.5, None]}, 'seed': 2**53, 'logit_bias': {'7': -100}}
    door.post(CHAT, {**payload, 'model': 'box/m'})
    assert box.requests[0].json == {**payload, 'model': 'm'}


def test_unknown_fields_pass_both_ways(door, box):
    answer = {'id': 'c', 'object': 'chat.completion', 'created': 1, 'model': 'm', 'timings': {'ms': 1.25}, 'choices': [
        {'index': 0, 'message': {'role': 'assistant', 'content': 'Hi', 'mine': [1]}, 'finish_reason': 'stop', 'yours': 2,
         'logprobs': None}]}
    box.answer(CHAT, Reply.json(answer))
    assert door.chat(min_p=0.1, chat_template_kwargs={'a': 1}).json == answer
    assert box.requests[0].json['chat_template_kwargs'] == {'a': 1}


def test_answer_that_needs_no_mending_is_passed_on_byte_for_byte(door, box):
    body = b'{ "id":"c", "object":"chat.completion", "created":1, "model":"m", "choices":[{"index":0, "message":' \
           b'{"role":"assistant","content":"\\u00e9"}, "logprobs":null, "finish_reason":"stop"}], "x":1.50 }'
    box.answer(CHAT, Reply.text(body, content_type='application/json'))
    assert door.chat().data == body


# a server that does not stream


@pytest.mark.parametrize('content_type', ['application/json', 'application/json; charset=utf-8'])
def test_whole_answer_where_a_stream_was_asked_becomes_a_stream(content_type, door, box, request_log):
    call = {'id': 'a', 'type': 'function', 'function': {'name': 'f', 'arguments': {'x': 1}}}
    completion = {'choices': [{'message': {'content': 'Hi', 'tool_calls': [call]}, 'finish_reason': 'stop'}], 'usage': USAGE}
    box.answer(CHAT, Reply.text(json.dumps(completion), content_type=content_type))
    stream = door.stream()
    assert (stream.content, stream.finish_reason, stream.done) == ('Hi', 'tool_calls', True)
    assert [(call['id'], call['arguments']) for call in stream.calls] == [('a', '{"x":1}')]
    assert request_log()[-1]['prompt_tokens'] == 9


@pytest.mark.parametrize('document', [{'choices': []}, {'choices': [5]}, {'choices': {}}, {'choices': [{'message': 5}]}])
@pytest.mark.parametrize('streams', [True, False])
def test_document_that_is_no_completion_is_never_a_500(document, streams, door, box):
    box.answer(CHAT, Reply.json(document))
    assert door.chat(stream=streams).status_code in (200, 502)


def test_text_completion_streams_with_several_choices(door, box):
    texts = [{'id': 't', 'object': 'text_completion', 'created': 1, 'model': 'm',
              'choices': [{'index': index, 'text': text, 'logprobs': None, 'finish_reason': finish}]}
             for index, text, finish in ((0, 'a', None), (1, 'b', None), (0, '', 'stop'), (1, '', 'length'))]
    box.answer(COMPLETIONS, Reply.events(*texts))
    stream = door.stream(COMPLETIONS, prompt='x')
    assert (stream.chunks, stream.done) == (texts, True)


@pytest.mark.parametrize('path', [CHAT, COMPLETIONS])
def test_one_of_several_choices_that_is_cut_is_no_silent_success(path, door, box):
    def part(index, finish):
        choice = {'index': index, 'finish_reason': finish, 'logprobs': None}
        choice |= {'delta': {'content': 'a'}} if path == CHAT else {'text': 'a'}
        kind = 'chat.completion.chunk' if path == CHAT else 'text_completion'
        return {'id': 'c', 'object': kind, 'created': 1, 'model': 'm', 'choices': [choice]}
    box.answer(path, Reply.events(part(0, None), part(1, None), part(0, 'stop'), done=False))
    stream = door.stream(path, n=2, prompt='x')
    assert (len(stream.errors), stream.done) == (1, False)


def test_event_of_a_size_nobody_sends_ends_the_stream_in_an_upstream_error(door, box, monkeypatch):
    monkeypatch.setattr('llmhost.upstream.sse.EVENT_LIMIT', 5000)
    events(box, chunk('a'), 0.02, b'data: ' + b'x' * 10000, math.inf)
    stream = door.stream()
    assert [error['code'] for error in stream.errors] == ['upstream_broken']


def test_many_chunks_in_one_write_are_all_passed_on_in_order(door, box):
    chunks = [chunk(f'{number} ') for number in range(2000)]
    events(box, *chunks, END, segment=1 << 20)
    stream = door.stream()
    assert stream.content == ''.join(f'{number} ' for number in range(2000))
    check_stream(SCHEMA, stream.text)
