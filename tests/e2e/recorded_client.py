"""OpenAI's own client over a transport that keeps every byte of the answers, for OpenAI's own schemas to check."""
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx2
import openai
from openapi_check import check, check_stream

SCHEMAS = {
    '/v1/chat/completions': ('CreateChatCompletionResponse', 'CreateChatCompletionStreamResponse'),
    '/v1/completions': ('CreateCompletionResponse', 'CreateCompletionResponse'),
    '/v1/embeddings': ('CreateEmbeddingResponse', ''),
    '/v1/models': ('ListModelsResponse', ''),
}


@dataclass
class Exchange:
    path: str
    response: httpx2.Response
    body: bytearray = field(default_factory=bytearray)

    def check(self) -> None:
        """AssertionError unless the answer is what OpenAI's schemas say for its path, or its error."""
        document, stream = SCHEMAS.get(self.path, ('Model', ''))
        if self.response.status_code >= 400:
            check('ErrorResponse', json.loads(self.body))
        elif self.response.headers['content-type'].startswith('text/event-stream'):
            check_stream(stream, bytes(self.body))
        else:
            check(document, json.loads(self.body))


class TeeStream(httpx2.SyncByteStream):
    def __init__(self, stream: httpx2.SyncByteStream, copy: bytearray):
        self._stream, self._copy = stream, copy

    def __iter__(self) -> Iterator[bytes]:
        for part in self._stream:
            self._copy += part
            yield part

    def close(self) -> None:
        self._stream.close()


class RecordingTransport(httpx2.HTTPTransport):
    def __init__(self) -> None:
        super().__init__()
        self.exchanges: list[Exchange] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        response = super().handle_request(request)
        exchange = Exchange(urlsplit(str(request.url)).path, response)
        response.stream = TeeStream(response.stream, exchange.body)
        self.exchanges.append(exchange)
        return response


class RecordedClient(openai.OpenAI):
    """Asks once (no retries), and never for a compressed answer."""

    def __init__(self, url: str, key: str):
        self.transport = RecordingTransport()
        http_client = httpx2.Client(transport=self.transport, headers={'Accept-Encoding': 'identity'}, timeout=60)
        super().__init__(base_url=f'{url}/v1', api_key=key, http_client=http_client, max_retries=0)

    def check_exchanges(self) -> None:
        """AssertionError for the first answer that is not as OpenAI's schemas say."""
        assert self.transport.exchanges, 'nothing was asked'
        for exchange in self.transport.exchanges:
            exchange.check()
