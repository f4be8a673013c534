"""What llmhost promises of every provider: the same requests, the same answers, whatever its server says on the wire."""

import json
import math
import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from fake_upstream import Reply, read_sample
from flask.testing import FlaskCliRunner
from front_door import CHAT, COMPLETIONS, EMBEDDINGS, FrontDoor

from llmhost.providers import PROVIDERS

from .conftest import document_of, reply_of, sample_of, samples

Serve = Callable[..., FrontDoor]

CHATTERS = ['generic', 'openai', 'lmstudio', 'openrouter', 'ollama', 'llamacpp', 'vllm', 'cohere']
WRITERS = ['generic', 'openai', 'lmstudio', 'openrouter', 'ollama', 'llamacpp', 'vllm']
EMBEDDERS = ['generic', 'openai', 'lmstudio', 'openrouter', 'ollama', 'llamacpp', 'vllm', 'tei', 'cohere', 'jina']
RANKERS = ['generic', 'llamacpp', 'vllm', 'tei', 'cohere', 'jina']
EMULATED = ['openai', 'lmstudio', 'openrouter', 'ollama']
ALL = EMBEDDERS
KEYED = ['openai', 'openrouter', 'cohere', 'jina']

V1 = {CHAT: CHAT, COMPLETIONS: COMPLETIONS, EMBEDDINGS: EMBEDDINGS, 'rerank': '/v1/rerank', 'models': '/v1/models'}
PATHS = {
    'openrouter': {name: f'/api{path}' for name, path in V1.items()},
    'tei': {**V1, 'rerank': '/rerank', 'models': '/info'},
    'cohere': {
        CHAT: f'/compatibility{CHAT}', EMBEDDINGS: f'/compatibility{EMBEDDINGS}', 'rerank': '/v2/rerank', 'models': '/v1/models',
    },
}
RERANK = {'model': 'm', 'query': 'capital of France',
          'documents': ['Bananas are yellow.', 'Paris is the capital of France.', 'France is in Europe.']}
WEATHER = {'Paris': {'city': 'Paris'}, 'Tokyo': {'city': 'Tokyo'}}
TOOL = {'type': 'function', 'function': {'name': 'get_weather', 'parameters': {'type': 'object'}}}

chatters = pytest.mark.parametrize('provider', CHATTERS)
writers = pytest.mark.parametrize('provider', WRITERS)
embedders = pytest.mark.parametrize('provider', EMBEDDERS)


def path_of(provider: str, task: str) -> str:
    return PATHS.get(provider, V1)[task]


def chunks_of(provider: str, file: str) -> list[Any]:
    """The chunks of a sample stream."""
    events = re.findall(rb'^data: (\{.*)', read_sample(sample_of(provider, file)), re.MULTILINE)
    return [json.loads(event) for event in events]


def text_of(chunks: list[Any]) -> str:
    return ''.join(choice['delta'].get('content') or '' for chunk in chunks for choice in chunk.get('choices', ()))


OVERLONG = [*samples(r'error_(\d+_)?context\.json', ALL), ('tei', 'error_422.json')]


def iter_kept(sent: Any, came: Any, path: str = '$') -> Iterator[str]:
    """The paths of what was in `sent` and is not the same in `came`; null, empty and mended fields aside."""
    if isinstance(sent, dict):
        for key, value in sent.items():
            if value not in (None, []) and key not in ('tool_calls', 'finish_reason', 'message', 'error'):
                yield from iter_kept(value, came.get(key), f'{path}.{key}')
    elif isinstance(sent, list) and isinstance(came, list):
        for number, (one, other) in enumerate(zip(sent, came, strict=True)):
            yield from iter_kept(one, other, f'{path}[{number}]')
    elif sent != came:
        yield f'{path}: {sent!r} became {came!r}'


# text


@chatters
def test_completion_says_what_the_server_said_and_keeps_its_other_fields(provider, serve, upstream):
    door = serve(provider, reply_of(provider, 'chat.json'))
    request = document_of(provider, 'chat_request.json')
    answer = door.post(CHAT, {**request, 'model': 'm'})
    sent = document_of(provider, 'chat.json')
    assert answer.json['choices'][0]['message']['content'] == sent['choices'][0]['message']['content']
    assert not list(iter_kept(sent, answer.json))
    assert upstream.requests[0].path == path_of(provider, CHAT)
    assert upstream.requests[0].json == {**request, 'model': 'm'}


