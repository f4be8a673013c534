"""Presets and fallback lists, as plain clients meet them."""

import json

import pytest
from fake_upstream import Reply
from front_door import CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES

SYSTEM = {'role': 'system', 'content': 'Be brief.'}


@pytest.fixture
def preset(door):
    """Register a preset; `m` is the model it stands for unless said otherwise."""
    return lambda name='writer', model='m', **fields: door.services.presets.add(name, model=model, **fields)


@pytest.fixture
def servers(add):
    """Three servers with a model of their own each."""
    return {name: add(f'box-{name}', models=(name,)) for name in 'abc'}


def used(answer):
    assert answer.status_code == 200, answer.text
    return answer.headers['x-llmhost-server'], answer.headers['x-llmhost-model']


# what a preset brings


@pytest.mark.parametrize('model', ['m', 'box/m'])
def test_preset_brings_its_model_parameters_and_system_prompt(model, door, add, preset, request_log):
    box = add('box')
    preset(model=model, system='Be brief.', params={'temperature': 0.2, 'top_k': 5, 'stop': ['x']})
    assert used(door.chat('writer')) == ('box', 'm')
    assert box.requests[0].json == {
        'model': 'm', 'messages': [SYSTEM, *MESSAGES], 'temperature': 0.2, 'top_k': 5, 'stop': ['x']}
    assert request_log()[-1]['model'] == 'writer'


def test_preset_works_in_a_stream_and_usage_nobody_asked_for_stays_withheld(door, add, preset):
    box = add('box')
    preset(system='Be brief.', params={'temperature': 0.2})
    stream = door.stream(model='writer')
    assert (stream.done, stream.usage, stream.headers['x-llmhost-model']) == (True, None, 'm')
    sent = box.requests[0].json
    assert (sent['messages'][0], sent['temperature'], sent['stream_options']) == (SYSTEM, 0.2, {'include_usage': True})


@pytest.mark.parametrize(('own', 'sent'), [
    ({'temperature': 1}, {'temperature': 1, 'max_tokens': 9}),
    ({'temperature': 0}, {'temperature': 0, 'max_tokens': 9}),
    ({'temperature': None}, {'temperature': 0.2, 'max_tokens': 9}),
    ({'max_completion_tokens': 5}, {'temperature': 0.2, 'max_completion_tokens': 5}),
])
def test_clients_own_value_wins_over_the_presets(own, sent, door, add, preset):
    box = add('box')
    preset(params={'temperature': 0.2, 'max_tokens': 9})
    door.chat('writer', **own)
    assert box.requests[0].json == {'model': 'm', 'messages': MESSAGES, **sent}


def test_system_prompt_goes_before_the_clients_own(door, add, preset):
    box = add('box')
    preset(system='Be brief.')
    own = [{'role': 'system', 'content': 'Be kind.'}, *MESSAGES]
    door.chat('writer', messages=own)
    assert box.requests[0].json['messages'] == [SYSTEM, *own]


def test_text_completions_take_the_parameters_that_fit_them(door, add, preset):
    box = add('box')
    preset(system='Be brief.', params={'temperature': 0.2, 'logprobs': True, 'reasoning_effort': 'low', 'min_p': 0.1})
    door.post(COMPLETIONS, {'model': 'writer', 'prompt': 'x'})
    assert box.requests[0].json == {'model': 'm', 'prompt': 'x', 'temperature': 0.2, 'min_p': 0.1}


def test_embeddings_take_the_parameters_that_fit_them(door, add, preset):
    box = add('box')
    preset(params={'temperature': 0.2, 'dimensions': 8, 'input_type': 'query'})
    assert door.post(EMBEDDINGS, {'model': 'writer', 'input': 'x'}).status_code == 200
    assert box.requests[0].json == {'model': 'm', 'input': 'x', 'dimensions': 8, 'input_type': 'query'}


@pytest.mark.parametrize(('own', 'count'), [({}, 2), ({'top_n': 1}, 1)])
def test_rerank_takes_the_parameters_that_fit_it(own, count, door, add, preset):
    box = add('box', provider='vllm')
    preset(params={'temperature': 0.2, 'top_n': 2, 'truncate_prompt_tokens': 9})
    answer = door.post('/rerank', {'model': 'writer', 'query': 'q', 'documents': ['a', 'b', 'c'], **own})
    assert (answer.json['model'], len(answer.json['results']), used(answer)) == ('writer', count, ('box', 'm'))
    assert box.requests[0].json.keys() == {'model', 'query', 'documents', 'truncate_prompt_tokens'}


