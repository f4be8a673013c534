"""One chat request as it goes over the wire, and what its answer must hold."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

# Stands in the upstream's answer and in the question too, so that the echo's answer passes the same check.
MARKER = b'the quick brown fox'
PLAIN_MODEL = 'bench-model'
STREAM_MODEL = 'bench-stream'
KEY = 'sk-bench-0123456789abcdef0123456789abcdef'


@dataclass(frozen=True)
class HTTPRequest:
    """A POST to 127.0.0.1 on a connection that is kept alive."""

    port: int
    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.port}{self.path}'

    @property
    def all_headers(self) -> dict[str, str]:
        return {'Content-Type': 'application/json', 'Authorization': f'Bearer {KEY}', **self.headers}

    def encode(self) -> bytes:
        headers = {'Host': f'127.0.0.1:{self.port}', 'Content-Length': str(len(self.body)), **self.all_headers}
        lines = [f'POST {self.path} HTTP/1.1', *(f'{name}: {value}' for name, value in headers.items())]
        return '\r\n'.join(lines).encode() + b'\r\n\r\n' + self.body


def build_chat_body(model: str, messages: int, *, stream: bool = False) -> bytes:
    """A chat completion request of `messages` short messages: a system message, then user and assistant in turn."""
    turns = [{'role': 'system', 'content': 'You are a helpful assistant who answers in one sentence.'}]
    for number in range(1, messages):
        turns.append({'role': 'user' if number % 2 else 'assistant', 'content': f'Say {MARKER.decode()}.'})
    payload = {'model': model, 'messages': turns, 'temperature': 0.7}
    return json.dumps({**payload, 'stream': True} if stream else payload).encode()