@chatters
def test_stream_says_what_the_server_said_chunk_by_chunk(provider, serve, upstream):
    door = serve(provider, reply_of(provider, 'stream.txt'))
    stream = door.stream(**{**document_of(provider, 'chat_request.json'), 'model': 'm'})
    sent = [chunk for chunk in chunks_of(provider, 'stream.txt') if chunk['choices']]
    assert (stream.content, len(stream.chunks)) == (text_of(sent), len(sent))
    assert stream.done and not stream.errors
    assert stream.finish_reason in ('stop', 'length')
    assert not list(iter_kept(sent, stream.chunks))
    assert len({(chunk['id'], chunk['created']) for chunk in stream.chunks}) == 1
    assert upstream.requests[0].path == path_of(provider, CHAT)


@chatters
@pytest.mark.parametrize('asked', [True, False], ids=['asked', 'not asked'])
def test_usage_of_a_stream_is_given_when_asked_and_counted_either_way(provider, asked, serve, upstream, request_log):
    chunks = [chunk for chunk in chunks_of(provider, 'stream.txt') if chunk['choices']]
    usage = {'prompt_tokens': 24, 'completion_tokens': 8, 'total_tokens': 32}
    last = {**chunks[-1], 'choices': [], 'usage': usage}
    door = serve(provider, Reply.events(*chunks, last))
    stream = door.stream(**({'stream_options': {'include_usage': True}} if asked else {}))
    assert upstream.requests[0].json['stream_options'] == {'include_usage': True}
    assert [chunk for chunk in stream.chunks if not chunk['choices']] == ([last] if asked else [])
    line = request_log()[-1]
    assert (line['prompt_tokens'], line['completion_tokens'], line['status']) == (24, 8, 200)


@writers
def test_text_completion_whole_and_streamed_is_passed_on(provider, serve, upstream):
    door = serve(provider, reply_of(provider, 'completion.json'), reply_of(provider, 'completion_stream.txt'))
    answer = door.post(COMPLETIONS, {'model': 'm', 'prompt': 'The capital of France is'})
    assert answer.json['choices'][0]['text'] == document_of(provider, 'completion.json')['choices'][0]['text']
    stream = door.stream(COMPLETIONS, prompt='The capital of France is', messages=None)
    assert (stream.content, stream.finish_reason, stream.done) == (' Paris.', 'stop', True)
    assert {request.path for request in upstream.requests} == {path_of(provider, COMPLETIONS)}


# tools


@chatters
@pytest.mark.parametrize('cities', [['Paris'], ['Paris', 'Tokyo']], ids=['single', 'parallel'])
def test_tool_calls_have_ids_string_arguments_and_their_finish_reason(provider, cities, serve):
    sent = document_of(provider, 'chat_tools.json')
    if len(sent['choices'][0]['message']['tool_calls']) < len(cities):
        sent = document_of('openai', 'chat_tools.json')
    del sent['choices'][0]['message']['tool_calls'][len(cities):]
    choice = serve(provider, Reply.json(sent)).chat(tools=[TOOL]).json['choices'][0]
    calls = choice['message']['tool_calls']
    assert [json.loads(call['function']['arguments']) for call in calls] == [WEATHER[city] for city in cities]
    assert len({call['id'] for call in calls}) == len(cities) and all(call['id'] for call in calls)
    assert {(call['type'], call['function']['name']) for call in calls} == {('function', 'get_weather')}
    assert not any('index' in call for call in calls)
    assert choice['finish_reason'] == 'tool_calls'


@chatters
def test_streamed_tool_calls_can_be_put_together_by_index(provider, serve):
    stream = serve(provider, reply_of(provider, 'stream_tools.txt')).stream(tools=[TOOL])
    calls = stream.calls
    assert 1 <= len(calls) <= 2
    assert [json.loads(call['arguments']) for call in calls] == list(WEATHER.values())[:len(calls)]
    assert len({call['id'] for call in calls}) == len(calls) and all(call['id'] for call in calls)
    assert {call['name'] for call in calls} == {'get_weather'}
    assert (stream.finish_reason, stream.done) == ('tool_calls', True)


