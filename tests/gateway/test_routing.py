import json
import math
import os

import pytest
from fake_upstream import Reply
from front_door import CHAT, EMBEDDINGS, MESSAGES

MODELS = ['a', 'b', 'same', 'org/name', 'org/name:Q4_K_M']


def served_by(answer):
    assert answer.status_code == 200, answer.text
    return answer.headers['x-llmhost-server']


# names


@pytest.mark.parametrize('model', MODELS)
def test_bare_id_goes_to_the_server_that_has_it(model, door, add):
    add('other', models=('z',))
    box = add('box', models=tuple(MODELS))
    assert served_by(door.chat(model)) == 'box'
    assert box.requests[0].json['model'] == model


@pytest.mark.parametrize('model', MODELS)
def test_id_behind_a_servers_name_goes_to_that_server_without_the_name(model, door, add):
    first, second = add('first', models=tuple(MODELS)), add('second', models=tuple(MODELS))
    assert served_by(door.chat(f'second/{model}')) == 'second'
    assert (first.requests, second.requests[0].json['model']) == ([], model)


def test_id_behind_a_servers_name_is_taken_at_its_word_listed_or_not(door, add):
    box = add('box')
    assert served_by(door.chat('box/org/unlisted')) == 'box'
    assert box.requests[0].json['model'] == 'org/unlisted'


@pytest.mark.parametrize('model', ['nope', 'nope/m', 'm/nope', 'box/', '/m', 'M', 'm ', 'box', 'é' * 300])
@pytest.mark.parametrize('stream', [False, True])
def test_unknown_model_is_not_found_as_at_openai(model, stream, door, add):
    box = add('box')
    answer = door.chat(model, stream=stream)
    assert (answer.status_code, answer.is_json, box.requests) == (404, True, [])
    error = answer.json['error']
    assert (error['type'], error['code'], error['param']) == ('invalid_request_error', 'model_not_found', None)
    assert error['message'] == f"The model '{model[:200]}' does not exist or you do not have access to it."


def test_model_without_any_server_is_not_found(door):
    assert door.chat().status_code == 404


def test_model_on_a_server_that_cannot_do_this_says_so(door, add):
    add('ranker', provider='tei')
    answer = door.chat()
    assert (answer.status_code, answer.json['error']['param']) == (400, 'model')
    assert 'without chat' in answer.json['error']['message']


def test_model_goes_to_the_servers_of_its_pool_that_can_do_this(door, add):
    add('ranker', provider='tei')
    add('box')
    assert served_by(door.chat()) == 'box'
    assert served_by(door.post(EMBEDDINGS, {'model': 'm', 'input': 'x'})) == 'ranker'


# pools


def test_pool_sends_to_the_least_busy_server(door, add):
    servers = {name: add(name) for name in ('a', 'b', 'c')}
    for server in servers.values():
        server.always(CHAT, Reply.events({'choices': [{'delta': {'content': 'x'}}]}, math.inf))
    streams = [door.open() for _ in range(6)]
    try:
        busy = [stream.headers['x-llmhost-server'] for stream in streams]
    finally:
        for stream in streams:
            stream.close()
    assert sorted(busy[:3]) == sorted(busy[3:]) == ['a', 'b', 'c']


def test_server_is_free_again_once_its_client_left(door, add):
    server, _ = add('a'), add('b')
    server.always(CHAT, Reply.events({'choices': [{'delta': {'content': 'x'}}]}, math.inf))
    door.open().close()
    server.wait_for_disconnect()
    assert door.open().headers['x-llmhost-server'] == 'a'


def test_higher_priority_comes_first_however_busy(door, add):
    add('low', priority=-1), add('usual')
    high = add('high', priority=5)
    high.always(CHAT, Reply.events({'choices': [{'delta': {'content': 'x'}}]}, math.inf))
    streams = [door.open() for _ in range(3)]
    assert {stream.headers['x-llmhost-server'] for stream in streams} == {'high'}
    for stream in streams:
        stream.close()


@pytest.mark.parametrize('state', ['down', 'misconfigured'])
def test_server_that_was_seen_unwell_comes_last_and_still_serves(state, door, add):
    high, low = add('high', priority=5), add('low')
    door.observe('high', state)
    assert served_by(door.chat()) == 'low'
    low.refuse()
    assert served_by(door.chat()) == 'high'
    door.observe('high', 'up')
    assert served_by(door.chat()) == 'high'
    assert len(high.requests) == 2


def test_disabled_server_gets_nothing(door, add):
    off = add('off', enabled=False, priority=9)
    add('on')
    assert served_by(door.chat()) == 'on'
    assert off.requests == []


@pytest.mark.parametrize('model', ['m', 'off/m', 'off/unlisted'])
def test_model_only_on_disabled_servers_is_unavailable_for_now(model, door, add):
    off = add('off', enabled=False)
    answer = door.chat(model)
    assert (answer.status_code, answer.headers['retry-after'], off.requests) == (503, '5', [])
    assert 'disabled' in answer.json['error']['message']


# the registry, live


def test_change_of_the_registry_is_live_on_the_next_request(door, runner, upstream):
    assert door.chat().status_code == 404
    assert runner.invoke(args=['servers', 'add', 'box', upstream.url, '--model', 'm', '--no-check']).exit_code == 0
    assert served_by(door.chat()) == 'box'
    assert runner.invoke(args=['servers', 'disable', 'box']).exit_code == 0
    assert door.chat().status_code == 503
    assert runner.invoke(args=['servers', 'enable', 'box']).exit_code == 0
    assert served_by(door.chat()) == 'box'
    assert runner.invoke(args=['servers', 'remove', 'box']).exit_code == 0
    assert door.chat().status_code == 404


