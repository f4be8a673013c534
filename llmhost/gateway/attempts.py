"""Asking one server after the other, until one answers.

Everything that waits is a generator: it yields None each time `tick` seconds passed in silence, so that a stream can be kept
alive while it queues, while a model loads and while the upstream thinks. Who needs no keep-alives drains it (`drain`).
"""

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

import orjson

from llmhost.config import Config
from llmhost.errors import (
    BadRequestError,
    UnavailableError,
    UpstreamBrokenError,
    UpstreamConnectError,
    UpstreamError,
    UpstreamStatusError,
)
from llmhost.gateway.call import Call
from llmhost.gateway.routing import Candidate, Router
from llmhost.hostlink import HostLink
from llmhost.redaction import hide
from llmhost.storage.status import UP
from llmhost.upstream.sessions import UpstreamSession
from llmhost.upstream.transport import Exchange, silent_too_long

T = TypeVar('T')
Waiting = Generator[None, None, T]
"""Yields None while it waits; its value comes at the end."""

WORTH_ANOTHER = frozenset({429, 502, 503, 504, 529})
COOL_SECONDS = 5.0
COOL_LIMIT = 300.0
ERROR_BODY_TIMEOUT = 10.0
ERROR_BODY_BYTES = 1 << 20


def drain(waiting: Generator[object, None, T]) -> T:
    """The value of a generator whose ticks nobody needs."""
    while True:
        try:
            next(waiting)
        except StopIteration as stop:
            value: T = stop.value
            return value


def is_worth_another(error: UpstreamError) -> bool:
    """Whether another server might do better: this one was not reached, broke off, or said it cannot now."""
    if isinstance(error, UpstreamStatusError):
        return error.status in WORTH_ANOTHER
    return isinstance(error, (UpstreamConnectError, UpstreamBrokenError))


@dataclass(frozen=True, slots=True)
class Ask:
    """What is sent to a candidate. `tick` is the longest silence before its waiting yields, in seconds."""

    call: Call
    task: str
    build: Callable[[Candidate], bytes]
    tick: float


class Attempts:
    """Opens exchanges with the servers that may answer."""

    def __init__(self, router: Router, http_session: UpstreamSession, hostlink: HostLink, config: Config) -> None:
        self.router = router
        self._http_session = http_session
        self._hostlink = hostlink
        self._config = config

    def iter_first(
        self, call: Call, candidates: list[Candidate], attempt: Callable[[Candidate], Generator[bytes | None, None, T]],
    ) -> Generator[bytes | None, None, T]:
        """The value of the first attempt that succeeds. After its first byte was sent on, an attempt is the last."""
        for left, candidate in zip(range(len(candidates) - 1, -1, -1), candidates):
            call.server = candidate.name
            call.attempts += 1
            self.router.started(candidate.name)
            try:
                return (yield from attempt(candidate))
            except (UpstreamError, UnavailableError) as error:
                hide(error, candidate.route.secrets)
                self._note(candidate, error)
                if call.answering or not left or isinstance(error, UpstreamError) and not is_worth_another(error):
                    raise
            finally:
                self.router.ended(candidate.name)
        raise UnavailableError('No server is left to ask.')

    def iter_open(self, ask: Ask, candidate: Candidate) -> Waiting[Exchange]:
        """An exchange whose head has come with a status below 300. Raises UpstreamError for every other."""
        began = time.perf_counter()
        body = build_body(ask, candidate)
        url = yield from self._iter_url(candidate, ask.tick)
        try:
            try:
                exchange = yield from self._iter_send(ask, candidate, url, body)
            except (UpstreamConnectError, UpstreamBrokenError):
                if not candidate.route.server.managed:
                    raise
                url = yield from self._iter_start(candidate, ask.tick)
                exchange = yield from self._iter_send(ask, candidate, url, body)
        finally:
            ask.call.upstream += time.perf_counter() - began
        return exchange

    def read_timeout(self, candidate: Candidate) -> float:
        """How long its server may be silent, in seconds."""
        return candidate.route.server.timeout or self._config.read_timeout

    def _iter_send(self, ask: Ask, candidate: Candidate, url: str, body: bytes) -> Waiting[Exchange]:
        target = candidate.route.target(url, ask.task)
        request_id = b'X-Request-Id: %b\r\n' % ask.call.request_id.encode('latin-1')
        exchange = self._http_session.begin(target, body, self._config.connect_timeout, request_id)
        try:
            yield from self._iter_head(exchange, candidate, ask.tick)
            if exchange.status >= 300:
                raise refusal(exchange, candidate)
        except BaseException:
            exchange.close()
            raise
        return exchange

    def _iter_head(self, exchange: Exchange, candidate: Candidate, tick: float) -> Waiting[None]:
        limit = self.read_timeout(candidate)
        waited = 0.0
        while not exchange.wait_head(min(tick, limit - waited)):
            waited += tick
            if waited >= limit:
                raise silent_too_long(exchange.origin, limit)
            yield

    def _iter_url(self, candidate: Candidate, tick: float) -> Waiting[str]:
        """Where the server listens; a managed one is started where it does not run."""
        server, status = candidate.route.server, candidate.route.status
        if server.url is not None:
            return server.url
        if status.state == UP and status.url:
            return status.url
        return (yield from self._iter_start(candidate, tick))

    def _iter_start(self, candidate: Candidate, tick: float) -> Waiting[str]:
        for url in self._hostlink.iter_start(candidate.name, tick, self._config.start_timeout):
            if url is not None:
                return url
            yield
        raise UnavailableError(f"The server '{candidate.name}' did not start.")

    def _note(self, candidate: Candidate, error: UpstreamError | UnavailableError) -> None:
        """A server that failed is asked last for a while; as long as it said itself, where it did."""
        if isinstance(error, UnavailableError) or is_worth_another(error):
            self.router.cool(candidate.name, min(error.retry_after or COOL_SECONDS, COOL_LIMIT))


def build_body(ask: Ask, candidate: Candidate) -> bytes:
    """The candidate's request body. Raises BadRequestError for what can be read but not written again."""
    try:
        return ask.build(candidate)
    except orjson.JSONEncodeError as error:
        raise BadRequestError('The JSON body is nested too deeply to be passed on.') from error


def refusal(exchange: Exchange, candidate: Candidate) -> UpstreamError:
    """The error an answer with status 300 or above means."""
    if exchange.status < 400:
        return UpstreamBrokenError(
            f"The server '{candidate.name}' redirects to another address; give that to 'flask servers update'.")
    body = exchange.read_some(ERROR_BODY_TIMEOUT, ERROR_BODY_BYTES)
    return candidate.route.provider.parse_error(exchange.status, exchange.headers, body)