@chatters
def test_tool_results_and_images_are_sent_on_as_they_are(provider, serve, upstream):
    call = {'id': 'call_1', 'type': 'function', 'function': {'name': 'get_weather', 'arguments': '{"city":"Paris"}'}}
    image = {'type': 'image_url', 'image_url': {'url': 'data:image/png;base64,iVBORw0KGgo=', 'detail': 'low'}}
    payload = {'model': 'm', 'tools': [TOOL], 'tool_choice': 'auto', 'messages': [
        {'role': 'user', 'content': [{'type': 'text', 'text': 'Here?'}, image]},
        {'role': 'assistant', 'content': None, 'tool_calls': [call]},
        {'role': 'tool', 'tool_call_id': 'call_1', 'content': 'Rain.'},
    ]}
    serve(provider, reply_of(provider, 'chat.json')).post(CHAT, payload)
    assert upstream.requests[0].json == payload


# reasoning


@chatters
@pytest.mark.parametrize('name', ['reasoning', 'reasoning_content'])
def test_reasoning_comes_under_both_names(provider, name, serve):
    sent = document_of(provider, 'chat.json')
    message = sent['choices'][0]['message']
    message.pop('reasoning', None)
    message[name] = 'Because.'
    chunk = chunks_of(provider, 'stream.txt')[0]
    thought = {**chunk, 'choices': [{**chunk['choices'][0], 'delta': {'role': 'assistant', name: 'Because.'}}]}
    door = serve(provider, Reply.json(sent), Reply.events(thought, *chunks_of(provider, 'stream.txt')[-2:]))
    told = door.chat().json['choices'][0]['message']
    assert (told['reasoning'], told['reasoning_content']) == ('Because.', 'Because.')
    delta = door.stream().deltas[0]
    assert (delta['reasoning'], delta['reasoning_content']) == ('Because.', 'Because.')


@pytest.mark.parametrize('provider', ['ollama', 'openrouter', 'vllm'])
def test_reasoning_of_a_sample_stream_comes_under_both_names(provider, serve):
    stream = serve(provider, reply_of(provider, 'stream.txt')).stream()
    thoughts = [''.join(delta.get(name) or '' for delta in stream.deltas) for name in ('reasoning', 'reasoning_content')]
    assert thoughts[0] == thoughts[1] != ''


# errors


def ask(door: FrontDoor, provider: str) -> Any:
    """A request every server of this provider could answer."""
    return door.chat() if provider in CHATTERS else door.post(EMBEDDINGS, {'model': 'm', 'input': 'x'})


def message_in(provider: str, file: str) -> str:
    """What a person should read of a sample error, wherever the provider puts it."""
    document = document_of(provider, file)
    fault = document.get('error', document)
    told = fault if isinstance(fault, str) else fault.get('message') or fault.get('detail')
    return told if isinstance(told, str) else 'field required'


@pytest.mark.parametrize(('provider', 'file'), samples(r'error_(?!200).*\.json', ALL))
def test_error_keeps_its_status_and_message_in_openais_envelope(provider, file, serve):
    answer = ask(serve(provider, reply_of(provider, file)), provider)
    found = re.search(r'\d{3}', file)
    error = answer.json['error']
    is_context = error['code'] == 'context_length_exceeded'
    assert answer.status_code == (int(found[0]) if found and not is_context else 400)
    assert message_in(provider, file) in error['message']
    assert error['type'] and isinstance(error['code'], str | None)


@pytest.mark.parametrize('provider', ALL)
@pytest.mark.parametrize('status', [400, 401, 403, 404, 422, 429, 500, 502, 503, 504])
def test_error_page_that_is_no_json_keeps_its_status(provider, status, serve):
    answer = ask(serve(provider, Reply.text('<html>nginx</html>', status)), provider)
    assert answer.status_code == status
    assert 'nginx' not in answer.json['error']['message']


