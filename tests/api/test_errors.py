"""The error table of OpenAI's contract: status, type, code, param and words. `door` checks each error's form as well."""

import json
import math
from typing import Any

import pytest
from fake_upstream import Reply
from front_door import CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES

from llmhost.api import answering
from llmhost.api.departures import Watch
from llmhost.api.errors import error_response
from llmhost.errors import RateLimitError

TASKS = {
    CHAT: {'model': 'm', 'messages': MESSAGES},
    COMPLETIONS: {'model': 'm', 'prompt': 'Hi'},
    EMBEDDINGS: {'model': 'm', 'input': 'Hi'},
    '/v1/rerank': {'model': 'm', 'query': 'q', 'documents': ['d']},
    '/v2/rerank': {'model': 'm', 'query': 'q', 'documents': ['d']},
    '/rerank': {'model': 'm', 'query': 'q', 'documents': ['d']},
}
every_task = pytest.mark.parametrize('path', TASKS)
IMAGE = {'role': 'user', 'content': [{'type': 'image_url', 'image_url': {'url': 7}}]}


def nest(levels: int, inside: str = '') -> bytes:
    return b'[' * levels + inside.encode() + b']' * levels


def body_with(extra: bytes, **fields: Any) -> bytes:
    """A good chat request whose unknown field `extra` is these bytes."""
    return json.dumps({'model': 'm', 'messages': MESSAGES, **fields}).encode()[:-1] + b', "extra": ' + extra + b'}'


@pytest.fixture
def served(door, upstream):
    door.add('one', upstream)
    return door


def assert_error(response, status, code, param=None, told=''):
    error = response.json['error']
    assert (response.status_code, error['type'], error['code'], error['param']) == (
        status, 'invalid_request_error', code, param)
    assert told in error['message']
    assert response.headers['X-Request-Id']


# who asks

@every_task
@pytest.mark.parametrize(('headers', 'code', 'told'), [
    ({}, None, "You didn't provide an API key"),
    ({'Authorization': 'Bearer wrong'}, 'invalid_api_key', 'Incorrect API key provided'),
    ({'Authorization': 'Bearer '}, None, "You didn't provide an API key"),
    ({'Authorization': 'Basic cmlnaHQ='}, None, "You didn't provide an API key"),
    ({'Authorization': 'right'}, None, "You didn't provide an API key"),
    ({'X-Api-Key': 'wrong'}, 'invalid_api_key', 'Incorrect API key provided'),
    ({'X-Api-Key': ''}, None, "You didn't provide an API key"),
    ({'X-Api-Key': 'naïve'}, 'invalid_api_key', 'Incorrect API key provided'),
])
@pytest.mark.parametrize('settings', [{'api_key': 'right'}])
def test_request_without_the_right_key_is_refused(served, path, headers, code, told):
    assert_error(served.post(path, TASKS[path], headers=headers), 401, code, told=told)


@pytest.mark.parametrize('path', ['/v1/models', '/v1/models/m', '/health', '/metrics'])
@pytest.mark.parametrize('settings', [{'api_key': 'right'}])
def test_what_tells_of_servers_needs_the_key_too(served, path):
    assert_error(served.get(path), 401, None)
    assert served.client.get(path, headers={'Authorization': 'Bearer right'}).status_code == 200


@pytest.mark.parametrize('headers', [
    {'Authorization': 'Bearer right'}, {'Authorization': 'bearer  right '}, {'X-Api-Key': 'right'},
    {'Authorization': 'Basic eA==', 'X-Api-Key': 'right'},
])
@pytest.mark.parametrize('settings', [{'api_key': 'right'}])
def test_right_key_is_taken_from_either_header(served, headers):
    assert served.post(CHAT, TASKS[CHAT], headers=headers).status_code == 200


def test_key_that_has_expired_is_refused_by_that_name(served):
    key = served.services.keys.create('old', expires='2020-01-01')
    assert_error(served.post(CHAT, TASKS[CHAT], headers={'X-Api-Key': key}), 401, 'invalid_api_key', told='has expired')


def test_wrong_key_is_refused_before_the_body_is_read(served):
    served.services.keys.create('a')
    assert served.post(CHAT, b'{').status_code == 401


@pytest.mark.parametrize(('globs', 'model', 'status'), [
    (['m'], 'm', 200), (['m*'], 'm', 200), (['x', 'm'], 'm', 200), (['one/*'], 'one/m', 200), ([], 'one/m', 200),
    (['x*'], 'm', 404), (['one/*'], 'm', 404), (['m'], 'one/m', 404), (['M'], 'm', 404),
])
@every_task
def test_key_with_model_globs_may_use_these_alone(served, path, globs, model, status):
    key = served.services.keys.create('a', models=globs)
    response = served.post(path, {**TASKS[path], 'model': model}, headers={'X-Api-Key': key})
    assert response.status_code == status
    if status == 404:
        assert_error(response, 404, 'model_not_found')


