"""llmhost as its clients see it, in this process: requests go through the front door, upstreams are real servers."""

import json
from typing import Any

from fake_upstream import FakeUpstream
from flask import Flask
from openapi_check import check, check_stream
from werkzeug.test import TestResponse

from llmhost.providers import provider_named
from llmhost.schemas import load_server
from llmhost.storage.servers import server_from
from llmhost.storage.status import UP, ServerStatus

CHAT, COMPLETIONS, EMBEDDINGS = '/v1/chat/completions', '/v1/completions', '/v1/embeddings'
ANSWERS = {
    CHAT: 'CreateChatCompletionResponse', COMPLETIONS: 'CreateCompletionResponse',
    EMBEDDINGS: 'CreateEmbeddingResponse', '/v1/models': 'ListModelsResponse',
}
CHUNKS = {CHAT: 'CreateChatCompletionStreamResponse', COMPLETIONS: 'CreateCompletionResponse'}
KEEP_ALIVE = b': keep-alive\n\n'
MESSAGES = [{'role': 'user', 'content': 'What is the capital of France?'}]


class FrontDoor:
    """Every answer is checked against OpenAI's description of it, errors included."""

    def __init__(self, app: Flask) -> None:
        self.services = app.extensions['llmhost']
        self.client = app.test_client()

    def add(self, name: str, upstream: FakeUpstream | str, models: tuple[str, ...] = ('m',), **fields: Any) -> None:
        """Register a server. Its dialect is `generic` unless said otherwise."""
        url = upstream if isinstance(upstream, str) else upstream.url
        self.services.registry.add(server_from(load_server({'name': name, 'url': url, 'models': list(models), **fields})))

    def observe(self, name: str, state: str = UP, models: Any = None, **fields: Any) -> None:
        """Have the host see a server: its state, and the model list it answered with."""
        servers = dict(self.services.status.current().servers)
        provider = provider_named(self.services.registry.get(name).provider)
        listed = tuple(provider.parse_models(models)) if models else ()
        self.services.status.replace({**servers, name: ServerStatus(state=state, models=listed, **fields)})

    def get(self, path: str) -> TestResponse:
        return checked(path, self.client.get(path))

    def post(self, path: str, payload: Any, **options: Any) -> TestResponse:
        """The answer to `payload`: a document, or bytes sent as they are."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return checked(path, self.client.post(path, data=body, content_type='application/json', buffered=True, **options))

    def chat(self, model: str = 'm', **changes: Any) -> TestResponse:
        return self.post(CHAT, {'model': model, 'messages': MESSAGES, **changes})

    def open(self, path: str = CHAT, **changes: Any) -> TestResponse:
        """A stream that is read as the test goes on, by `response.response`; the test closes it."""
        payload = {'model': 'm', 'messages': MESSAGES, 'stream': True, **changes}
        return self.client.post(path, json=payload, buffered=False)

    def stream(self, path: str = CHAT, **changes: Any) -> 'Stream':
        """A stream read to its end."""
        payload = {'model': 'm', 'messages': MESSAGES, **changes, 'stream': True}
        return Stream(path, self.client.post(path, json=payload, buffered=True))


class Stream:
    """A whole streamed answer: its text, and the documents in it, each checked."""

    def __init__(self, path: str, response: TestResponse) -> None:
        assert response.status_code == 200, response.text
        assert response.content_type.startswith('text/event-stream')
        self.headers = response.headers
        self.text = response.data
        self.documents = check_stream(CHUNKS[path], self.text)
        self.done = self.text.endswith(b'data: [DONE]\n\n')
        self.errors = [document['error'] for document in self.documents if 'error' in document]
        self.chunks = [document for document in self.documents if 'error' not in document]
        self.choices = [choice for chunk in self.chunks for choice in chunk['choices']]
        self.deltas = [choice.get('delta', {}) for choice in self.choices]
        self.usage = next((chunk['usage'] for chunk in self.chunks if chunk.get('usage')), None)

    @property
    def content(self) -> str:
        return ''.join(choice.get('text') or choice.get('delta', {}).get('content') or '' for choice in self.choices)

    @property
    def finish_reason(self) -> str | None:
        return next((choice['finish_reason'] for choice in self.choices if choice['finish_reason']), None)

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The tool calls, put together by their index as clients do."""
        calls: dict[int, dict[str, Any]] = {}
        for delta in self.deltas:
            for part in delta.get('tool_calls') or ():
                call = calls.setdefault(part['index'], {'id': '', 'name': '', 'arguments': ''})
                call['id'] += part.get('id') or ''
                call['name'] += part['function'].get('name') or ''
                call['arguments'] += part['function'].get('arguments') or ''
        assert sorted(calls) == list(range(len(calls)))
        return [calls[index] for index in sorted(calls)]


def checked(path: str, response: TestResponse) -> TestResponse:
    """The answer itself, after its form was compared with OpenAI's."""
    if response.status_code >= 400:
        check('ErrorResponse', response.json)
    elif path in ANSWERS and response.is_json:
        check(ANSWERS[path], response.json)
    return response
