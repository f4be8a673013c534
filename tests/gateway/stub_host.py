"""A stand-in for the host process: it answers on the host's Unix socket as it is told to."""

import json
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any, Self


class StubHost(ThreadingMixIn, UnixStreamServer):
    """Every start is answered with `status` and `answer` (bytes as they are) and `headers` after `delay` seconds."""

    daemon_threads = True

    def __init__(self, path: Path, answer: Any, status: int = 200, delay: float = 0.0, **headers: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(str(path), Handler)
        self.answer = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.status = status
        self.delay = delay
        self.headers = headers
        self.started: list[str] = []
        self.stopped = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={'poll_interval': 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: StubHost

    def do_POST(self) -> None:
        host = self.server
        host.started.append(self.path)
        host.stopped.wait(host.delay)
        self.send_response(host.status)
        self.send_header('Content-Length', str(len(host.answer)))
        for name, value in host.headers.items():
            self.send_header(name.replace('_', '-'), value)
        self.end_headers()
        self.wfile.write(host.answer)

    def log_message(self, *_: Any) -> None:
        """Nothing: it is a test."""
