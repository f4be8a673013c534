"""gunicorn's gevent worker, but for how it stops: it does not wait for idle connections, and ends what is left in words."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gevent import Greenlet, Timeout, getcurrent, socket
from gunicorn.workers.ggevent import GeventWorker

LAST_WORDS_SECONDS = 2.0
LAST_WORDS_SHARE = 0.3
LINGER_SECONDS = 0.01
SEND_TIMEOUT = 60.0


class Worker(GeventWorker):  # type: ignore[misc]
    """nginx, and every client with a pool, keeps idle connections open for a minute; gunicorn would wait for them.

    A little before the graceful time-out, at which the master kills, the requests still running are ended from within: their
    streams can then say so, and their upstream calls are closed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._open: set[Greenlet] = set()
        self._idle: set[Greenlet] = set()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        if type(client) is socket.socket:
            client.__class__ = ClientSocket
        current = getcurrent()
        self._open.add(current)
        try:
            super().handle(listener, client, addr)
        finally:
            self._open.discard(current)

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """Around the wait for a connection's next request."""
        current = getcurrent()
        with Timeout(self.cfg.keepalive if self.alive else LINGER_SECONDS, False):
            self._idle.add(current)
            try:
                yield
            finally:
                self._idle.discard(current)

    def handle_exit(self, sig: int, frame: Any) -> None:
        super().handle_exit(sig, frame)
        end(self._idle)
        limit = float(self.cfg.graceful_timeout)
        gevent.spawn_later(limit - min(LAST_WORDS_SECONDS, limit * LAST_WORDS_SHARE), end, self._open)


class ClientSocket(socket.socket):  # type: ignore[misc]
    """A client's connection. gevent's own `sendall` asks the kernel for the buffer's size before each write.

    A client that takes nothing for `send_timeout` seconds counts as gone, as under nginx: what it holds is others' too.
    """

    __slots__ = ()
    send_timeout = SEND_TIMEOUT

    def sendall(self, data: bytes, flags: int = 0) -> None:
        sent = self._send_some(data, flags)
        while sent < len(data):
            sent += self._send_some(memoryview(data)[sent:], flags)

    def _send_some(self, data: bytes | memoryview, flags: int) -> int:
        """How much went out; 0 after a wait for room. Raises BrokenPipeError, which gunicorn takes for a client's leaving."""
        try:
            return int(self.send(data, flags, timeout=0.0))
        except BlockingIOError:
            gone = BrokenPipeError(errno.EPIPE, 'The client does not read')
            socket.wait_write(self.fileno(), timeout=self.send_timeout, timeout_exc=gone)
            return 0


def end(greenlets: set[Greenlet]) -> None:
    """Raise GreenletExit in each of them, where it waits."""
    for greenlet in list(greenlets):
        greenlet.kill(block=False)