@pytest.mark.parametrize(('provider', 'file'), OVERLONG)
def test_context_that_is_too_long_is_openais_error(provider, file, serve):
    reply = reply_of(provider, file)
    under_200 = [replace(reply, status=200)] * (provider != 'generic')  # its "detail" is an error by its status alone
    door = serve(provider, reply, *under_200)
    for _ in (reply, *under_200):
        answer = ask(door, provider)
        error = answer.json['error']
        assert (answer.status_code, error['code']) == (400, 'context_length_exceeded')
        assert (error['type'], error['param']) == ('invalid_request_error', 'messages')


@pytest.mark.parametrize(('provider', 'file'), samples(r'error_context\.json', CHATTERS[1:]))
def test_context_that_is_too_long_told_at_the_start_of_a_stream_has_its_status(provider, file, serve):
    answer = serve(provider, Reply.events(document_of(provider, file))).chat(stream=True)
    assert (answer.status_code, answer.json['error']['code']) == (400, 'context_length_exceeded')


@pytest.mark.parametrize('provider', ALL)
@pytest.mark.parametrize(('headers', 'seconds'), [
    ({'retry-after': '7'}, '7'), ({'retry-after': '0.2'}, '1'), ({'retry-after-ms': '2500'}, '3'), ({}, None),
], ids=['seconds', 'fraction', 'milliseconds', 'none'])
def test_rate_limit_says_when_to_come_back(provider, headers, seconds, serve):
    reply = reply_of(provider, 'error_429.json', headers=headers)
    answer = ask(serve(provider, reply), provider)
    assert (answer.status_code, answer.headers.get('retry-after')) == (429, seconds)


# broken streams


@pytest.mark.parametrize(('provider', 'file'), samples(r'stream_error\.txt', CHATTERS))
def test_error_in_a_stream_ends_it_as_an_error_event(provider, file, serve):
    stream = serve(provider, reply_of(provider, file)).stream()
    said = text_of([chunk for chunk in chunks_of(provider, file) if 'error' not in chunk])
    assert said and stream.content == said
    assert (len(stream.errors), stream.done) == (1, False)
    assert 'error' in stream.documents[-1]
    told = [chunk.get('message') or chunk.get('error') for chunk in chunks_of(provider, file)][-1] or 'broke off'
    assert (told if isinstance(told, str) else told['message']) in stream.errors[0]['message']


@chatters
def test_stream_that_starts_with_an_error_has_its_status(provider, serve):
    error = {'error': {'message': 'The prompt is refused.', 'code': 400, 'type': 'BadRequestError'}}
    answer = serve(provider, Reply.events(': hello\n\n', error)).chat(stream=True)
    assert (answer.status_code, answer.is_json) == (400, True)
    assert answer.json['error']['message'] == 'The prompt is refused.'


@pytest.mark.parametrize(('provider', 'file', 'status'), [
    ('lmstudio', 'stream_error_context.txt', 400), ('openrouter', 'stream_error_done.txt', 400),
])
def test_sample_stream_that_starts_with_an_error_has_its_status(provider, file, status, serve):
    assert serve(provider, reply_of(provider, file)).chat(stream=True).status_code == status


@chatters
@pytest.mark.parametrize('reset', [False, True], ids=['closed', 'reset'])
def test_stream_that_is_cut_ends_in_an_error_event(provider, reset, serve):
    stream = serve(provider, reply_of(provider, 'stream.txt', cut_after=6, reset=reset)).stream()
    assert stream.chunks and not stream.done
    assert [error['code'] for error in stream.errors] == ['upstream_broken']


@chatters
def test_stream_goes_on_after_a_chunk_that_cannot_be_read(provider, serve):
    chunks = [chunk for chunk in chunks_of(provider, 'stream.txt') if chunk['choices']]
    garbage = ['data: {"id": "x", "cho\n\n', 'data: [1, 2]\n\n', 'data: null\n\n', 'data:\n\n', {'choices': [5]}]
    stream = serve(provider, Reply.events(*chunks[:3], *garbage, *chunks[3:])).stream()
    assert (stream.content, stream.done, stream.errors) == (text_of(chunks), True, [])


