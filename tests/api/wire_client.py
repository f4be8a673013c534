"""A client that puts bytes on the wire as it pleases, and reads whole answers."""

import json
import socket
from dataclasses import dataclass
from typing import Any, Self

CHAT = '/v1/chat/completions'
HELLO = {'model': 'm', 'messages': [{'role': 'user', 'content': 'Hello'}]}


@dataclass(frozen=True)
class Answer:
    """Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class WireClient:
    """One connection. `key` is sent with every request it builds."""

    def __init__(self, port: int, key: str = '', timeout: float = 10.0):
        self.key = key
        self.socket = socket.create_connection(('127.0.0.1', port), timeout)
        self._received = b''

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def build(self, body: bytes | Any = HELLO, path: str = CHAT, method: str = 'POST', **headers: str) -> bytes:
        """The bytes of a request. A header given as `content_length='9'` takes the place of the usual one."""
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = {'host': 'llmhost', 'authorization': f'Bearer {self.key}', 'content-type': 'application/json',
                 'content-length': str(len(body))}
        lines |= {name.replace('_', '-'): value for name, value in headers.items()}
        if 'transfer-encoding' in lines:
            del lines['content-length']
        head = [f'{method} {path} HTTP/1.1', *(f'{name}: {value}' for name, value in lines.items() if value), '', '']
        return '\r\n'.join(head).encode('latin-1') + body

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(self, *args: Any, **options: Any) -> Answer:
        self.send(self.build(*args, **options))
        return self.read(options.get('method', 'POST'))

    def read(self, method: str = 'POST') -> Answer:
        """The next answer. EOFError when the connection was closed instead."""
        head = self._read_until(b'\r\n\r\n').decode('latin-1')
        first, *lines = head[:-4].split('\r\n')
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(':') for line in lines)}
        status = int(first.split()[1])
        if method == 'HEAD':
            body = b''
        elif headers.get('transfer-encoding') == 'chunked':
            body = self._read_chunked()
        else:
            body = self._read_exactly(int(headers['content-length']))
        return Answer(status, headers, body)

    def is_closed(self) -> bool:
        """Whether the other side closes now, within the time-out."""
        try:
            return not self.socket.recv(1)
        except ConnectionError:
            return True

    def _read_chunked(self) -> bytes:
        body = b''
        while size := int(self._read_until(b'\r\n'), 16):
            body += self._read_exactly(size + 2)[:-2]
        self._read_until(b'\r\n')
        return body

    def _read_until(self, mark: bytes) -> bytes:
        while mark not in self._received:
            self._receive()
        found, mark, self._received = self._received.partition(mark)
        return found + mark

    def _read_exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            self._receive()
        found, self._received = self._received[:size], self._received[size:]
        return found

    def _receive(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        self._received += data
