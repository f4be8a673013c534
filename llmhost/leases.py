"""The workers' end of leases: the right to use one slot of a server, held by an open connection to the host.

The host's second Unix socket speaks lines of JSON. A worker asks `{"server": …, "key": …}`, is granted `{"url": …}` or refused
`{"error": {…}}`, and gives the lease back with an empty line, after which the connection can carry the next one. A connection
that ends, for whatever reason, ends its lease: nobody can leak one.
"""

import time
from collections.abc import Generator
from pathlib import Path
from socket import socket
from typing import Any

import orjson

from llmhost.errors import LLMHostError, RateLimitError, UnavailableError, UpstreamConnectError
from llmhost.upstream.connect import Connector
from llmhost.upstream.origin import Origin
from llmhost.upstream.sessions import UNIX_SCHEME
from llmhost.upstream.transport import Pool

CONNECT_TIMEOUT = 2.0
AWAY_PATIENCE = 2.0
"""Longer than a host takes to come back."""
AWAY_PAUSE = 0.1
RETRY_AFTER = 2.0
LINE_BYTES = 65536


class Lease:
    """One slot. `url` is where a managed server listens; None for others."""

    __slots__ = ('url', '_pool', '_connection')

    def __init__(self, url: str | None, pool: Pool, connection: socket) -> None:
        self.url = url
        self._pool = pool
        self._connection = connection

    def release(self) -> None:
        """Give it back. A host that went away meanwhile has forgotten it already."""
        try:
            self._connection.send(b'\n')
        except OSError:
            self._connection.close()
        else:
            self._pool.give_back(self._connection)


class Leases:
    """Asks the host for leases, over pooled connections."""

    def __init__(self, socket_path: Path, queue_timeout: float, start_timeout: float) -> None:
        self._pool = Pool(Origin(UNIX_SCHEME, str(socket_path)), Connector())
        self._queue_timeout = queue_timeout
        self._start_timeout = start_timeout

    def iter_acquire(self, server: str, key: str | None, tick: float) -> Generator[None, None, Lease]:
        """A lease of `server` for `key`; yields every `tick` seconds while waiting. Leaving early gives the place in line up.

        Raises RateLimitError (the queue is full, or no turn in time) and UnavailableError (the server cannot be started, or the
        host is away for longer than a restart takes).
        """
        question = orjson.dumps({'server': server, 'key': key}) + b'\n'
        away_since, ticked = None, time.monotonic()
        while True:
            reused = False
            try:
                connection, reused = self._pool.take(CONNECT_TIMEOUT)
                return (yield from self._iter_ask(connection, question, tick))
            except (OSError, UpstreamConnectError) as error:
                now = time.monotonic()
                away_since = away_since or now
                if now - away_since > min(AWAY_PATIENCE, self._queue_timeout):
                    raise away() from error
            if not reused:  # a pooled one may just be stale
                time.sleep(AWAY_PAUSE)
                if now - ticked >= tick:
                    ticked = now
                    yield

    def close(self) -> None:
        self._pool.close()

    def _iter_ask(self, connection: socket, question: bytes, tick: float) -> Generator[None, None, Lease]:
        try:
            connection.settimeout(tick)
            connection.sendall(question)
            answer = yield from self._iter_answer(connection, tick)
            if 'error' in answer:
                raise refusal(answer['error'])
            return Lease(answer['url'], self._pool, connection)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            connection.close()
            raise ConnectionError('The host answers nonsense.') from error
        except BaseException:
            connection.close()
            raise

    def _iter_answer(self, connection: socket, tick: float) -> Generator[None, None, dict[str, Any]]:
        """The grant or the refusal. A model that loads may take longer than a place in line."""
        limit, waited, text = self._queue_timeout, 0.0, b''
        while True:
            began = time.monotonic()
            try:
                connection.settimeout(max(0.001, min(tick, limit - waited)))
                data = connection.recv(LINE_BYTES)
                if not data:
                    raise ConnectionResetError('The host closed the connection.')
                text += data
            except TimeoutError:
                if limit - waited > tick:
                    yield
            waited += time.monotonic() - began
            *lines, text = text.split(b'\n')
            for line in lines:
                answer: dict[str, Any] = orjson.loads(line)
                if not answer.get('loading'):
                    return answer
                limit = self._start_timeout
            if waited >= limit:
                raise no_turn(limit, loading=limit == self._start_timeout)


def refusal(error: dict[str, Any]) -> LLMHostError:
    """What the host refused a lease for."""
    message, retry_after = str(error['message']), error.get('retry_after') or RETRY_AFTER
    if error.get('code') == RateLimitError.code:
        return RateLimitError(message, retry_after=retry_after)
    code = error.get('code')
    return UnavailableError(message, code=code if isinstance(code, str) else None, retry_after=retry_after)


def no_turn(limit: float, loading: bool) -> LLMHostError:
    if loading:
        return UnavailableError(f'The model did not load within {limit:g} s.', retry_after=RETRY_AFTER)
    retry_after = max(1, round(limit / 6))
    return RateLimitError(
        f'Rate limit reached: the server has no free slot, and no turn came within {limit:g} s. '
        f'Please try again in {retry_after}s.', retry_after=retry_after)


def away() -> UnavailableError:
    return UnavailableError('The host process is away: it is starting or restarting.', retry_after=RETRY_AFTER)
