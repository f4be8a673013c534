"""What is known of models from each provider's own lists: sample documents in, entries out."""

import copy

import pytest

from llmhost.providers import PROVIDERS, Provider
from llmhost.providers.facts import read_facts

from .conftest import document_of

TEXT = ['chat', 'completions']
LMSTUDIO = {
    'qwen2.5-7b-instruct': {'context_length': 8192, 'capabilities': [*TEXT, 'tools'], 'loaded': True},
    'google/gemma-3-4b': {'capabilities': [*TEXT, 'vision'], 'loaded': False},
    'text-embedding-nomic-embed-text-v1.5': {'capabilities': ['embeddings'], 'loaded': False},
}
FACTS = ('context_length', 'capabilities', 'loaded')


def facts_of(entry):
    return {name: entry[name] for name in FACTS if name in entry}


def plain_list(*names):
    return {'object': 'list', 'data': [{'id': name, 'object': 'model', 'owned_by': 'x'} for name in names]}


def detailed(provider, models, *files):
    """The facts by id, once the answers in `files` (None: it failed) are merged into the list `models`."""
    details = [file and document_of(provider, file) for file in files]
    found = PROVIDERS[provider]
    return {entry['id']: facts_of(entry) for entry in found.merge_details(found.parse_models(models), details)}


@pytest.mark.parametrize(('provider', 'file', 'expected'), [
    ('openai', 'models.json', [{}, {}]),
    ('generic', 'models.json', [{}]),
    ('vllm', 'models.json', [{'context_length': 32768, 'loaded': True}]),
    ('llamacpp', 'models.json', [{'context_length': 2048, 'capabilities': TEXT, 'loaded': True}]),
    ('openrouter', 'models.json', [{'context_length': 128000, 'capabilities': [*TEXT, 'tools']}]),
    ('tei', 'info.json', [{'context_length': 512, 'capabilities': ['rerank'], 'loaded': True}]),
    ('cohere', 'models.json', [{'context_length': 288000, 'capabilities': ['chat', 'tools']},
                               {'context_length': 4096, 'capabilities': ['rerank']}]),
])
def test_list_itself_tells(provider, file, expected):
    assert [facts_of(entry) for entry in PROVIDERS[provider].parse_models(document_of(provider, file))] == expected


@pytest.mark.parametrize('file', ['native_v1_models.json', 'native_v0_models.json'])
def test_lm_studio_tells_the_context_as_loaded_never_the_greatest_possible(file):
    assert detailed('lmstudio', plain_list(*LMSTUDIO), file) == LMSTUDIO


def test_lm_studio_instances_and_variants_have_their_own_ids():
    found = detailed('lmstudio', plain_list('qwen2.5-7b-instruct:2', 'google/gemma-3-4b@4bit'), 'native_v1_models.json')
    assert found['qwen2.5-7b-instruct:2']['context_length'] == 4096
    assert found['google/gemma-3-4b@4bit'] == LMSTUDIO['google/gemma-3-4b']


@pytest.mark.parametrize(('files', 'expected'), [
    (('tags.json', 'ps.json'), [{'context_length': 4096, 'capabilities': [*TEXT, 'tools'], 'loaded': True},
                                {'capabilities': ['embeddings'], 'loaded': False}]),
    (('tags.json', None), [{'capabilities': [*TEXT, 'tools']}, {'capabilities': ['embeddings']}]),
    ((None, 'ps.json'), [{'context_length': 4096, 'loaded': True}, {'loaded': False}]),
    ((None, None), [{}, {}]),
], ids=['both', 'tags', 'ps', 'neither'])
def test_ollama_tells_abilities_and_what_is_loaded(files, expected):
    assert list(detailed('ollama', document_of('ollama', 'models.json'), *files).values()) == expected


def test_ollama_model_that_runs_elsewhere_is_not_called_unloaded():
    tags = {'models': [{'name': 'gpt-oss:120b-cloud', 'remote_host': 'https://ollama.com:443', 'capabilities': ['completion']}]}
    models = PROVIDERS['ollama'].parse_models(plain_list('gpt-oss:120b-cloud'))
    assert facts_of(PROVIDERS['ollama'].merge_details(models, [tags, {'models': []}])[0]) == {'capabilities': TEXT}