@chatters
@pytest.mark.parametrize('streams', [False, True], ids=['whole', 'streamed'])
@pytest.mark.parametrize(('document', 'status'), [
    ({'error': 'Unexpected endpoint or method.'}, 502),
    ({'error': {'message': 'Overloaded.', 'code': 503}}, 503),
    ({'detail': 'nothing here'}, 502),
    ([], 502),
], ids=['text', 'object', 'no choices', 'array'])
def test_failure_answered_with_200_is_a_failure(provider, document, status, streams, serve):
    answer = serve(provider, Reply.json(document)).chat(stream=streams)
    assert answer.status_code == status


@pytest.mark.parametrize(('provider', 'file', 'status'), [
    ('lmstudio', 'error_200.json', 502), ('openrouter', 'error_200.json', 429), ('openrouter', 'error_200_choice.json', 502),
])
@pytest.mark.parametrize('streams', [False, True], ids=['whole', 'streamed'])
def test_sample_failure_answered_with_200_is_a_failure(provider, file, status, streams, serve):
    answer = serve(provider, reply_of(provider, file)).chat(stream=streams)
    assert answer.status_code == status


# models


@pytest.mark.parametrize('provider', ALL)
def test_models_of_a_server_are_found_when_it_is_added_and_listed_once_seen(
    provider, door, upstream, runner: FlaskCliRunner,
):
    file = 'info.json' if provider == 'tei' else 'models.json'
    sample = document_of(provider, file)
    upstream.always('*', Reply.json(sample))
    result = runner.invoke(args=['servers', 'add', 'box', upstream.url, '--provider', provider])
    assert result.exit_code == 0, result.output
    assert upstream.requests[0].path == path_of(provider, 'models')
    entries = sample.get('data') or sample.get('models') or [{'id': sample.get('model_id')}]
    ids = [entry.get('id') or entry['name'] for entry in entries]
    assert all(name in result.output for name in ids)
    door.observe('box', models=sample)
    assert [model['id'] for model in door.get('/v1/models').json['data']] == ids
    for name in ids:
        assert door.get(f'/v1/models/{name}').json['id'] == name


@pytest.mark.parametrize('provider', ALL)
@pytest.mark.parametrize('document', [{}, [], {'data': 'none', 'models': 'none'}, {'error': 'not here'}, None])
def test_adding_a_server_whose_model_list_cannot_be_read_fails_with_one_line(provider, document, upstream, runner):
    upstream.always('*', Reply.json(document))
    result = runner.invoke(args=['servers', 'add', 'box', upstream.url, '--provider', provider])
    assert result.exit_code == 1
    assert 'Traceback' not in result.output and len(result.output.strip().splitlines()) == 1


@pytest.mark.parametrize('provider', ALL)
def test_key_of_a_server_is_sent_and_the_clients_is_not(provider, serve, upstream):
    door = serve(provider, api_key='sk-server', headers={'X-Team': 'blue'})
    path, payload = (CHAT, {'model': 'm', 'messages': []}) if provider in CHATTERS else (EMBEDDINGS, {'model': 'm', 'input': 'x'})
    payload = {**payload, 'messages': [{'role': 'user', 'content': 'x'}]} if path == CHAT else payload
    door.post(path, payload, headers={'Authorization': 'Bearer sk-client', 'Cookie': 'a=b'})
    headers = upstream.requests[0].headers
    assert (headers['authorization'], headers['x-team']) == ('Bearer sk-server', 'blue')
    assert 'sk-client' not in str(headers) and 'cookie' not in headers


# embeddings


@embedders
@pytest.mark.parametrize('given', ['x', ['x', 'y'], [1, 2], [[1, 2], [3]]], ids=['text', 'texts', 'tokens', 'token arrays'])
def test_embeddings_are_passed_both_ways(provider, given, serve, upstream):
    door = serve(provider, reply_of(provider, 'embeddings.json'))
    payload = {'model': 'm', 'input': given, 'dimensions': 4, 'encoding_format': 'float', 'user': 'u'}
    answer = door.post(EMBEDDINGS, payload).json
    if provider != 'llamacpp':
        assert answer['data'][0]['embedding'] == [0.5, -0.25, 0.125, 1.0]
    assert answer['usage'].keys() >= {'prompt_tokens', 'total_tokens'}
    assert upstream.requests[0].path == path_of(provider, EMBEDDINGS)
    assert upstream.requests[0].json == payload


