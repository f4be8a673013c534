"""What answers carry beside their body: ids, where it came from, cross-origin permission; and the endpoints for machines."""

import pytest
from fake_upstream import Reply
from front_door import CHAT

PAGE = 'https://chat.example'
PREFLIGHT = {'Origin': PAGE, 'Access-Control-Request-Method': 'POST',
             'Access-Control-Request-Headers': 'authorization,x-stainless-os'}


@pytest.fixture
def served(door, upstream):
    door.add('one', upstream)
    return door


# ids

@pytest.mark.parametrize('path', ['/v1/models', '/v1/nothing', '/livez', '/v1/models/nothing', '/metrics'])
def test_every_answer_has_a_request_id(door, path):
    assert door.get(path).headers['X-Request-Id'].startswith('req_')
    assert door.client.get(path, headers={'X-Request-Id': 'mine'}).headers['X-Request-Id'] == 'mine'


def test_two_answers_have_two_request_ids(served):
    assert served.chat().headers['X-Request-Id'] != served.chat().headers['X-Request-Id']


@pytest.mark.parametrize('path', ['/v1/nothing', '/v1/models', '/v1/models/nothing'])
def test_requests_that_call_no_model_have_a_log_line_too(door, request_log, path):
    response = door.get(path)
    line = request_log()[0]
    assert (line['method'], line['path'], line['status']) == ('GET', path, response.status_code)
    assert line['request_id'] == response.headers['X-Request-Id']


@pytest.mark.parametrize('path', ['/livez', '/readyz', '/health', '/metrics'])
def test_probes_that_succeed_have_no_log_line(door, request_log, path):
    door.get(path)
    assert not request_log()


# where it came from

@pytest.mark.parametrize('stream', [False, True])
def test_answer_tells_its_server_and_times(served, stream):
    headers = (served.stream() if stream else served.chat()).headers
    assert (headers['X-Llmhost-Server'], headers['X-Llmhost-Attempts']) == ('one', '1')
    assert float(headers['X-Llmhost-Queue-Ms']) == 0
    assert 0 <= float(headers['X-Llmhost-Overhead-Ms']) < 1000


def test_answer_after_a_failover_counts_its_attempts(served, upstream):
    served.add('two', upstream)
    upstream.answer(CHAT, Reply.error(503, 'busy'))
    headers = served.chat().headers
    assert (headers['X-Llmhost-Server'], headers['X-Llmhost-Attempts']) == ('two', '2')


def test_refusal_before_any_server_was_asked_names_none(served):
    headers = served.chat(temperature=9).headers
    assert not [name for name in headers.keys() if name.startswith('X-Llmhost')]


def test_error_of_a_server_names_it(served, upstream):
    upstream.always(CHAT, Reply.error(400, 'no'))
    assert served.chat().headers['X-Llmhost-Server'] == 'one'


def test_streams_must_not_be_buffered_or_stored(served):
    headers = served.stream().headers
    assert (headers['Cache-Control'], headers['X-Accel-Buffering']) == ('no-cache', 'no')


# other origins

@pytest.mark.parametrize('settings', [{'cors_origins': (PAGE,)}, {'cors_origins': ('*',)}])
def test_page_of_an_allowed_origin_may_ask(served):
    response = served.client.options(CHAT, headers=PREFLIGHT)
    assert response.status_code == 204
    assert response.headers['Access-Control-Allow-Origin'] == PAGE
    assert response.headers['Access-Control-Allow-Headers'] == 'authorization,x-stainless-os'
    assert 'POST' in response.headers['Access-Control-Allow-Methods']
    assert 'Origin' in response.headers['Vary']


@pytest.mark.parametrize('settings', [{'cors_origins': (PAGE,), 'api_key': 'right'}])
def test_preflight_needs_no_key_but_the_request_does_and_its_error_can_be_read(served):
    assert served.client.options(CHAT, headers=PREFLIGHT).status_code == 204
    response = served.post(CHAT, {}, headers={'Origin': PAGE})
    assert (response.status_code, response.headers['Access-Control-Allow-Origin']) == (401, PAGE)
    assert 'X-Request-Id' in response.headers['Access-Control-Expose-Headers']