def test_preset_wins_over_a_model_of_its_name(door, add, preset):
    add('one', models=('writer',))
    two = add('two')
    preset(system='Be brief.')
    assert used(door.chat('writer')) == ('two', 'm')
    assert used(door.chat('one/writer')) == ('one', 'writer')
    assert len(two.requests) == 1


def test_preset_may_bear_the_name_of_its_own_model(door, add, preset):
    box = add('box')
    preset('m', params={'temperature': 0.2})
    assert used(door.chat('m')) == ('box', 'm')
    assert box.requests[0].json['temperature'] == 0.2


def test_model_of_a_preset_is_never_taken_for_a_preset(door, add, preset):
    box = add('box')
    preset('writer')
    preset('m', 'other')
    door.chat('writer')
    assert box.requests[0].json == {'model': 'm', 'messages': MESSAGES}


def test_preset_whose_model_no_server_has_says_so(door, preset):
    preset()
    answer = door.chat('writer')
    assert (answer.status_code, answer.json['error']['code']) == (404, 'model_not_found')
    assert answer.json['error']['message'] == "The preset 'writer' stands for the model 'm', which no server has."


def test_presets_are_live_on_the_next_request(door, add, preset, runner):
    box = add('box')
    assert door.chat('writer').status_code == 404
    preset()
    assert door.chat('writer').status_code == 200
    door.services.presets.update('writer', params={'seed': 7})
    door.chat('writer')
    assert box.requests[-1].json['seed'] == 7
    door.services.presets.remove('writer')
    assert door.chat('writer').status_code == 404


def test_presets_written_by_hand_keep_what_llmhost_does_not_know(door, add, app):
    add('box')
    path = app.extensions['llmhost'].config.data_dir / 'presets.json'
    path.write_text(json.dumps({'presets': {'writer': {'model': 'm', 'approval': 'always', 'mcp': ['files']}}}))
    assert door.chat('writer').status_code == 200
    door.services.presets.update('writer', system='Be brief.')
    assert json.loads(path.read_text())['presets']['writer'] == {
        'model': 'm', 'system': 'Be brief.', 'approval': 'always', 'mcp': ['files']}


def test_broken_presets_leave_the_last_good_copy_serving(door, add, preset, app, client):
    add('box')
    preset()
    assert door.chat('writer').status_code == 200
    (app.extensions['llmhost'].config.data_dir / 'presets.json').write_text('{"presets": {"writer": {"model": 5}}}')
    assert (door.chat('writer').status_code, client.get('/readyz').status_code) == (200, 503)


# fallbacks


@pytest.fixture
def down(servers):
    """Have the server of a model say that it cannot now."""
    return lambda *names: [servers[name].always(CHAT, Reply.error(503, 'busy')) for name in names]


@pytest.mark.parametrize(('asked', 'ill', 'tried'), [
    ({'model': 'a', 'models': ['b', 'c']}, '', 'a'),
    ({'model': 'a', 'models': ['b', 'c']}, 'a', 'ab'),
    ({'model': 'a', 'models': ['b', 'c']}, 'ab', 'abc'),
    ({'models': ['c', 'a']}, '', 'c'),
    ({'model': None, 'models': ['c', 'a']}, 'c', 'ca'),
    ({'model': '', 'models': ['b']}, '', 'b'),
    ({'model': 'a', 'models': ['a', 'a', 'b']}, 'a', 'ab'),
    ({'model': 'a', 'models': ['nope', 'b']}, 'a', 'ab'),
    ({'model': 'nope', 'models': ['box-b/b']}, '', 'b'),
    ({'models': ['nope', 'b', 'none']}, '', 'b'),
    ({'model': 'a', 'models': []}, '', 'a'),
    ({'model': 'a', 'models': None}, '', 'a'),
])
@pytest.mark.parametrize('stream', [False, True])
def test_fallback_list_is_tried_in_order(asked, ill, tried, stream, door, servers, down, request_log):
    down(*ill)
    answer = door.post(CHAT, {'messages': MESSAGES, 'stream': stream, **asked})
    assert used(answer) == (f'box-{tried[-1]}', tried[-1])
    assert answer.headers['x-llmhost-attempts'] == str(len(tried))
    assert {name: len(server.requests) for name, server in servers.items()} == {name: int(name in tried) for name in 'abc'}
    sent = servers[tried[-1]].requests[0].json
    assert (sent['model'], sent['messages'], 'models' in sent) == (tried[-1], MESSAGES, False)
    assert request_log()[-1]['model'] == (asked.get('model') or asked['models'][0])


