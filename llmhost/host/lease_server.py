"""The leases' socket: one JSON object a line, since a lease must cost less than HTTP does.

    worker  {"server": "gpu", "key": "alice"}        asks; the key is null where there is none
    host    {"loading": true}                        perhaps, once: the model is not ready yet
    host    {"url": "http://127.0.0.1:1", "queued_ms": 3}      granted; the URL is null where the server is not managed
    host    {"error": {"message": "…", "code": "…", "retry_after": 2.0}}      ... or refused
    worker  an empty line                            releases what was granted; then it may ask again

The end of the connection ends its lease, waiting or granted: nothing a dead worker held is left behind.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import orjson

from llmhost.errors import LLMHostError
from llmhost.host.host import Host
from llmhost.host.leases import Lease

LINE_LIMIT_BYTES = 16_384


class LeaseConnection(asyncio.Protocol):
    """One worker's connection, with at most one lease at a time. What it does not understand, it closes."""

    def __init__(self, host: Host, connections: set['LeaseConnection']) -> None:
        self._host = host
        self._connections = connections
        self._transport: asyncio.Transport
        self._rest = b''
        self._lease: Lease | None = None
        self._is_granted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self)
        self._end_lease()

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b'\n')
        for line in lines:
            if not self._transport.is_closing():
                self._take(line)
        if len(self._rest) > LINE_LIMIT_BYTES:
            self.close()

    def close(self) -> None:
        """What is written already still gets there."""
        self._transport.close()
        self._end_lease()

    def _take(self, line: bytes) -> None:
        if self._lease is None:
            if line:
                self._ask(line)
        elif self._is_granted and not line:
            self._end_lease()
        else:
            self.close()

    def _ask(self, line: bytes) -> None:
        asked = _parse(line)
        if asked is None:
            self.close()
            return
        server, key = asked
        self._is_granted = False
        lease = self._lease = Lease(server, key, time.monotonic(), self._grant, self._refuse)
        self._host.ask(lease)
        if self._lease is lease and not self._is_granted and self._host.is_loading(server):
            self._write({'loading': True})

    def _grant(self, url: str | None) -> None:
        assert self._lease is not None
        self._is_granted = True
        self._write({'url': url, 'queued_ms': round((time.monotonic() - self._lease.since) * 1000)})

    def _refuse(self, error: LLMHostError) -> None:
        self._lease = None
        self._write({'error': {'message': error.message, 'code': error.code, 'retry_after': error.retry_after}})

    def _end_lease(self) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            self._host.leave(lease)

    def _write(self, document: dict[str, Any]) -> None:
        self._transport.write(orjson.dumps(document) + b'\n')


def _parse(line: bytes) -> tuple[str, str | None] | None:
    """The server and the key; None where it is no request."""
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict):
        return None
    server, key = document.get('server'), document.get('key')
    return (server, key) if isinstance(server, str) and isinstance(key, str | None) else None


@asynccontextmanager
async def serving_leases(host: Host, listener: socket.socket) -> AsyncIterator[None]:
    """Answer on `listener`; in the end all connections are closed."""
    connections: set[LeaseConnection] = set()
    server = await asyncio.get_running_loop().create_unix_server(lambda: LeaseConnection(host, connections), sock=listener)
    try:
        yield
    finally:
        server.close()
        for connection in list(connections):
            connection.close()
