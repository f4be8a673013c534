"""Prompts that cannot fit are refused before they are sent, and only those."""

import timeit
from typing import Any

import pytest
from fake_upstream import FakeUpstream, Reply
from front_door import CHAT, COMPLETIONS, EMBEDDINGS, FrontDoor
from openapi_check import check

from llmhost.gateway.context import ContextCheck
from llmhost.providers import provider_named
from llmhost.storage.status import UP, ServerStatus

LIMIT = 1000
COUNTS = {'llamacpp': '/v1/chat/completions/input_tokens', 'vllm': '/tokenize'}
LONG = [{'role': 'user', 'content': 'word ' * 600}]


@pytest.fixture
def box(door: FrontDoor, add: Any) -> Any:
    """Put servers behind the door whose model `m` has a context of `limit` tokens."""
    def box(name: str = 'a', provider: str = 'vllm', limit: int | None = LIMIT, state: str = UP, **fields: Any) -> FakeUpstream:
        upstream = add(name, provider=provider, **fields)
        entry = {'id': 'm', 'created': 0, 'owned_by': 'x', **({'context_length': limit} if limit else {})}
        servers = dict(door.services.status.current().servers)
        door.services.status.replace({**servers, name: ServerStatus(state=state, models=(entry,))})
        return upstream
    return box


def answered_count(provider: str, count: int, limit: int = LIMIT) -> Reply:
    return Reply.json({'count': count, 'max_model_len': limit, 'tokens': []} if provider == 'vllm' else {'input_tokens': count})


def paths(upstream: FakeUpstream) -> list[str]:
    return [request.path for request in upstream.requests]


def assert_refused(answer: Any, param: str, count: int, limit: int = LIMIT) -> None:
    check('ErrorResponse', answer.json)
    error = answer.json['error']
    assert (answer.status_code, error['code'], error['param']) == (400, 'context_length_exceeded', param)
    assert error['type'] == 'invalid_request_error'
    assert f'{limit} tokens' in error['message'] and f'{count} tokens' in error['message']


@pytest.mark.parametrize(('path', 'field'), [(COMPLETIONS, 'prompt'), (EMBEDDINGS, 'input')])
@pytest.mark.parametrize('nested', [False, True], ids=['one', 'several'])
def test_token_array_is_counted_exactly(path, field, nested, door, box):
    upstream = box(provider='generic')
    for count in (LIMIT, LIMIT + 1):
        tokens = [7] * count
        answer = door.post(path, {'model': 'm', field: [[1, 2], tokens] if nested else tokens})
        if count == LIMIT:
            assert answer.status_code == 200
    assert_refused(answer, field, LIMIT + 1)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize('provider', COUNTS)
@pytest.mark.parametrize('stream', [False, True], ids=['whole', 'stream'])
def test_long_chat_is_counted_by_the_servers_own_tokenizer(provider, stream, door, box):
    upstream = box(provider=provider, api_key='sk-1')
    upstream.always(COUNTS[provider], answered_count(provider, 1200))
    tools = [{'type': 'function', 'function': {'name': 'f', 'parameters': {'type': 'object'}}}]
    answer = door.post(CHAT, {'model': 'a/m', 'messages': LONG, 'tools': tools, 'temperature': 0, 'stream': stream})
    assert_refused(answer, 'messages', 1200)
    request, = upstream.requests
    assert (request.path, request.headers['authorization']) == (COUNTS[provider], 'Bearer sk-1')
    assert request.json == {'model': 'm', 'messages': LONG, 'tools': tools}


@pytest.mark.parametrize('provider', COUNTS)
def test_long_text_prompt_is_counted_too(provider, door, box):
    upstream = box(provider=provider)
    upstream.always('/tokenize', Reply.json({'count': 1200, 'tokens': [0] * 1200}))
    assert_refused(door.post(COMPLETIONS, {'model': 'm', 'prompt': 'word ' * 600}), 'prompt', 1200)


@pytest.mark.parametrize('count', [10, LIMIT, 1015], ids=['far', 'just', 'within the margin'])
def test_prompt_that_may_fit_is_sent(count, door, box):
    upstream = box()
    upstream.always('/tokenize', answered_count('vllm', count))
    assert door.chat(messages=LONG).status_code == 200
    assert paths(upstream) == ['/tokenize', CHAT]