def test_change_made_by_hand_is_live_on_the_next_request(door, add, app):
    box = add('box')
    path = app.extensions['llmhost'].config.data_dir / 'servers.json'
    assert door.chat().status_code == 200
    document = json.loads(path.read_text())
    document['servers']['box'] |= {'models': ['renamed'], 'headers': {'X-Team': 'blue'}}
    path.write_text(json.dumps(document))
    assert door.chat().status_code == 404
    assert served_by(door.chat('renamed')) == 'box'
    assert box.requests[-1].headers['x-team'] == 'blue'


def test_new_address_and_key_of_a_server_are_used_on_the_next_request(door, add, runner, upstream):
    old = add('box', api_key='old')
    door.chat()
    door.services.registry.update('box', url=upstream.url, api_key='new')
    door.chat()
    assert [old.requests[0].headers['authorization'], upstream.requests[0].headers['authorization']] == [
        'Bearer old', 'Bearer new']
    assert len(old.requests) == 1


BROKEN = {
    'cut': '{"version": 1, "servers": {"box": {"url"',
    'empty': '',
    'not an object': '[]',
    'binary': '\x00\x01',
    'servers are a list': '{"servers": []}',
    'a server is text': '{"servers": {"box": "http://gpu.lan"}}',
    'no url': '{"servers": {"box": {}}}',
    'a number for a url': '{"servers": {"box": {"url": 5}}}',
    'unknown provider': '{"servers": {"box": {"url": "http://gpu.lan", "provider": "nope"}}}',
    'newer version': '{"version": 99, "servers": {}}',
}


@pytest.mark.parametrize('text', BROKEN.values(), ids=BROKEN)
def test_broken_registry_is_left_alone_and_the_last_good_copy_serves_on(text, door, add, app, runner):
    add('box')
    path = app.extensions['llmhost'].config.data_dir / 'servers.json'
    good = path.read_text()
    assert door.chat().status_code == 200
    path.write_text(text)
    assert door.chat().status_code == door.chat().status_code == 200
    assert [model['id'] for model in door.get('/v1/models').json['data']] == ['m']
    result = runner.invoke(args=['servers', 'add', 'new', 'http://127.0.0.1:9', '--no-check'])
    assert (result.exit_code, 'Traceback' in result.output, path.read_text()) == (1, False, text)
    path.write_text(good.replace('"m"', '"mended"'))
    assert door.chat('mended').status_code == 200


@pytest.mark.parametrize('text', BROKEN.values(), ids=BROKEN)
def test_registry_broken_from_the_start_serves_nothing_and_says_so(text, door, app, client):
    path = app.extensions['llmhost'].config.data_dir / 'servers.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    assert door.chat().status_code == 404
    assert client.get('/readyz').status_code == 503
    assert client.get('/livez').status_code == 200


@pytest.mark.parametrize('settings', [{'variables': {'MY_KEY': 'sk-1'}}])
def test_environment_holds_the_key_of_a_server(door, upstream):
    door.add('box', upstream, api_key_env='MY_KEY')
    door.chat()
    assert upstream.requests[0].headers['authorization'] == 'Bearer sk-1'


def test_registry_holds_its_secrets_for_its_owner_alone(door, add, app):
    add('box', api_key='sk-1')
    path = app.extensions['llmhost'].config.data_dir / 'servers.json'
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_answer_tells_how_it_came_about(door, add, request_log):
    box = add('box')
    answer = door.post(CHAT, {'model': 'm', 'messages': MESSAGES}, headers={'X-Request-Id': 'mine-1'})
    assert answer.headers['x-request-id'] == box.requests[0].headers['x-request-id'] == 'mine-1'
    assert (answer.headers['x-llmhost-server'], answer.headers['x-llmhost-attempts']) == ('box', '1')
    assert float(answer.headers['x-llmhost-queue-ms']) >= 0 and float(answer.headers['x-llmhost-overhead-ms']) > 0
    line = request_log()[-1]
    assert (line['request_id'], line['model'], line['server'], line['status'], line['attempts']) == ('mine-1', 'm', 'box', 200, 1)
    assert MESSAGES[0]['content'] not in str(line)


@pytest.mark.parametrize('given', ['a b', 'ä', 'x' * 129, '', '"quoted"', '<script>'])
def test_request_id_that_is_not_sane_is_replaced(given, door, add):
    box = add('box')
    headers = {'X-Request-Id': given.encode().decode('latin-1')}
    answer = door.post(CHAT, {'model': 'm', 'messages': MESSAGES}, headers=headers)
    assert answer.headers['x-request-id'].startswith('req_')
    assert box.requests[0].headers['x-request-id'] == answer.headers['x-request-id']


def test_weight_decides_how_many_requests_a_server_of_a_pool_gets(door, add):
    """Two requests under way on the heavy one count as much as one on the light one."""
    light, heavy = add('light'), add('heavy', weight=3)
    router = door.services.router
    for name in ('light', 'heavy', 'heavy'):
        router.started(name)
    assert router.candidates('m', 'chat')[0].name == 'heavy'
    router.started('heavy')
    router.started('heavy')
    assert router.candidates('m', 'chat')[0].name == 'light'
    assert (light.requests, heavy.requests) == ([], [])