@pytest.mark.parametrize('settings', [{'cors_origins': (PAGE,)}])
@pytest.mark.parametrize('origin', ['https://evil.example', 'https://chat.example.evil', 'null', 'http://chat.example'])
def test_page_of_another_origin_gets_no_permission(served, origin):
    for response in (served.client.options(CHAT, headers={**PREFLIGHT, 'Origin': origin}),
                     served.post(CHAT, {}, headers={'Origin': origin})):
        assert 'Access-Control-Allow-Origin' not in response.headers


def test_nobody_is_permitted_unless_configured(served):
    response = served.post(CHAT, {}, headers={'Origin': PAGE})
    assert not [name for name in response.headers.keys() if name.startswith('Access-Control')]
    assert 'Access-Control-Allow-Origin' not in served.client.options(CHAT, headers=PREFLIGHT).headers


# for machines

@pytest.mark.parametrize('path', ['/livez', '/readyz'])
@pytest.mark.parametrize('settings', [{'api_key': 'right'}, {}])
def test_liveness_and_readiness_need_no_key_and_tell_nothing_else(served, path):
    assert served.client.get(path).json == {'status': 'ok'}


@pytest.mark.parametrize('name', ['servers.json', 'keys.json'])
def test_worker_that_cannot_read_its_files_lives_but_is_not_ready(served, name):
    (served.services.config.data_dir / name).write_text('{"servers": {"secret')
    response = served.client.get('/readyz')
    assert (response.status_code, response.json) == (503, {'status': 'unready', 'reason': 'CorruptFileError'})
    assert served.client.get('/livez').status_code == 200


def test_health_tells_every_server_as_last_seen(served):
    served.observe('one', 'down', error='connection refused')
    document = served.get('/health').json
    assert (document['status'], document['host']) == ('degraded', 'down')
    assert document['servers']['one'].items() >= {'state': 'down', 'error': 'connection refused', 'models': 0}.items()


def test_health_tells_the_last_good_copy_of_a_corrupt_registry_and_no_path(served):
    served.get('/v1/models')
    before = served.get('/health').json
    (served.services.config.data_dir / 'servers.json').write_text('{')
    response = served.get('/health')
    assert response.status_code == 200
    assert response.json == {**before, 'registry': 'corrupt'}
    assert 'registry' not in before and 'servers.json' not in response.text


def test_error_within_a_stream_is_counted_by_its_own_status(served, upstream, request_log):
    upstream.answer(CHAT, Reply.events({'choices': [{'index': 0, 'delta': {'content': 'a'}}]}, done=False))
    with served.open() as response:
        assert b'upstream_broken' in response.data
    assert (request_log()[-1]['status'], request_log()[-1]['error']) == (200, 'upstream_broken')
    assert 'llmhost_requests_total{server="one",status="502",task="chat"} 1.0' in served.get('/metrics').text


def test_metrics_are_prometheus_text(served):
    served.chat()
    response = served.get('/metrics')
    assert response.content_type == 'text/plain; version=0.0.4; charset=utf-8'
    for line in ('llmhost_requests_total{server="one",status="200",task="chat"} 1.0', 'llmhost_slots 200.0',
                 'llmhost_running_requests 0.0', 'llmhost_server_up{server="one"} 0.0',
                 'llmhost_request_seconds_count{task="chat"} 1.0'):
        assert line in response.text


def test_metrics_count_tokens_by_direction(served):
    usage = served.chat().json['usage']
    text = served.get('/metrics').text
    assert f'llmhost_tokens_total{{direction="prompt",server="one"}} {usage["prompt_tokens"]:.1f}' in text
    assert f'llmhost_tokens_total{{direction="completion",server="one"}} {usage["completion_tokens"]:.1f}' in text
