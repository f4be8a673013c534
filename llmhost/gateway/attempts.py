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
from llmhost.gateway.limits import Limiter
from llmhost.gateway.routing import Candidate, Router
from llmhost.hostlink import HostLink
from llmhost.leases import Lease, Leases
from llmhost.redaction import hide
from llmhost.storage.status import DOWN, MISCONFIGURED, RATE_LIMITED, UP
from llmhost.upstream.sessions import UpstreamSession
from llmhost.upstream.transport import Exchange, silent_too_long

T = TypeVar('T')
Waiting = Generator[None, None, T]
"""Yields None while it waits; its value comes at the end."""

WORTH_ANOTHER = frozenset({429, 502, 503, 504, 529})
COOL_SECONDS = 5.0
COOL_LIMIT = 300.0
RESTART_PAUSES = (0.1, 0.3)
STATES = {429: RATE_LIMITED, 401: MISCONFIGURED, 403: MISCONFIGURED}
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
    """Whether another server might do better: this one was not reached, broke off, was silent, or said it cannot now."""
    return not isinstance(error, UpstreamStatusError) or error.status in WORTH_ANOTHER


@dataclass(frozen=True, slots=True)
class Ask:
    """What is sent to a candidate. `tick` is the longest silence before its waiting yields, in seconds."""

    call: Call
    task: str
    build: Callable[[Candidate], bytes]
    tick: float


@dataclass(frozen=True, slots=True)
class Turn:
    """The right to ask a candidate now, at `url`."""

    candidate: Candidate
    url: str


Attempt = Callable[[Turn], Generator[bytes | None, None, T]]


class Attempts:
    """Takes turns at the servers that may answer, and opens exchanges with them."""

    def __init__(
        self, router: Router, http_session: UpstreamSession, hostlink: HostLink, leases: Leases,
        limiter: Limiter, config: Config,
    ) -> None:
        self.router = router
        self._http_session = http_session
        self._hostlink = hostlink
        self._leases = leases
        self._limiter = limiter
        self._config = config

    def iter_first(
        self, call: Call, candidates: list[Candidate], attempt: Attempt[T], tick: float,
    ) -> Generator[bytes | None, None, T]:
        """The value of the first attempt that succeeds. After its first byte was sent on, an attempt is the last."""
        for left, candidate in zip(range(len(candidates) - 1, -1, -1), candidates):
            call.server, call.upstream_model = candidate.name, candidate.model
            call.attempts += 1
            self.router.started(candidate.name)
            try:
                value = yield from self._iter_attempt(call, candidate, attempt, tick)
            except (UpstreamError, UnavailableError) as error:
                hide(error, candidate.route.secrets)
                self._note(candidate, error)
                if call.answering or not left or isinstance(error, UpstreamError) and not is_worth_another(error):
                    raise
            else:
                self._note_success(candidate)
                return value
            finally:
                self.router.ended(candidate.name)
        raise UnavailableError('No server is left to ask.')

    def iter_open(self, ask: Ask, turn: Turn) -> Waiting[Exchange]:
        """An exchange whose head has come with a status below 300. Raises UpstreamError for every other."""
        body = build_body(ask, turn.candidate)
        began = time.perf_counter()
        try:
            return (yield from self._iter_send(ask, turn, body))
        finally:
            ask.call.upstream += time.perf_counter() - began

    def _iter_attempt(
        self, call: Call, candidate: Candidate, attempt: Attempt[T], tick: float,
    ) -> Generator[bytes | None, None, T]:
        """One candidate's attempt. A managed server that died under it is asked again when the host has it back."""
        for pause in (*RESTART_PAUSES, None):
            try:
                return (yield from self._iter_turn(call, candidate, attempt, tick))
            except (UpstreamConnectError, UpstreamBrokenError):
                if call.answering or pause is None or not candidate.route.server.managed:
                    raise
                time.sleep(pause)
        raise AssertionError('The last pause is None.')

    def _iter_turn(
        self, call: Call, candidate: Candidate, attempt: Attempt[T], tick: float,
    ) -> Generator[bytes | None, None, T]:
        """One attempt, with a lease where its server needs one and a slot, which both end with it."""
        server = candidate.route.server
        lease = (yield from self._iter_lease(call, candidate, tick)) if server.is_leased else None
        try:
            yield from self._limiter.iter_acquire(call, tick)
            try:
                return (yield from attempt(Turn(candidate, (lease and lease.url) or server.url or '')))
            finally:
                self._limiter.release()
        finally:
            if lease is not None:
                lease.release()

    def _iter_lease(self, call: Call, candidate: Candidate, tick: float) -> Waiting[Lease]:
        began = time.perf_counter()
        try:
            return (yield from self._leases.iter_acquire(candidate.name, call.key_name, tick))
        finally:
            call.queued += time.perf_counter() - began

    def read_timeout(self, candidate: Candidate) -> float:
        """How long its server may be silent, in seconds."""
        return candidate.route.server.timeout or self._config.read_timeout

    def _iter_send(self, ask: Ask, turn: Turn, body: bytes) -> Waiting[Exchange]:
        candidate = turn.candidate
        target = candidate.route.target(turn.url, ask.task)
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

    def _note(self, candidate: Candidate, error: UpstreamError | UnavailableError) -> None:
        """A server that failed is asked last for a while, as long as it said itself where it did; the host tells the others."""
        seconds = min(error.retry_after or COOL_SECONDS, COOL_LIMIT)
        if isinstance(error, UnavailableError) or is_worth_another(error):
            self.router.cool(candidate.name, seconds)
        state = state_after(error)
        if state is not None and state != candidate.route.status.state and not candidate.route.server.managed:
            until = time.time() + seconds if state == RATE_LIMITED else None
            self._hostlink.signal(candidate.name, state, cause_of(error), until)

    def _note_success(self, candidate: Candidate) -> None:
        """A server that was thought unable answers again."""
        if candidate.route.status.state in (MISCONFIGURED, RATE_LIMITED):
            self._hostlink.signal(candidate.name, UP, None, None)


def state_after(error: UpstreamError | UnavailableError) -> str | None:
    """What an error tells of its server's state. One that may be down is probed at once, and perhaps found well."""
    if isinstance(error, UpstreamStatusError) and error.status in STATES:
        return STATES[error.status]
    return DOWN if isinstance(error, UpstreamError) and is_worth_another(error) else None


def cause_of(error: UpstreamError | UnavailableError) -> str:
    """What is told of it to everyone: an upstream's own words may quote a prompt, so only its status is."""
    if isinstance(error, UpstreamStatusError):
        return f'A request was answered with status {error.status}.'
    return error.message


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
