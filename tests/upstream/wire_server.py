"""A TCP server that sends the bytes it is told to, for what no HTTP server would say."""

import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import Self

PAUSE = b'<pause>'
PAUSE_SECONDS = 0.02


class WireServer:
    """The first connection gets the first script, the second the next, and so on; the last stays for all that follow.

    A script is the answers to the requests on its connection, in turn; after the last, the connection is closed. An answer of
    b'' is that close itself, `PAUSE` in one a moment that keeps what is on both sides of it from arriving together. `greeting`
    is sent before any request. `requests` holds (connection, bytes), counted from 1.
    """

    def __init__(self, *scripts: list[bytes], tls: ssl.SSLContext | None = None, greeting: bytes = b'') -> None:
        self.requests: list[tuple[int, bytes]] = []
        self.accepted = 0
        self._scripts = scripts
        self._tls = tls
        self._greeting = greeting
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._listener, *self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    @property
    def url(self) -> str:
        return f'{"https" if self._tls else "http"}://127.0.0.1:{self.port}'

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._open.append(connection)
            script = self._scripts[min(self.accepted, len(self._scripts)) - 1]
            thread = threading.Thread(target=self._serve, args=[connection, self.accepted, script], daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, number: int, script: list[bytes]) -> None:
        with connection, suppress(OSError):
            served = self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
            with served:
                served.sendall(self._greeting)
                for answer in script:
                    request = read_request(served)
                    if not request:
                        return
                    self.requests.append((number, request))
                    for position, part in enumerate(answer.split(PAUSE)):
                        time.sleep(PAUSE_SECONDS if position else 0)
                        served.sendall(part)


def read_request(connection: socket.socket) -> bytes:
    """One request, head and body; b'' when the client closed the connection."""
    received = b''
    while b'\r\n\r\n' not in received:
        part = connection.recv(65536)
        if not part:
            return b''
        received += part
    head, _, body = received.partition(b'\r\n\r\n')
    length = next((int(line[15:]) for line in head.lower().split(b'\r\n') if line.startswith(b'content-length:')), 0)
    while len(body) < length:
        body += connection.recv(65536)
    return head + b'\r\n\r\n' + body