def test_key_with_model_globs_sees_these_alone(served):
    key = served.services.keys.create('a', models=['x*'])
    headers = {'X-Api-Key': key}
    assert served.client.get('/v1/models', headers=headers).json['data'] == []
    assert served.client.get('/v1/models/m', headers=headers).status_code == 404


# what is asked

@every_task
@pytest.mark.parametrize('body', [
    pytest.param(b'', id='empty'),
    pytest.param(b'{', id='broken off'),
    pytest.param(b'model=m&messages=', id='a form'),
    pytest.param(b"{'model': 'm'}", id='single quotes'),
    pytest.param(b'{"model": "m",}', id='comma at the end'),
    pytest.param(b'{"model": "\xff"}', id='not UTF-8'),
    pytest.param('{"model": "m"}'.encode('utf-16'), id='UTF-16'),
    pytest.param(b'{"model": "\\ud800"}', id='half a surrogate pair'),
    pytest.param(b'{"temperature": NaN}', id='NaN'),
    pytest.param(b'{"temperature": Infinity}', id='Infinity'),
    pytest.param(b'{"model": "m"} {}', id='two documents'),
    pytest.param(nest(5000), id='5000 levels'),
    pytest.param(b'{"model": "m\n"}', id='raw line end'),
])
def test_body_that_is_no_json_is_refused(served, path, body):
    assert_error(served.post(path, body), 400, None, told='We could not parse the JSON body of your request.')


@pytest.mark.parametrize('body', [b'[]', b'"m"', b'7', b'null', b'true', nest(1000)])
@every_task
def test_body_that_is_no_object_is_refused(served, path, body):
    assert_error(served.post(path, body), 400, None, told='must be a JSON object')


@pytest.mark.parametrize('model', [None, '', ...])
@pytest.mark.parametrize('path', [CHAT, COMPLETIONS, EMBEDDINGS])
def test_request_without_a_model_is_refused(served, path, model):
    payload = {key: value for key, value in {**TASKS[path], 'model': model}.items() if value is not ...}
    assert_error(served.post(path, payload), 400, None, told='you must provide a model parameter')


@pytest.mark.parametrize(('path', 'name'), [
    (CHAT, 'messages'), (COMPLETIONS, 'prompt'), (EMBEDDINGS, 'input'), ('/v1/rerank', 'query'), ('/v1/rerank', 'documents'),
    ('/v1/rerank', 'model'),
])
def test_missing_parameter_is_named(served, path, name):
    payload = {key: value for key, value in TASKS[path].items() if key != name}
    told = f"Missing required parameter: '{name}'."
    assert_error(served.post(path, payload), 400, 'missing_required_parameter', name, told)


@pytest.mark.parametrize(('fields', 'code', 'param'), [
    ({'messages': []}, 'empty_array', 'messages'),
    ({'messages': None}, 'invalid_type', 'messages'),
    ({'messages': 'Hi'}, 'invalid_type', 'messages'),
    ({'messages': {}}, 'invalid_type', 'messages'),
    ({'messages': ['Hi']}, 'invalid_type', 'messages[0]'),
    ({'messages': [*MESSAGES * 3, IMAGE]}, 'invalid_type', 'messages[3].content[0].image_url.url'),
    ({'messages': [{'role': 'robot', 'content': ''}]}, 'invalid_value', 'messages[0].role'),
    ({'messages': [{'content': ''}]}, 'missing_required_parameter', 'messages[0].role'),
    ({'messages': [{'role': 'user', 'content': 5}]}, 'invalid_type', 'messages[0].content'),
    ({'messages': [{'role': 'tool', 'content': 'x'}]}, 'missing_required_parameter', 'messages[0].tool_call_id'),
    ({'model': 7}, 'invalid_type', 'model'),
    ({'model': ['m']}, 'invalid_type', 'model'),
    ({'temperature': -1}, 'decimal_below_min_value', 'temperature'),
    ({'temperature': 2.1}, 'decimal_above_max_value', 'temperature'),
    ({'temperature': '1'}, 'invalid_type', 'temperature'),
    ({'top_p': 1.5}, 'decimal_above_max_value', 'top_p'),
    ({'n': 0}, 'integer_below_min_value', 'n'),
    ({'n': 129}, 'integer_above_max_value', 'n'),
    ({'n': 1.5}, 'invalid_type', 'n'),
    ({'n': True}, 'invalid_type', 'n'),
    ({'top_logprobs': 21}, 'integer_above_max_value', 'top_logprobs'),
    ({'max_tokens': 'many'}, 'invalid_type', 'max_tokens'),
    ({'max_tokens': 10**30}, 'invalid_type', 'max_tokens'),
    ({'stream': 'yes'}, 'invalid_type', 'stream'),
    ({'stop': [1]}, 'invalid_type', 'stop[0]'),
    ({'stop': list('abcde')}, 'array_above_max_length', 'stop'),
    ({'tools': {}}, 'invalid_type', 'tools'),
    ({'tools': [{'type': 'function'}]}, 'missing_required_parameter', 'tools[0].function'),
    ({'response_format': 'json'}, 'invalid_type', 'response_format'),
    ({'logit_bias': {'5': 'x'}}, 'invalid_type', 'logit_bias.5'),
    ({'metadata': {'a': 1}}, 'invalid_type', 'metadata.a'),
])
@pytest.mark.parametrize('stream', [False, True])
def test_parameter_at_fault_is_named_by_its_path(served, upstream, fields, code, param, stream):
    assert_error(served.post(CHAT, {**TASKS[CHAT], 'stream': stream, **fields}), 400, code, param)
    assert not upstream.requests


