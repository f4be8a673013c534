"""Noticing that a client has left while nothing is being written to it.

A WSGI application learns of a closed connection only when it writes; a long wait for an upstream writes nothing. Under
gunicorn's gevent worker the client's socket is known, and one greenlet a worker asks the kernel twice a second which of them
were closed. The greenlet that serves such a client is ended where it waits, by an exception nothing but the edge catches, so
that everything it holds is given back on the way out. Elsewhere (`flask run`, tests) a client's leaving shows at the next
write.
"""

import select
import sys
from types import TracebackType
from typing import Any, Self

INTERVAL = 0.4
HANGUP = getattr(select, 'POLLRDHUP', 0) | select.POLLHUP | select.POLLERR


class ClientGoneError(BaseException):
    """The client closed its connection. No `except Exception` may take it for a fault of something else."""


class Departures:
    """Watches the sockets of the clients that are being served; does nothing where there is no gevent."""

    def __init__(self) -> None:
        self._watched: dict[int, Watch] = {}
        self._poll: Any = None
        self._gevent: Any = None
        self.stopped: tuple[type[BaseException], ...] = ()

    def watch(self, environ: dict[str, Any]) -> 'Watch':
        """A watch over the client of a request."""
        connection = environ.get('gunicorn.socket')
        if connection is None or not self._is_cooperative():
            return Watch(self, -1, None)
        if self._poll is None:
            self._start()
        return Watch(self, connection.fileno(), self._gevent.getcurrent())

    def enter(self, watch: 'Watch') -> None:
        self._watched[watch.descriptor] = watch
        self._poll.register(watch.descriptor, HANGUP)

    def leave(self, watch: 'Watch') -> None:
        if self._watched.get(watch.descriptor) is watch:
            del self._watched[watch.descriptor]
            self._poll.unregister(watch.descriptor)

    def _is_cooperative(self) -> bool:
        monkey = sys.modules.get('gevent.monkey')
        return monkey is not None and bool(monkey.is_module_patched('socket'))

    def _start(self) -> None:
        import gevent  # only workers have it loaded; the console starts faster without
        from gevent import monkey

        self._gevent = gevent
        self.stopped = (gevent.GreenletExit,)
        self._poll = monkey.get_original('select', 'poll')()
        gevent.spawn(self._run)

    def _run(self) -> None:
        while True:
            self._gevent.sleep(INTERVAL)
            for descriptor, _ in self._poll.poll(0) if self._watched else ():
                watch = self._watched.get(descriptor)
                if watch is not None:
                    self._gevent.get_hub().loop.run_callback(watch.client_left)


class Watch:
    """One request's client. While `waiting` is true, its leaving raises ClientGoneError in the greenlet that serves it.

    `stopped` holds what a stopping worker raises there.
    """

    __slots__ = ('descriptor', 'waiting', 'stopped', '_departures', '_greenlet')

    def __init__(self, departures: Departures, descriptor: int, greenlet: Any) -> None:
        self.descriptor = descriptor
        self.waiting = False
        self.stopped = departures.stopped
        self._departures = departures
        self._greenlet = greenlet
        if greenlet is not None:
            departures.enter(self)

    def __enter__(self) -> Self:
        self.waiting = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.waiting = False

    def client_left(self) -> None:
        """Called in the hub, where the greenlet is certain to be waiting for something."""
        if self.waiting:
            self.waiting = False
            self._greenlet.throw(ClientGoneError())

    def close(self) -> None:
        if self._greenlet is not None:
            self._departures.leave(self)
