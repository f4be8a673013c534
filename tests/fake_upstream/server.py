"""The listening socket, a thread a connection, the script of answers, and what a test can ask and wait for."""
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

from .connection import ClientGone, Connection
from .dialect import Dialect
from .replies import Reply, Request

Answer = Reply | Callable[[Request], Reply]
ANY = '*'


class FakeUpstream:
    """A model server on 127.0.0.1. Options are the fields of `Dialect`; `port` 0 takes a free one."""

    def __init__(self, port: int = 0, **options: Any):
        self.dialect = Dialect(**options)
        self.requests: list[Request] = []
        """All requests since the start or `reset`, in order of arrival."""
        self.accepted = 0
        """Connections accepted so far."""
        self.under_way = 0
        """Requests being answered now; `peak` is the most there were at once."""
        self.peak = 0
        self._port = port
        self._changed = threading.Condition()
        self._once: dict[str, deque[Answer]] = defaultdict(deque)
        self._always: dict[str, Answer] = {}
        self._connections: set[Connection] = set()
        self._threads: set[threading.Thread] = set()
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._waited = {'request': 0, 'gone': 0}
        self._gone: list[float] = []

    def __enter__(self) -> Self:
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def listen(self) -> None:
        """Start, or come back after `refuse` on the same port."""
        self._listener = socket.create_server(('127.0.0.1', self._port), backlog=1024)
        self._port = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, args=[self._listener], daemon=True)
        self._acceptor.start()

    def refuse(self) -> None:
        """Be down: new connections are refused, open ones closed. `listen` comes back."""
        if self._listener:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._acceptor.join()
            self._listener.close()
            self._listener = None
        with self._changed:
            for connection in self._connections:
                connection.abort()

    def stop(self) -> None:
        """Close everything and wait for the threads; RuntimeError when one does not end within five seconds."""
        self.refuse()
        for thread in list(self._threads):
            thread.join(5)
            if thread.is_alive():
                raise RuntimeError(f'{thread.name} of the fake upstream does not end')

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self._port}'

    @property
    def port(self) -> int:
        return self._port

    def answer(self, path: str, *replies: Answer) -> None:
        """The next requests to `path` ('*': to any) get these, in turn, before anything else. A reply may be a function
        of the request."""
        with self._changed:
            self._once[path].extend(replies)

    def always(self, path: str, reply: Answer) -> None:
        """Every request to `path` ('*': to any) gets this."""
        with self._changed:
            self._always[path] = reply

    def reset(self) -> None:
        """Forget all answers that were set and all requests that came; connections stay open."""
        with self._changed:
            self._once.clear()
            self._always.clear()
            self.requests.clear()
            self._gone.clear()
            self._waited = dict.fromkeys(self._waited, 0)
            self.peak = self.under_way

    def _pick(self, request: Request) -> Reply:
        with self._changed:
            found: Answer = self.dialect.answer
            for path in (request.path, ANY):
                if self._once.get(path):
                    found = self._once[path].popleft()
                    break
                if path in self._always:
                    found = self._always[path]
                    break
        return found if isinstance(found, Reply) else found(request)

    @property
    def open_connections(self) -> int:
        """Connections neither side is known to have closed."""
        return len(self._connections)

    def wait_until(self, holds: Callable[[Self], bool], timeout: float = 2.0) -> None:
        """Wait until `holds(self)`, asked again after each change here; TimeoutError after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: holds(self), timeout):
                raise TimeoutError(f'not within {timeout} s: {len(self.requests)} requests, {self.under_way} under way,'
                                   f' {self.open_connections} connections')

    def wait_for_request(self, timeout: float = 2.0) -> Request:
        """The first request that no earlier call returned, as soon as it has been read; TimeoutError."""
        return self._next('request', self.requests, timeout)

    def wait_for_disconnect(self, timeout: float = 2.0) -> float:
        """When (time.monotonic) a client left its request before the answer was complete: the first such case that no
        earlier call returned. The request itself has it as `gone_at`. TimeoutError."""
        return self._next('gone', self._gone, timeout)

    def _next(self, kind: str, happened: list[Any], timeout: float) -> Any:
        with self._changed:
            self.wait_until(lambda _: len(happened) > self._waited[kind], timeout)
            self._waited[kind] += 1
            return happened[self._waited[kind] - 1]

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with self._changed:
                self.accepted += 1
                connection = Connection(sock, self.accepted)
                self._connections.add(connection)
                thread = threading.Thread(target=self._serve, args=[connection], daemon=True,
                                          name=f'connection {self.accepted}')
                self._threads.add(thread)
                self._changed.notify_all()
            thread.start()

    def _serve(self, connection: Connection) -> None:
        try:
            while (request := connection.read_request()) and self._serve_request(connection, request):
                pass
        finally:
            with self._changed:
                connection.close()
                self._connections.discard(connection)
                self._threads.discard(threading.current_thread())
                self._changed.notify_all()

    def _serve_request(self, connection: Connection, request: Request) -> bool:
        self._record(request)
        try:
            return connection.send_reply(request, self._pick(request))
        except ClientGone:
            if not connection.aborted:
                self._record_gone(request)
            return False
        finally:
            with self._changed:
                self.under_way -= 1
                self._changed.notify_all()

    def _record(self, request: Request) -> None:
        with self._changed:
            self.requests.append(request)
            request.number = len(self.requests)
            self.under_way += 1
            self.peak = max(self.peak, self.under_way)
            self._changed.notify_all()

    def _record_gone(self, request: Request) -> None:
        with self._changed:
            request.gone_at = time.monotonic()
            self._gone.append(request.gone_at)
            self._changed.notify_all()