def test_out_of_range_number_is_told_in_the_words_clients_know(served):
    assert served.chat(temperature=-1).json['error'] == {
        'message': "Invalid 'temperature': decimal below minimum value. Expected a value >= 0, but got -1 instead.",
        'type': 'invalid_request_error', 'param': 'temperature', 'code': 'decimal_below_min_value'}


@every_task
def test_unknown_model_is_not_found(served, path):
    told = "The model 'gpt-9' does not exist or you do not have access to it."
    assert_error(served.post(path, {**TASKS[path], 'model': 'gpt-9'}), 404, 'model_not_found', told=told)


def test_unknown_model_of_a_thousand_letters_is_told_in_part(served):
    assert len(served.chat(model='x' * 100_000).json['error']['message']) < 400


def test_model_id_with_line_ends_stays_one_line_in_the_log(served, request_log):
    served.chat(model='a\nb status=200')
    assert request_log()[0]['model'] == 'a\nb status=200'


# deep, large, odd

@pytest.mark.parametrize('levels', [250, 1000])
def test_deeply_nested_body_is_forwarded_as_it_came(served, upstream, levels):
    body = body_with(nest(levels))
    upstream.always(CHAT, Reply.error(400, 'not for me'))
    assert served.post(CHAT, body).status_code == 400
    assert upstream.requests[-1].body == body


@pytest.mark.parametrize('levels', [300, 1000])
def test_deeply_nested_body_that_would_have_to_be_written_anew_is_refused(served, upstream, levels):
    response = served.post(CHAT, body_with(nest(levels), stream=True))
    assert_error(response, 400, None, told='nested too deeply')
    assert not upstream.requests


@pytest.mark.parametrize('path', ['/v1/rerank', '/rerank'])
def test_deeply_nested_rerank_is_refused(served, path):
    body = json.dumps(TASKS[path]).encode()[:-1] + b', "extra": ' + nest(300) + b'}'
    assert_error(served.post(path, body), 400, None, told='nested too deeply')


def test_deeply_nested_content_is_refused_where_it_is_looked_at(served):
    body = b'{"model": "m", "messages": [{"role": "user", "content": ' + nest(900) + b'}]}'
    assert_error(served.post(CHAT, body), 400, 'invalid_type', 'messages[0].content[0]')


def test_huge_integer_in_an_unknown_field_is_forwarded_as_it_came(served, upstream):
    body = body_with(b'123456789012345678901234567890')
    assert served.post(CHAT, body).status_code == 200
    assert upstream.requests[-1].body == body


@pytest.mark.parametrize('number', ['1' + '0' * 400, '-1' + '0' * 5000, '1e999'])
def test_number_beyond_all_range_is_refused_without_a_traceback(served, caplog, number):
    assert served.post(CHAT, body_with(number.encode(), n=1)).status_code in (200, 400)
    response = served.post(CHAT, body_with(b'0').replace(b'{', f'{{"seed": {number}, '.encode(), 1))
    assert response.status_code == 400
    assert 'Traceback' not in caplog.text


@pytest.mark.parametrize('content_type', ['text/plain', 'application/x-www-form-urlencoded', '', 'multipart/form-data'])
def test_json_under_another_content_type_is_taken_for_what_it_is(served, content_type):
    response = served.client.post(CHAT, data=json.dumps(TASKS[CHAT]), content_type=content_type)
    assert response.status_code == 200


