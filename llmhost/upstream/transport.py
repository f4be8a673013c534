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
from contextlib import suppress
from types import TracebackType
from typing import Self

import httptools

from llmhost.errors import UpstreamBrokenError, UpstreamConnectError, UpstreamTimeoutError
from llmhost.upstream.origin import Origin

RECEIVE_BYTES = 65536
IDLE_LIMIT = 64
IDLE_SECONDS = 50.0
SEND_BYTES = 262144
SEND_SECONDS = 60.0
HEADER_BYTES = 262144
ANSWER_BYTES = 256 << 20
SETTLE_BYTES = 65536

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
            if time.monotonic() - since < IDLE_SECONDS and is_quiet(connection):
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
        self._header_bytes = 0
        self._send_error: OSError | None = None
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

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
        end = time.monotonic() + timeout
        while not self._has_head:
            if not self._receive(end - time.monotonic()):
                return False
        return True

    def read(self, timeout: float) -> bytes | None:
        """The bytes of the body that came: at least one, or b'' at its end, or None when none came in time.

        Raises UpstreamBrokenError when the connection ends before the body does.
        """
        end = 0.0
        while not self._body:
            if self._complete:
                return b''
            end = end or time.monotonic() + timeout
            if not self._receive(end - time.monotonic()):
                return None
        data = self._body[0] if len(self._body) == 1 else b''.join(self._body)
        self._body.clear()
        return data

    def read_all(self, timeout: float, limit: int = ANSWER_BYTES) -> bytes:
        """The whole body. Raises UpstreamTimeoutError when `timeout` seconds bring nothing, else as `read`.

        A body of more than `limit` bytes is an UpstreamBrokenError.
        """
        parts: list[bytes] = []
        size = 0
        while part := self.read(timeout):
            parts.append(part)
            size += len(part)
            if size > limit:
                raise UpstreamBrokenError(f'{self._pool.origin} answers with more than {limit >> 20} MiB.')
        if part is None:
            raise silent_too_long(self._pool.origin, timeout)
        return b''.join(parts)

    def read_some(self, timeout: float, limit: int) -> bytes:
        """What comes of the body within `timeout` seconds, and `limit` bytes at most; a body cut short is no fault here."""
        end = time.monotonic() + timeout
        text = b''
        with suppress(UpstreamBrokenError):
            while len(text) < limit and (part := self.read(max(0.001, end - time.monotonic()))):
                text += part
        return text[:limit]

    def settle(self, timeout: float) -> None:
        """Give the rest of an answer that nobody reads any more a moment to come, so that the connection can be used again."""
        if not self._complete:
            self.read_some(timeout, SETTLE_BYTES)

    def close(self) -> None:
        """End the exchange: the connection goes back to the pool if its answer was read to the end, else it is closed."""
        connection, self._connection = self._connection, None
        self._parser = None  # they refer to each other: the socket must not wait for the garbage collector
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
        """Send the request; as long as the upstream takes some of it within `SEND_SECONDS`, it may take its time.

        One that stops taking it may have answered already, such as with 413: then its answer is read.
        """
        assert self._connection is not None
        self._set_timeout(SEND_SECONDS)
        sent = 0
        try:
            sent = self._connection.send(self._request)  # nearly always all of it
            rest = memoryview(self._request)
            while sent < len(rest):
                sent += self._connection.send(rest[sent:sent + SEND_BYTES])
        except TimeoutError as error:
            raise silent_too_long(self._pool.origin, SEND_SECONDS) from error
        except OSError as error:
            if not sent:
                raise
            self._send_error = error

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
        error = self._send_error or error
        cause = reason_of(error) if error else 'it closed the connection'
        when = 'before its answer was complete' if self._has_head else 'before it answered'
        return UpstreamBrokenError(f'{self._pool.origin} broke off {when}: {cause}.')

    def _receive(self, timeout: float) -> bool:
        """Take in what the upstream sent; False on silence."""
        if self._connection is None:
            raise self._broken(None)
        self._set_timeout(max(0.001, timeout))
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
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
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
        if self._complete:
            self._reusable = False
            raise ValueError('More than one answer came.')
        self.headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > HEADER_BYTES:
            raise ValueError('Its head is too long.')
        self.headers[name.decode('latin-1').lower()] = value.decode('latin-1')

    def on_headers_complete(self) -> None:
        assert self._parser is not None
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
            self._reusable = self._parser is not None and self._parser.should_keep_alive()


def is_quiet(connection: socket.socket) -> bool:
    """Whether an idle connection is as it was left: open, and nothing came over it.

    What came unasked would be taken for the answer to the next request, perhaps another user's.
    """
    try:
        connection.settimeout(0.0)
        connection.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False
    return False


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
