import json
from dataclasses import replace

import pytest

from llmhost.gateway.models import build_entries, build_list
from llmhost.gateway.routing import Table, build_table
from llmhost.schemas import load_server
from llmhost.storage.servers import Server, server_from
from llmhost.storage.status import ServerStatus, Status

FACTS = {'context_length': 4096, 'capabilities': ['chat', 'tools'], 'loaded': True}


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


def facts(door, model='m'):
    entry = door.get(f'/v1/models/{model}').json
    assert entry in door.get('/v1/models').json['data']
    return {name: entry[name] for name in ('context_length', 'capabilities', 'loaded', 'stale') if name in entry}


def model(**known):
    return {'data': [{'id': 'm', 'object': 'model', 'created': 7, **known}]}


def test_what_is_known_of_a_model_is_told(door, add):
    add('a')
    door.observe('a', models=model(**FACTS))
    assert facts(door) == FACTS


def test_model_of_which_nothing_is_known_has_openais_fields_alone(door, add):
    add('a')
    assert door.get('/v1/models/m').json == {'id': 'm', 'object': 'model', 'created': 0, 'owned_by': 'a'}


@pytest.mark.parametrize('state', ['down', 'misconfigured'])
def test_last_good_list_is_marked_stale_until_the_server_is_back(state, door, add):
    add('a', models=())
    door.observe('a', state, models=model(**FACTS))
    assert facts(door) == {'context_length': 4096, 'capabilities': ['chat', 'tools'], 'stale': True}
    door.observe('a', 'up', models=model(**FACTS))
    assert facts(door) == FACTS


def test_model_named_in_the_entry_and_never_seen_is_not_stale(door, add):
    add('a')
    door.observe('a', 'down')
    assert facts(door) == {}


def test_pool_tells_what_holds_on_every_server_that_is_well(door, add):
    for name in ('a', 'b', 'c'):
        add(name)
    door.observe('a', models=model(**FACTS))
    door.observe('b', models=model(context_length=2048, capabilities=['chat', 'vision'], loaded=False))
    door.observe('c', 'down', models=model(context_length=512, capabilities=[], loaded=False))
    assert facts(door) == {'context_length': 2048, 'capabilities': ['chat'], 'loaded': True}
    assert facts(door, 'a/m') == FACTS
    assert facts(door, 'c/m')['stale'] is True


@pytest.mark.parametrize(('state', 'loaded'), [('up', True), ('stopped', False), ('loading', False)])
def test_managed_model_is_loaded_while_it_runs(state, loaded, door):
    entry = load_server({'name': 'm', 'provider': 'llamacpp', 'gguf': '/models/a.gguf'})
    door.services.registry.add(server_from(entry))
    door.observe('m', state, models=model())
    assert facts(door) == {'loaded': loaded}


def seen(number, **changes):
    models = tuple({'id': f'm{number}-{place}', 'created': 7, 'owned_by': 'x', **FACTS} for place in range(10))
    return ServerStatus(state='up', since=1.0, models=models, **changes)


def test_unchanged_servers_are_not_built_again():
    servers = {f's{number}': Server(f's{number}', 'vllm', 'http://box') for number in range(3)}
    status = {name: seen(name) for name in servers}
    first = build_table(servers, Status(status), {}, Table({}, {}))
    checked = {name: replace(one, checked_at=9.0) for name, one in status.items()}
    assert build_table(servers, Status(checked), {}, first) is first
    changed = build_table(servers, Status({**checked, 's1': replace(seen('s1'), state='down')}), {}, first)
    assert [changed.routes[name] is first.routes[name] for name in servers] == [True, False, True]
    before = build_entries(first, {})
    after = build_entries(changed, before)
    assert after['ms0-1'][1] is before['ms0-1'][1]
    assert 'stale' in after['ms1-1'][1] and 'stale' not in before['ms1-1'][1]


def test_list_of_ten_thousand_models_is_made_anew_when_a_server_changes():
    servers = {f's{number}': Server(f's{number}', 'vllm', 'http://box') for number in range(1000)}
    status = Status({name: seen(name) for name in servers})
    table = build_table(servers, status, {}, Table({}, {}))
    built = build_entries(table, {})
    servers['s5'] = replace(servers['s5'], priority=1)
    changed = build_entries(build_table(servers, status, {}, table), built)
    build_list([entry for _, entry in changed.values()])
    assert len(changed) == 10_000


def test_key_for_one_servers_models_sees_them_under_that_servers_name(door, add, runner):
    add('gpu', models=('plain', 'both'))
    add('mac', models=('both', 'own'))
    made = runner.invoke(args=['keys', 'create', 'ann', '--model', 'gpu/*', '--model', 'own', '--json'])
    headers = {'Authorization': f'Bearer {json.loads(made.output)["key"]}'}
    models = [model['id'] for model in door.client.get('/v1/models', headers=headers).json['data']]
    assert sorted(models) == ['gpu/both', 'gpu/plain', 'own']
    for model in models:
        assert door.client.get(f'/v1/models/{model}', headers=headers).status_code == 200
    assert door.client.get('/v1/models/plain', headers=headers).status_code == 404
