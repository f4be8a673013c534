import json

import pytest

from llmhost.schemas import load_server
from llmhost.storage.servers import server_from


def listed(*names):
    return {'object': 'list', 'data': [{'id': name, 'object': 'model', 'created': 7, 'owned_by': 'x'} for name in names]}


def ids(door):
    return [model['id'] for model in door.get('/v1/models').json['data']]


def test_list_is_empty_without_servers(door):
    assert door.get('/v1/models').json == {'object': 'list', 'data': []}


def test_models_of_all_servers_are_merged_under_their_bare_ids(door, add):
    add('a', models=('one', 'org/two'))
    add('b', models=('three',))
    assert ids(door) == ['one', 'org/two', 'three']


def test_model_on_several_servers_is_listed_once_and_under_each_servers_name(door, add):
    add('a', models=('same', 'own'))
    add('b', models=('same',))
    assert ids(door) == ['same', 'own', 'a/same', 'b/same']
    assert door.get('/v1/models/same').json['owned_by'] == 'a, b'
    assert door.get('/v1/models/b/same').json['owned_by'] == 'b'


@pytest.mark.parametrize('path', ['org/two', 'org%2Ftwo', 'org%2ftwo', 'a/org/two', 'a%2Forg%2Ftwo', 'a/org%2Ftwo'])
def test_model_is_found_by_its_id_raw_or_encoded(path, door, add):
    add('a', models=('org/two',))
    assert door.get(f'/v1/models/{path}').json['id'].removeprefix('a/') == 'org/two'


@pytest.mark.parametrize('path', ['nope', 'a/nope', 'nope/m', 'm/', '%00'])
def test_unknown_model_is_not_found_as_at_openai(path, door, add):
    add('a')
    answer = door.get(f'/v1/models/{path}')
    assert (answer.status_code, answer.json['error']['code']) == (404, 'model_not_found')


def test_models_a_server_was_seen_to_have_are_listed_where_its_entry_names_none(door, add):
    add('a', models=())
    assert ids(door) == []
    door.observe('a', models=listed('one', 'two'))
    assert ids(door) == ['one', 'two']
    assert door.get('/v1/models/one').json['created'] == 7
    door.observe('a', models=listed('two', 'three'))
    assert ids(door) == ['two', 'three']


def test_models_named_in_the_entry_go_before_those_that_were_seen(door, add):
    add('a', models=('two', 'unlisted'))
    door.observe('a', models=listed('one', 'two'))
    assert ids(door) == ['two', 'unlisted']
    assert door.get('/v1/models/two').json['created'] == 7


def test_models_of_a_server_that_is_down_stay_listed(door, add):
    add('a', models=())
    door.observe('a', 'down', models=listed('one'))
    assert ids(door) == ['one']


def test_disabled_server_lists_nothing(door, add):
    add('a', models=('same', 'own'))
    add('b', models=('same',))
    door.services.registry.update('a', enabled=False)
    assert ids(door) == ['same']
    assert door.get('/v1/models/a/own').status_code == 404
    door.services.registry.update('a', enabled=True)
    assert 'own' in ids(door)


def test_list_never_waits_for_a_server(door, add):
    upstream = add('a')
    upstream.refuse()
    assert ids(door) == ['m']


def test_context_length_is_told_where_it_is_known(door, add):
    add('a', provider='tei', models=())
    door.observe('a', models={'model_id': 'bge', 'max_input_length': 512})
    assert door.get('/v1/models/bge').json['context_length'] == 512


def test_managed_server_offers_its_name_where_it_names_no_model(door):
    entry = load_server({'name': 'local', 'provider': 'llamacpp', 'gguf': '/models/a.gguf'})
    door.services.registry.add(server_from(entry))
    assert ids(door) == ['local']


def test_key_for_some_models_sees_those_alone(door, add, runner):
    add('a', models=('qwen-1', 'llama-1'))
    made = runner.invoke(args=['keys', 'create', 'ann', '--model', 'qwen*', '--json'])
    key = json.loads(made.output)['key']
    headers = {'Authorization': f'Bearer {key}'}
    models = door.client.get('/v1/models', headers=headers).json['data']
    assert [model['id'] for model in models] == ['qwen-1']
    assert door.client.get('/v1/models/llama-1', headers=headers).status_code == 404
    assert door.client.post('/v1/embeddings', json={'model': 'llama-1', 'input': 'x'}, headers=headers).status_code == 404
    assert door.client.post('/v1/embeddings', json={'model': 'qwen-1', 'input': 'x'}, headers=headers).status_code == 200


def test_key_for_one_servers_models_sees_them_under_that_servers_name(door, add, runner):
    add('gpu', models=('plain', 'both'))
    add('mac', models=('both', 'own'))
    made = runner.invoke(args=['keys', 'create', 'ann', '--model', 'gpu/*', '--model', 'own', '--json'])
    headers = {'Authorization': f'Bearer {json.loads(made.output)["key"]}'}
    models = [model['id'] for model in door.client.get('/v1/models', headers=headers).json['data']]
    assert models == ['own', 'gpu/plain', 'gpu/both']
    for model in models:
        assert door.client.get(f'/v1/models/{model}', headers=headers).status_code == 200
    assert door.client.get('/v1/models/plain', headers=headers).status_code == 404
