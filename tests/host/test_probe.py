"""What one look at a server brings beside its model list, and what it costs when that fails."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from llmhost.host.probe import Seen, look, open_client
from llmhost.storage.servers import Server
from llmhost.storage.status import DOWN, UP
from tests.fake_upstream import FakeUpstream, Reply

LIST = {'data': [{'id': 'qwen2.5-7b-instruct'}, {'id': 'google/gemma-3-4b'}]}
V1, V0 = '/api/v1/models', '/api/v0/models'
NOT_SERVED = Reply.sample('lmstudio/error_200.json')
KNOWN = {'context_length': 8192, 'capabilities': ['chat', 'completions', 'tools'], 'loaded': True}


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as upstream:
        upstream.always('/v1/models', Reply.json(LIST))
        yield upstream


def seen_of(upstream: FakeUpstream, provider: str = 'lmstudio', timeout: float = 2.0, **fields: Any) -> Seen:
    async def look_once() -> Seen:
        async with open_client(timeout, {}) as client:
            return await look(client, Server('box', provider, upstream.url, **fields), {}, timeout)
    return asyncio.run(look_once())


def first_of(seen: Seen) -> dict[str, Any]:
    assert seen.state == UP and seen.models
    return {name: value for name, value in seen.models[0].items() if name in KNOWN}


def test_native_list_is_merged_into_the_models(upstream: FakeUpstream) -> None:
    upstream.always(V1, Reply.sample('lmstudio/native_v1_models.json'))
    assert first_of(seen_of(upstream)) == KNOWN
    assert [request.path for request in upstream.requests] == ['/v1/models', V1]


@pytest.mark.parametrize('reply', [
    NOT_SERVED, Reply.error(404, 'no'), Reply.error(500, 'no'), Reply(drop=True), Reply.text('<html>'), Reply.text(b'\xff{'),
], ids=['200 with an error', '404', '500', 'dropped', 'html', 'no text'])
def test_older_list_is_asked_where_the_newer_fails(upstream: FakeUpstream, reply: Reply) -> None:
    upstream.always(V1, reply)
    upstream.always(V0, Reply.sample('lmstudio/native_v0_models.json'))
    assert first_of(seen_of(upstream)) == KNOWN


@pytest.mark.parametrize('reply', [
    NOT_SERVED, Reply.error(404, 'no'), Reply.error(401, 'no'), Reply(drop=True), Reply.json([]), Reply.json({'models': 5}),
], ids=['200 with an error', '404', '401', 'dropped', 'array', 'nonsense'])
@pytest.mark.parametrize('provider', ['lmstudio', 'ollama', 'llamacpp'])
def test_server_whose_details_fail_is_up_with_its_plain_list(upstream: FakeUpstream, provider: str, reply: Reply) -> None:
    for path in (V1, V0, '/api/tags', '/api/ps', '/props'):
        upstream.always(path, reply)
    seen = seen_of(upstream, provider)
    assert first_of(seen) == {}
    assert [model['id'] for model in seen.models or ()] == [model['id'] for model in LIST['data']]
    assert seen.error is None


def test_one_detail_that_hangs_leaves_the_others_and_ends_in_time(upstream: FakeUpstream) -> None:
    upstream.always('/v1/models', Reply.sample('ollama/models.json'))
    upstream.always('/api/tags', Reply(hang=True))
    upstream.always('/api/ps', Reply.sample('ollama/ps.json'))
    began = time.monotonic()
    assert first_of(seen_of(upstream, 'ollama', timeout=0.5)) == {'context_length': 4096, 'loaded': True}
    assert time.monotonic() - began < 1.0


def test_details_are_asked_with_the_key_and_the_headers(upstream: FakeUpstream) -> None:
    seen_of(upstream, 'ollama', api_key='sk-1', headers={'X-Team': 'blue'})
    asked = {request.path: (request.headers['authorization'], request.headers['x-team']) for request in upstream.requests}
    assert asked == dict.fromkeys(('/v1/models', '/api/tags', '/api/ps'), ('Bearer sk-1', 'blue'))


def test_no_detail_is_asked_of_a_server_that_lists_nothing(upstream: FakeUpstream) -> None:
    upstream.always('/v1/models', Reply.error(500, 'no'))
    assert seen_of(upstream).state == DOWN
    assert len(upstream.requests) == 1