@pytest.mark.parametrize(('path', 'payload'), [(COMPLETIONS, {'prompt': 'x'}), (EMBEDDINGS, {'input': 'x'}), (
    '/v1/rerank', {'model': 'nope', 'query': 'q', 'documents': ['d']})])
def test_fallback_list_serves_every_task(path, payload, door, servers):
    assert used(door.post(path, {'models': ['nope', 'b'], **payload})) == ('box-b', 'b')
    assert 'models' not in servers['b'].requests[0].json


def test_fallback_list_asks_every_server_of_a_model_before_the_next_model(door, servers, add, down):
    add('twin', models=('a',), priority=-1)
    down('a')
    assert used(door.post(CHAT, {'models': ['a', 'b'], 'messages': MESSAGES})) == ('twin', 'a')


def test_server_known_to_be_unwell_is_asked_after_the_fallbacks(door, servers):
    door.observe('box-a', 'down')
    assert used(door.chat('a', models=['b'])) == ('box-b', 'b')


def test_answer_that_is_no_reason_to_try_elsewhere_ends_the_list(door, servers):
    servers['a'].answer(CHAT, Reply.error(400, 'no'))
    assert door.chat('a', models=['b']).status_code == 400
    assert servers['b'].requests == []


@pytest.mark.parametrize(('asked', 'status', 'told'), [
    ({'models': ['x', 'y']}, 404, "The model 'x' does not exist"),
    ({'model': 'x', 'models': ['y']}, 404, "The model 'x' does not exist"),
    ({'models': ['x', 'off/m']}, 503, 'disabled'),
    ({}, 400, 'you must provide a model parameter'),
    ({'models': []}, 400, 'you must provide a model parameter'),
    ({'models': 'a'}, 400, "'models'"),
    ({'models': ['a', '']}, 400, "'models[1]'"),
    ({'models': ['a'] * 33}, 400, 'array too long'),
    ({'model': 5, 'models': ['a']}, 400, "'model'"),
])
def test_fallback_list_that_leads_nowhere_is_refused(asked, status, told, door, servers, add):
    add('off', enabled=False)
    answer = door.post(CHAT, {'messages': MESSAGES, **asked})
    assert (answer.status_code, told in answer.json['error']['message']) == (status, True), answer.text


def test_fallbacks_of_a_preset_come_after_the_requests_own_with_all_the_preset_brings(door, servers, down, preset):
    down('a', 'b')
    preset(model='a', system='Be brief.', fallbacks=['c'])
    answer = door.chat('writer', models=['b'])
    assert (used(answer), answer.headers['x-llmhost-attempts']) == (('box-c', 'c'), '3')
    assert [servers[name].requests[0].json['messages'] for name in 'abc'] == [
        [SYSTEM, *MESSAGES], MESSAGES, [SYSTEM, *MESSAGES]]


def test_fallback_of_a_preset_stands_in_for_a_model_that_is_gone(door, servers, preset):
    preset(model='gone', fallbacks=['b'])
    assert used(door.chat('writer')) == ('box-b', 'b')


def test_preset_may_stand_in_a_fallback_list(door, servers, down, preset):
    down('a')
    preset(model='b', params={'seed': 7})
    assert used(door.chat('a', models=['writer'])) == ('box-b', 'b')
    assert ('seed' in servers['a'].requests[0].json, servers['b'].requests[0].json['seed']) == (False, 7)


@pytest.mark.parametrize(('asked', 'sent'), [
    ({'model': 'x', 'models': ['y', 'z']}, ['y', 'z']),
    ({'models': ['router/x', 'router/y']}, ['y']),
    ({'model': 'x', 'models': ['x', 'un/listed', 'y']}, ['un/listed', 'y']),
    ({'model': 'x', 'models': ['a']}, None),
    ({'model': 'x', 'models': ['writer']}, None),
])
def test_server_that_falls_back_by_itself_is_told_to_what_if_it_has_them_all(asked, sent, door, servers, add, preset):
    router = add('router', provider='openrouter', models=('x', 'y', 'z'))
    preset(model='y')
    assert used(door.post(CHAT, {'messages': MESSAGES, **asked})) == ('router', 'x')
    assert (router.requests[0].json['model'], router.requests[0].json.get('models')) == ('x', sent)


