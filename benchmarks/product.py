"""What is measured: a program that is started in front of the upstream, and the requests it takes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.http_request import PLAIN_MODEL, STREAM_MODEL, HTTPRequest, build_chat_body
from benchmarks.processes import Processes
from benchmarks.upstream import Upstream


@dataclass(frozen=True)
class Site:
    """Where a product is started: its processes (and folder), the upstream, where the rivals are installed."""

    processes: Processes
    upstream: Upstream
    port: int
    messages: int
    litellm: str | None
    portkey: Path | None

    def build_plain(self, port: int | None = None, path: str = '/v1/chat/completions',
                    headers: dict[str, str] | None = None) -> HTTPRequest:
        return HTTPRequest(port or self.port, path, build_chat_body(PLAIN_MODEL, self.messages), headers or {})

    def build_stream(self, port: int | None = None, path: str = '/v1/chat/completions',
                     headers: dict[str, str] | None = None) -> HTTPRequest:
        body = build_chat_body(STREAM_MODEL, self.messages, stream=True)
        return HTTPRequest(port or self.port, path, body, headers or {})


@dataclass(frozen=True)
class Started:
    """A product that was started: its root process, and its requests. No `stream`: it has nothing to stream."""

    pid: int
    plain: HTTPRequest
    stream: HTTPRequest | None = None
    has_host: bool = False


@dataclass(frozen=True)
class Product:
    """`start` raises NotRun where the product is not installed; it need not wait until the product answers."""

    name: str
    start: Callable[[Site], Started]
    start_timeout: float = 30.0
