"""One HTTP/1.1 exchange over a pooled connection, its wait for the answer cut into pieces the caller chooses.

The bytes are parsed by httptools (llhttp, in C); sockets are the standard library's, so the same code runs under threads and
under gevent. A read that times out loses nothing and can be tried again: that is what lets a stream send keep-alives while
the upstream is silent, before its head as well as after.
"""

import socket
import ssl
import time
import zlib
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

import httptools

from llmhost.errors import UpstreamBrokenError, UpstreamConnectError, UpstreamTimeoutError
from llmhost.upstream.origin import Origin

RECEIVE_BYTES = 65536
IDLE_LIMIT = 64
IDLE_SECONDS = 50.0

Connect = Callable[[Origin, float], socket.socket]


class Pool:
    """Idle connections of one origin, newest first."""

    def __init__(self, origin: Origin, connect: Connect) -> None:
        self.origin = origin
        self._connect = connect
        self._idle: deque[tuple[socket.socket, float]] = deque()

    def take(self, timeout: float) -> tuple[socket.socket, bool]:
        """A connection, and whether it was used before."""
        while self._idle:
            try:
                connection, since = self._idle.pop()
            except IndexError:  # another thread took it
                break
            if time.monotonic() - since < IDLE_SECONDS:
                return connection, True
            connection.close()
        return self.fresh(timeout), False

    def fresh(self, timeout: float) -> socket.socket:
        """A new connection. Raises UpstreamConnectError."""
        try:
            return self._connect(self.origin, timeout)
        except TimeoutError as error:
            raise UpstreamConnectError(f'No connection to {self.origin} within {timeout:g} s.') from error
        except OSError as error:
            raise UpstreamConnectError(f'Cannot connect to {self.origin}: {reason_of(error)}.') from error

    def give_back(self, connection: socket.socket) -> None:
        if len(self._idle) < IDLE_LIMIT:
            self._idle.append((connection, time.monotonic()))
        else:
            connection.close()

    def close(self) -> None:
        while self._idle:
            self._idle.pop()[0].close()