@embedders
def test_base64_embeddings_come_as_they_were_encoded(provider, serve):
    door = serve(provider, reply_of(provider, 'embeddings_base64.json'))
    answer = door.post(EMBEDDINGS, {'model': 'm', 'input': 'x', 'encoding_format': 'base64'}).json
    assert len(b64decode(answer['data'][0]['embedding'])) % 4 == 0


@embedders
def test_embeddings_that_lack_everything_but_vectors_are_filled_in(provider, serve):
    door = serve(provider, Reply.json({'data': [{'embedding': [1.0]}, {'embedding': [2.0]}]}))
    answer = door.post(EMBEDDINGS, {'model': 'm', 'input': ['x', 'y']}).json
    assert [(row['index'], row['object'], row['embedding']) for row in answer['data']] == [
        (0, 'embedding', [1.0]), (1, 'embedding', [2.0])]


@embedders
@pytest.mark.parametrize('document', [{}, {'data': None}, {'data': [1]}, {'data': {'a': 1}}, [[0.5]], {'error': 'no'}])
def test_embeddings_that_cannot_be_read_are_a_failure(provider, document, serve):
    answer = serve(provider, Reply.json(document)).post(EMBEDDINGS, {'model': 'm', 'input': 'x'})
    assert answer.status_code == 502


# rerank


@pytest.mark.parametrize('provider', RANKERS)
def test_native_rerank_is_one_answer_sorted_and_cut_to_what_was_asked(provider, serve, upstream):
    file = 'rerank.json' if provider != 'generic' else None
    reply = reply_of(provider, file) if file else Reply.json({'results': document_of('cohere', 'rerank.json')['results']})
    answer = serve(provider, reply).post('/v1/rerank', {**RERANK, 'top_n': 2})
    assert answer.status_code == 200
    scores = [result['relevance_score'] for result in answer.json['results']]
    assert len(scores) == 2 and scores == sorted(scores, reverse=True)
    assert all(result['document']['text'] == RERANK['documents'][result['index']] for result in answer.json['results'])
    assert answer.json['data'] == answer.json['results']
    assert answer.json['usage'].keys() >= {'prompt_tokens', 'total_tokens'}
    assert 'llmhost' not in answer.json['meta']
    assert len(upstream.requests) == 1 and upstream.requests[0].path == path_of(provider, 'rerank')
    sent = upstream.requests[0].json
    assert sent['query'] == RERANK['query'] and sent['texts' if provider == 'tei' else 'documents'] == RERANK['documents']


@pytest.mark.parametrize(('provider', 'file'), samples(r'rerank_(?!request).*\.json', RANKERS))
def test_every_form_of_a_rerank_answer_is_read(provider, file, serve):
    answer = serve(provider, reply_of(provider, file)).post('/rerank', RERANK)
    assert len(answer.json['results']) == len(answer.json['data']) == 2


@pytest.mark.parametrize('provider', EMULATED)
def test_rerank_without_a_native_one_is_made_from_embeddings_and_says_so(provider, serve, upstream):
    answer = serve(provider).post('/v2/rerank', RERANK)
    assert [result['index'] for result in answer.json['results']] == [1, 2, 0]
    assert answer.json['meta']['llmhost']['emulated'] is True
    assert {request.path for request in upstream.requests} == {path_of(provider, EMBEDDINGS)}
    assert all(not math.isnan(result['relevance_score']) for result in answer.json['results'])


@pytest.mark.parametrize('provider', RANKERS)
@pytest.mark.parametrize('document', [
    {}, {'results': None}, {'results': [{'index': 0}]}, {'results': [{'index': 9, 'relevance_score': 1}]}, 'x', None,
    {'results': [{'index': 'a', 'relevance_score': 1}]}, {'results': [3]}, [{'index': -1, 'score': 1}],
])
def test_rerank_that_cannot_be_read_is_a_failure(provider, document, serve):
    answer = serve(provider, Reply.json(document)).post('/rerank', RERANK)
    assert answer.status_code == 502


def test_contract_covers_every_provider():
    assert set(ALL) == set(PROVIDERS)