@pytest.mark.parametrize('settings', [{'max_body_bytes': 1000}])
@every_task
def test_body_over_the_limit_is_refused(served, path):
    assert_error(served.post(path, b' ' * 1001), 413, 'request_too_large', told='LLMHOST_MAX_BODY_BYTES')


# where it is asked

@pytest.mark.parametrize(('method', 'path'), [
    ('GET', '/'), ('POST', '/v1'), ('POST', '/v1/chat'), ('POST', '/chat/completions'), ('POST', '/v1/chat/completions/'),
    ('GET', '/v1/nothing?key=1'), ('DELETE', '/v1/nothing'), ('GET', '/v1/models/'), ('GET', '/%00'), ('GET', '/' + 'x' * 5000),
])
def test_unknown_url_is_not_found(served, method, path):
    response = served.client.open(path, method=method)
    told = f"Invalid URL ({method} {path.partition('?')[0].replace('%00', chr(0))[:200]})"
    assert_error(response, 404, 'unknown_url', told=told)


@pytest.mark.parametrize(('method', 'path', 'allowed'), [
    ('GET', CHAT, {'OPTIONS', 'POST'}), ('PUT', CHAT, {'OPTIONS', 'POST'}), ('DELETE', EMBEDDINGS, {'OPTIONS', 'POST'}),
    ('POST', '/v1/models', {'GET', 'HEAD', 'OPTIONS'}), ('POST', '/livez', {'GET', 'HEAD', 'OPTIONS'}),
    ('DELETE', '/v1/models/m', {'GET', 'HEAD', 'OPTIONS'}),
])
def test_wrong_method_is_told_the_right_ones(served, method, path, allowed):
    response = served.client.open(path, method=method)
    assert_error(response, 405, 'method_not_allowed')
    assert set(response.headers['Allow'].split(', ')) == allowed


def test_doubled_slash_leads_to_the_right_address(served):
    response = served.client.post('/v1//chat/completions', json=TASKS[CHAT])
    assert response.status_code == 308
    assert response.headers['Location'].endswith('/v1/chat/completions')
    assert served.client.post('/v1//chat/completions', json=TASKS[CHAT], follow_redirects=True).status_code == 200


@pytest.mark.parametrize('path', ['/v1/models/org/m', '/v1/models/org%2Fm', '/v1/models/one/org%2Fm'])
def test_model_id_with_a_slash_is_found_raw_and_encoded(door, upstream, path):
    door.add('one', upstream, models=('org/m',))
    assert door.get(path).status_code == 200


# a defect

@pytest.mark.parametrize('stream', [False, True])
def test_defect_is_answered_without_its_traceback(served, upstream, monkeypatch, caplog, stream):
    def fail(*_: object) -> None:
        raise ZeroDivisionError('a secret of the code')
    monkeypatch.setattr(served.services.router, 'candidates', fail)
    response = served.chat(stream=stream)
    assert response.status_code == 500
    assert response.json['error']['code'] == 'internal_error'
    assert 'secret' not in response.text


# the upstream's word

@pytest.mark.parametrize(('sent', 'seconds'), [('7', '7'), ('0.2', '1'), ('999', '999')])
def test_retry_after_of_the_upstream_reaches_the_client(served, upstream, sent, seconds):
    upstream.always(CHAT, Reply.error(429, 'slow down', headers={'retry-after': sent}))
    response = served.chat()
    assert (response.status_code, response.headers['Retry-After']) == (429, seconds)


@pytest.mark.parametrize(('seconds', 'told'), [
    (0, '1'), (-5, '1'), (1e300, '86400'), (86400.5, '86400'), (math.inf, None), (-math.inf, None), (math.nan, None),
])
def test_retry_after_is_a_sane_number_or_left_out(app, seconds, told):
    with app.test_request_context():
        response = error_response(RateLimitError('slow down', retry_after=seconds))
    assert (response.status_code, response.headers.get('Retry-After')) == (429, told)


def test_watch_ends_where_even_the_error_cannot_be_told(served, upstream, monkeypatch):
    closed = []
    monkeypatch.setattr(Watch, 'close', lambda watch: closed.append(watch))
    monkeypatch.setattr(answering, 'error_response', lambda _: 1 / 0)
    assert served.chat('nothing').json['error']['code'] == 'internal_error'
    assert len(closed) == 1


def test_no_retry_after_where_there_is_nothing_to_wait_for(served, upstream):
    upstream.always(CHAT, Reply.error(400, 'no'))
    assert 'Retry-After' not in served.chat().headers