class Exchange:
    """A request that was sent, and its answer as it comes. Whoever opened it closes it, on every exit.

    `status` and `headers` (names in lower case) are there once `wait_head` returned True.
    """

    def __init__(self, pool: Pool, request: bytes, connect_timeout: float) -> None:
        self.headers: dict[str, str] = {}
        self.status = 0
        self._pool = pool
        self._request = request
        self._connect_timeout = connect_timeout
        self._body: list[bytes] = []
        self._has_head = False
        self._complete = False
        self._reusable = False
        self._silent = True
        self._decoder: zlib._Decompress | None = None
        self._timeout: float | None = -1.0
        self._connection: socket.socket | None = None
        self._reused = False
        self._parser = httptools.HttpResponseParser(self)
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def origin(self) -> Origin:
        """Whom it is with."""
        return self._pool.origin

    def wait_head(self, timeout: float) -> bool:
        """Wait for the answer's status and headers; False when `timeout` seconds brought nothing new.

        Raises UpstreamConnectError or UpstreamBrokenError.
        """
        while not self._has_head:
            if not self._receive(timeout):
                return False
        return True

    def read(self, timeout: float) -> bytes | None:
        """The bytes of the body that came: at least one, or b'' at its end, or None when none came in time.

        Raises UpstreamBrokenError when the connection ends before the body does.
        """
        while not self._body:
            if self._complete:
                return b''
            if not self._receive(timeout):
                return None
        data = self._body[0] if len(self._body) == 1 else b''.join(self._body)
        self._body.clear()
        return data

    def read_all(self, timeout: float) -> bytes:
        """The whole body. Raises UpstreamTimeoutError when `timeout` seconds bring nothing, else as `read`."""
        parts: list[bytes] = []
        while part := self.read(timeout):
            parts.append(part)
        if part is None:
            raise silent_too_long(self._pool.origin, timeout)
        return b''.join(parts)

    def settle(self, timeout: float) -> None:
        """Give the rest of an answer that nobody reads any more a moment to come, so that the connection can be used again."""
        try:
            while not self._complete and self._receive(timeout):
                pass
        except UpstreamBrokenError:
            self._complete = False

    def close(self) -> None:
        """End the exchange: the connection goes back to the pool if its answer was read to the end, else it is closed."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._complete and self._reusable:
            self._pool.give_back(connection)
        else:
            connection.close()

    def _open(self) -> None:
        self._connection, self._reused = self._pool.take(self._connect_timeout)
        try:
            self._send()
        except OSError as error:
            self._again(error)

    def _send(self) -> None:
        assert self._connection is not None
        self._set_timeout(self._connect_timeout)
        sent = self._connection.send(self._request)  # nearly always all of it, without sendall's bookkeeping under gevent
        if sent < len(self._request):
            self._connection.sendall(memoryview(self._request)[sent:])

    def _again(self, error: OSError | None) -> None:
        """Try once more on a new connection where a pooled one had gone stale; before the answer's first byte only."""
        reused, self._reused = self._reused, False
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if not reused or not self._silent:
            raise self._broken(error) from error
        self._connection = self._pool.fresh(self._connect_timeout)
        self._timeout = -1.0
        try:
            self._send()
        except OSError as second:
            raise self._broken(second) from second

    def _broken(self, error: OSError | None) -> UpstreamBrokenError:
        cause = reason_of(error) if error else 'it closed the connection'
        when = 'before its answer was complete' if self._has_head else 'before it answered'
        return UpstreamBrokenError(f'{self._pool.origin} broke off {when}: {cause}.')

    def _receive(self, timeout: float) -> bool:
        """Take in what the upstream sent; False on silence."""
        if self._connection is None:
            raise self._broken(None)
        self._set_timeout(timeout)
        try:
            data = self._connection.recv(RECEIVE_BYTES)
        except TimeoutError:
            return False
        except OSError as error:
            self._again(error)
            return True
        if data:
            self._silent = False
            self._feed(data)
        else:
            self._end_of_input()
        return True

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self._complete:  # more than the answer came: it is whole, but the connection is of no further use
                self._reusable = False
                return
            raise UpstreamBrokenError(f'{self._pool.origin} does not answer in HTTP: {error}.') from error

    def _end_of_input(self) -> None:
        """The connection ended: that is the end of a body without a length, and a fault of any other."""
        if self._has_head and 'content-length' not in self.headers and 'transfer-encoding' not in self.headers:
            self._complete = True
        elif not self._complete:
            self._again(None)

    def _set_timeout(self, timeout: float) -> None:
        if timeout != self._timeout and self._connection is not None:
            self._connection.settimeout(timeout)
            self._timeout = timeout

    # called by the parser

    def on_message_begin(self) -> None:
        self.headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode('latin-1').lower()] = value.decode('latin-1')

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._has_head = self.status >= 200
        encoding = self.headers.get('content-encoding', 'identity')
        if encoding in ('gzip', 'deflate', 'x-gzip'):
            self._decoder = zlib.decompressobj(wbits=47)

    def on_body(self, data: bytes) -> None:
        if self._decoder is not None:
            data = self._decoder.decompress(data)
        if data:
            self._body.append(data)

    def on_message_complete(self) -> None:
        if self._has_head:
            self._complete = True
            self._reusable = self._parser.should_keep_alive()


def silent_too_long(origin: Origin, timeout: float) -> UpstreamTimeoutError:
    return UpstreamTimeoutError(f'{origin} sent nothing for {timeout:g} s.')


def reason_of(error: OSError) -> str:
    """A short cause, without addresses or paths that mean nothing to a reader."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f'its certificate is not trusted ({error.verify_message})'
    if isinstance(error, ssl.SSLError):
        return f'no TLS connection ({(error.reason or "broken off").replace("_", " ").lower()})'
    if isinstance(error, socket.gaierror):
        return 'its name cannot be resolved'
    return (error.strerror or str(error) or type(error).__name__).lower()