# who may


@pytest.fixture
def key(runner):
    """The headers of a new key for these globs."""
    def key(*globs):
        options = [part for glob in globs for part in ('--model', glob)]
        made = runner.invoke(args=['keys', 'create', 'ann', *options, '--json'])
        return {'Authorization': f'Bearer {json.loads(made.output)["key"]}'}
    return key


def test_key_for_a_preset_may_use_it_and_not_its_model(door, servers, preset, key, down):
    down('a')
    preset(model='a', fallbacks=['b'])
    headers = key('writer')
    assert door.post(CHAT, {'model': 'a', 'messages': MESSAGES}, headers=headers).status_code == 404
    assert used(door.post(CHAT, {'model': 'writer', 'messages': MESSAGES}, headers=headers)) == ('box-b', 'b')
    listed = door.client.get('/v1/models', headers=headers).json['data']
    assert [entry['id'] for entry in listed] == ['writer']
    assert door.client.get('/v1/models/writer', headers=headers).status_code == 200


def test_key_for_a_model_may_not_use_its_preset(door, servers, preset, key):
    preset(model='a')
    assert door.post(CHAT, {'model': 'writer', 'messages': MESSAGES}, headers=key('a')).status_code == 404


@pytest.mark.parametrize('asked', [{'model': 'b', 'models': ['a']}, {'models': ['b', 'a', 'c']}])
def test_key_must_allow_every_model_a_request_names(asked, door, servers, key):
    answer = door.post(CHAT, {'messages': MESSAGES, **asked}, headers=key('b'))
    assert (answer.status_code, answer.json['error']['code']) == (404, 'model_not_found')
    assert [server.requests for server in servers.values()] == [[]] * len(servers)


def test_fallback_list_of_models_a_key_is_not_for_is_not_found(door, servers, key):
    answer = door.post(CHAT, {'models': ['a', 'c'], 'messages': MESSAGES}, headers=key('b'))
    assert (answer.status_code, answer.json['error']['code']) == (404, 'model_not_found')
    assert "'a'" in answer.json['error']['message']


# the model list


def test_presets_are_listed_after_the_models_with_what_is_known_of_theirs(door, add, preset):
    add('box', provider='tei', models=())
    door.observe('box', models={'model_id': 'bge', 'max_input_length': 512})
    preset('short', 'gone', fallbacks=['bge'])
    model, entry = door.get('/v1/models').json['data']
    assert (model['id'], model['context_length']) == ('bge', 512)
    assert entry == door.get('/v1/models/short').json == {**model, 'id': 'short', 'owned_by': 'preset'}


@pytest.mark.parametrize('model', ['gone', 'off/m'])
def test_preset_that_leads_nowhere_is_not_listed(model, door, add, preset):
    add('off', enabled=False)
    preset(model=model)
    assert door.get('/v1/models').json['data'] == []
    assert door.get('/v1/models/writer').status_code == 404


def test_preset_of_a_model_its_server_does_not_list_is_listed(door, add, preset):
    add('box')
    preset(model='box/unlisted')
    assert door.get('/v1/models/writer').json['owned_by'] == 'preset'


def test_model_hidden_by_a_preset_is_listed_behind_its_servers_name(door, add, preset):
    add('box')
    preset('m', 'box/m')
    listed = door.get('/v1/models').json['data']
    assert [(model['id'], model['owned_by']) for model in listed] == [('box/m', 'box'), ('m', 'preset')]


# what a plain request does not pay for


def test_plain_request_is_passed_on_as_the_bytes_it_came_in(door, add, preset):
    box = add('box')
    preset()
    body = b'{"model":  "m",\n"messages": [{"role": "user", "content": "x"}]}'
    assert door.post(CHAT, body).status_code == 200
    assert box.requests[0].body == body


@pytest.mark.parametrize(('model', 'told'), [('a\r\nX-Evil: 1', 'a%0D%0AX-Evil%3A%201'), ('模', '%E6%A8%A1'), ('a b', 'a b')])
def test_header_of_the_model_carries_any_id(model, told, door, add):
    add('box')
    answer = door.chat(f'box/{model}')
    assert (answer.headers['x-llmhost-model'], 'x-evil' in answer.headers) == (told, False)