def test_server_restarted_with_a_longer_context_is_believed(door, box):
    upstream = box()
    upstream.always('/tokenize', answered_count('vllm', 1200, limit=4096))
    assert door.chat(messages=LONG).status_code == 200


@pytest.mark.parametrize('reply', [
    Reply.error(404, 'no'), Reply.error(500, 'no'), Reply(drop=True), Reply.text('<html>'), Reply.json([]),
    Reply.json({'count': '9'}), Reply.json(None),
], ids=['404', '500', 'dropped', 'html', 'array', 'text', 'null'])
@pytest.mark.parametrize('provider', COUNTS)
def test_tokenizer_that_does_not_tell_refuses_nothing(provider, reply, door, box):
    upstream = box(provider=provider)
    upstream.always(COUNTS[provider], reply)
    assert door.chat(messages=LONG).status_code == 200


@pytest.mark.parametrize('changes', [
    {'messages': [{'role': 'user', 'content': 'x ' * 900}]},
    {'messages': LONG, 'truncate_prompt_tokens': 100},
    {'messages': LONG, 'transforms': ['middle-out']},
    {'messages': [{'role': 'user', 'content': [
        {'type': 'text', 'text': 'word ' * 600},
        {'type': 'image_url', 'image_url': {'url': 'data:image/png;base64,iVBORw0KGgo='}}]}]},
], ids=['short', 'truncated by vLLM', 'cut by OpenRouter', 'image'])
def test_what_need_not_or_cannot_be_counted_is_not(changes, door, box):
    upstream = box()
    assert door.chat(**changes).status_code == 200
    assert paths(upstream) == [CHAT]


@pytest.mark.parametrize('fields', [
    {'limit': None}, {'state': 'down'}, {'provider': 'ollama'}, {'provider': 'lmstudio'}, {'provider': 'openai'},
], ids=['unknown', 'server down', 'ollama', 'lmstudio', 'no tokenizer'])
def test_limit_that_is_not_sure_is_not_used(fields, door, box):
    upstream = box(**fields)
    assert door.chat(messages=LONG).status_code == 200
    assert paths(upstream) == [CHAT]


def test_server_of_the_pool_that_can_hold_it_is_asked(door, box):
    small, large = box('small', 'generic'), box('large', 'generic', limit=4096)
    for _ in range(4):
        assert door.post(EMBEDDINGS, {'model': 'm', 'input': [7] * 1200}).status_code == 200
    assert (len(small.requests), len(large.requests)) == (0, 4)
    assert_refused(door.post(EMBEDDINGS, {'model': 'm', 'input': [7] * 5000}), 'input', 5000, limit=4096)


def test_ordinary_request_pays_less_than_a_microsecond(door, box):
    box()
    candidates = door.services.router.candidates('m', 'chat')
    checked = ContextCheck(door.services.http_session)
    body, payload = b'x' * 900, {'messages': []}
    calls = 10_000
    best = min(timeit.repeat(lambda: checked.fitting('chat', payload, body, candidates), number=calls, repeat=5))
    assert best / calls < 1e-6


@pytest.mark.parametrize(('provider', 'payload', 'sent'), [
    ('vllm', {'messages': [1], 'tools': [2], 'tool_choice': 'none', 'top_p': 1, 'chat_template_kwargs': {}},
     b'{"messages":[1],"chat_template_kwargs":{},"model":"m"}'),
    ('llamacpp', {'messages': [1], 'tools': [2], 'stream': True}, b'{"messages":[1],"tools":[2],"model":"m"}'),
])
def test_tokenizer_is_told_what_the_template_may_use(provider, payload, sent):
    url, body = provider_named(provider).build_count('http://box/v1', 'chat', payload, 'm')
    assert (url.removeprefix('http://box'), body) == (COUNTS[provider], sent)


@pytest.mark.parametrize('provider', ['vllm', 'llamacpp', 'generic'])
def test_prompts_of_several_texts_are_not_counted(provider):
    assert provider_named(provider).build_count('http://box', 'completions', {'prompt': ['a', 'b']}, 'm') is None