def test_llamacpp_properties_are_those_of_one_slot():
    found = detailed('llamacpp', document_of('llamacpp', 'models.json'), 'props.json')
    assert found == {'smollm2': {'context_length': 1024, 'capabilities': [*TEXT, 'tools', 'vision'], 'loaded': True}}


def test_llamacpp_model_of_word_pieces_is_not_said_to_chat():
    models = document_of('llamacpp', 'models.json')
    models['data'][0]['meta']['vocab_type'] = 3
    assert detailed('llamacpp', models, 'props.json') == {'smollm2': {'context_length': 1024, 'loaded': True}}


def test_llamacpp_router_lists_what_is_loaded():
    models = plain_list('a', 'b')
    models['data'][0]['status'], models['data'][1]['status'] = {'value': 'loaded'}, {'value': 'unloaded'}
    assert detailed('llamacpp', models, 'props.json') == {'a': {'loaded': True}, 'b': {'loaded': False}}


def test_vllm_adapter_has_its_bases_context():
    models = copy.deepcopy(document_of('vllm', 'models.json'))
    models['data'].append({**models['data'][0], 'id': 'lora', 'parent': 'Qwen/Qwen3-8B', 'max_model_len': None})
    assert PROVIDERS['vllm'].parse_models(models)[1]['context_length'] == 32768


@pytest.mark.parametrize(('entry', 'facts'), [
    ({'context_length': 4096}, {'context_length': 4096}),
    ({'max_model_len': 2048.0}, {'context_length': 2048}),
    ({'context_window': 8192}, {'context_length': 8192}),
    ({'meta': {'n_ctx': 512, 'n_ctx_train': 4096}}, {'context_length': 512}),
    ({'meta': {'n_ctx_train': 4096}}, {}),
    ({'context_length': 0, 'max_model_len': True}, {}),
    ({'context_length': 'long', 'meta': 5, 'status': [], 'capabilities': 'chat', 'loaded': 'yes'}, {}),
    ({'capabilities': ['embedding', 'thinking', 7, None]}, {'capabilities': ['embeddings']}),
    ({'capabilities': {'completion_chat': True, 'function_calling': True, 'vision': False}}, {'capabilities': ['chat', 'tools']}),
    ({'loaded': False}, {'loaded': False}),
])
def test_generic_entry_tells_what_it_can(entry, facts):
    assert read_facts(entry) == facts


@pytest.mark.parametrize('provider', PROVIDERS.values(), ids=list(PROVIDERS))
@pytest.mark.parametrize('document', [
    None, [], 'text', 5, {}, {'models': None}, {'models': [None, 5, {}]}, {'data': [{}, []]}, {'models': [{'name': None}]},
    {'models': [{'key': 'm', 'loaded_instances': [5, {'config': []}], 'capabilities': []}]}, {'models': {'m': 1}},
    {'models': [{'name': [], 'key': {}, 'capabilities': [[]], 'loaded_instances': [{'id': []}]}]},
    {'default_generation_settings': [], 'modalities': 3, 'chat_template_caps': None}, {'data': [{'id': 'm', 'capabilities': 1}]},
])
def test_details_that_cannot_be_read_cost_nothing(provider: Provider, document):
    models = [{'id': 'm', 'created': 0, 'owned_by': 'x'}]
    count = len(provider.model_details('http://box:1/v1'))
    entry, = provider.merge_details(models, [document] * count)
    assert entry['id'] == 'm' and 'context_length' not in entry


@pytest.mark.parametrize(('provider', 'url', 'paths'), [
    ('lmstudio', 'http://box:1234', [['/api/v1/models', '/api/v0/models']]),
    ('lmstudio', 'http://box:1234/v1/', [['/api/v1/models', '/api/v0/models']]),
    ('ollama', 'http://box/ollama/v1', [['/ollama/api/tags'], ['/ollama/api/ps']]),
    ('llamacpp', 'http://box', [['/props']]),
    ('vllm', 'http://box', []),
])
def test_details_are_asked_beside_the_openai_api(provider, url, paths):
    asked = [['/' + one.split('/', 3)[3] for one in urls] for urls in PROVIDERS[provider].model_details(url)]
    assert asked == paths
