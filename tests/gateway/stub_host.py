"""A stand-in for the host process: it grants leases on the host's second socket as it is told to."""

import json
import threading
from contextlib import suppress
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingMixIn, UnixStreamServer
from typing import Any, Self


class StubHost(ThreadingMixIn, UnixStreamServer):
    """Every question is answered with `answers`, a line each (bytes as they are), the last of them after `delay` seconds."""

    daemon_threads = True

    def __init__(self, path: Path, *answers: Any, delay: float = 0.0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(str(path), Handler)
        self.lines = [answer if isinstance(answer, bytes) else json.dumps(answer).encode() + b'\n' for answer in answers]
        self.delay = delay
        self.asked: list[dict[str, Any]] = []
        self.held = 0
        self.stopped = threading.Event()
        self.changed = threading.Condition()

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={'poll_interval': 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.shutdown()
        self.server_close()

    def wait_until_free(self, timeout: float = 2.0) -> bool:
        """Whether every lease was given back in time."""
        with self.changed:
            return self.changed.wait_for(lambda: self.held == 0, timeout)

    def hold(self, count: int) -> None:
        with self.changed:
            self.held += count
            self.changed.notify_all()


class Handler(StreamRequestHandler):
    server: StubHost

    def handle(self) -> None:
        host, holds = self.server, False
        for line in self.rfile:
            if line == b'\n':
                host.hold(-1)
                holds = False
                continue
            host.asked.append(json.loads(line))
            host.hold(1)
            holds = True
            if not self.answer(host):
                break
        if holds:
            host.hold(-1)

    def answer(self, host: StubHost) -> bool:
        """Whether the connection goes on."""
        with suppress(OSError):  # the asker has left
            self.wfile.write(b''.join(host.lines[:-1]))
            host.stopped.wait(host.delay)
            self.wfile.write(host.lines[-1])
            return bool(host.lines[-1])
        return False
