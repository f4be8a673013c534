"""What `flask top` shows: everything that goes on in a running llmhost, in one document, with its rates."""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmhost.errors import ConsoleError, LLMHostError, UnavailableError, UpstreamBrokenError
from llmhost.gateway.running import RunningGateway
from llmhost.hostlink import HostLink
from llmhost.metrics import iter_readings
from llmhost.storage.status import Status, StatusFile

RATE_SECONDS = 10.0
"""Tokens are counted when an answer ends, in lumps: a rate is taken over this long."""
ERRORS_KEPT = 20
FAILED_FROM = 500
TOO_MANY = 429


@dataclass(frozen=True, slots=True)
class Reading:
    """The counters and gauges at one moment (`at`, of a monotonic clock); counters are by server."""

    at: float
    requests: Mapping[str, float]
    failed: Mapping[str, float]
    prompt_tokens: Mapping[str, float]
    completion_tokens: Mapping[str, float]
    gauges: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Rates:
    """By the second; None while there is nothing to compare with."""

    requests: float | None = None
    prompt_tokens: float | None = None
    completion_tokens: float | None = None


@dataclass(frozen=True, slots=True)
class ServerView:
    """One server. `capacity`, `running` and `waiting` (by key) are None where the host grants no leases for it or is away.

    `since` and `until` (when it may be asked again) are in Unix seconds, `memory` in bytes.
    """

    name: str
    state: str
    since: float | None
    error: str | None
    until: float | None
    models: int | None
    capacity: int | None
    running: Mapping[str, int] | None
    waiting: Mapping[str, int] | None
    memory: int | None
    failed: int
    per_second: Rates


@dataclass(frozen=True, slots=True)
class SeenError:
    """Why a server could not be used; `at` is in Unix seconds."""

    at: float
    server: str
    error: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of it at `at` (Unix seconds). `fault` says why the gateway did not answer; the rest is then empty."""

    url: str
    at: float
    fault: str | None = None
    host: str = 'unknown'
    running: int | None = None
    waiting: int | None = None
    slots: int | None = None
    open_streams: int | None = None
    per_second: Rates = Rates()
    servers: list[ServerView] = field(default_factory=list)
    errors: list[SeenError] = field(default_factory=list)


class Overview:
    """Looks at a running llmhost; each look's rates are against the looks of the last ten seconds."""

    def __init__(
        self, gateway: RunningGateway, hostlink: HostLink, status: StatusFile, clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = gateway.url
        self._gateway = gateway
        self._hostlink = hostlink
        self._status = status
        self._clock = clock
        self._readings: deque[Reading] = deque()
        self._errors: dict[tuple[str, str], SeenError] = {}

    def look(self) -> Snapshot:
        """Raises LLMHostError where the gateway does not answer; what else is away is unknown."""
        health = self._gateway.get_document('/health')
        now = self._read()
        before = self._readings[0] if len(self._readings) > 1 else None
        leases, status = self._leases(), self._observed()
        servers = [
            view_of(name, {'until': status.of(name).until, **entry}, leases.get(name) or {}, (now, before))
            for name, entry in sorted((health.get('servers') or {}).items())
        ]
        self._note(servers, status)
        return Snapshot(
            self.url, time.time(), None, str(health.get('host', 'unknown')),
            running=whole(now.gauges.get('llmhost_running_requests')),
            waiting=whole(now.gauges.get('llmhost_waiting_requests')),
            slots=whole(now.gauges.get('llmhost_slots')),
            open_streams=whole(now.gauges.get('llmhost_open_streams')),
            per_second=rates(now, before), servers=servers, errors=self._recent_errors(),
        )

    def try_look(self) -> Snapshot:
        """As `look`; a gateway that does not answer is a snapshot that says why."""
        try:
            return self.look()
        except LLMHostError as error:
            self._readings.clear()
            return Snapshot(self.url, time.time(), error.message, errors=self._recent_errors())

    def _read(self) -> Reading:
        """The gateway's counters now, kept for later looks to compare with."""
        reading = read_metrics(self._gateway.get('/metrics'), self._clock())
        self._readings.append(reading)
        while len(self._readings) > 2 and reading.at - self._readings[0].at > RATE_SECONDS:
            self._readings.popleft()
        return reading

    def _leases(self) -> dict[str, Any]:
        try:
            return self._hostlink.leases()
        except UnavailableError:
            return {}

    def _observed(self) -> Status:
        try:
            return self._status.current()
        except ConsoleError:
            return Status()

    def _note(self, servers: list[ServerView], status: Status) -> None:
        """Remember each error a server has now: once it answers again its state no longer tells."""
        for server in servers:
            seen = status.of(server.name)
            if server.error:
                at = seen.checked_at if seen.error == server.error else server.since
                self._errors[server.name, server.error] = SeenError(at or time.time(), server.name, server.error)

    def _recent_errors(self) -> list[SeenError]:
        """The last of them, newest first."""
        newest = sorted(self._errors.values(), key=lambda seen: seen.at, reverse=True)[:ERRORS_KEPT]
        self._errors = {(seen.server, seen.error): seen for seen in newest}
        return newest


def read_metrics(body: bytes, at: float) -> Reading:
    """Prometheus' text as a reading. Raises UpstreamBrokenError."""
    requests, failed, prompt, completion = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    gauges: dict[str, float] = {}
    try:
        for name, labels, value in iter_readings(body.decode()):
            server = labels.get('server', '')
            if name == 'llmhost_requests_total':
                requests[server] += value  # type: ignore[assignment]
                failed[server] += value if is_failure(labels.get('status', '')) else 0  # type: ignore[assignment]
            elif name == 'llmhost_tokens_total':
                (prompt if labels.get('direction') == 'prompt' else completion)[server] += value  # type: ignore[assignment]
            elif not labels:
                gauges[name] = value
    except ValueError as error:
        raise UpstreamBrokenError('/metrics does not answer as an llmhost does.') from error
    return Reading(at, requests, failed, prompt, completion, gauges)


def is_failure(status: str) -> bool:
    """Whether an answer's status is a fault of the serving side."""
    return status.isdecimal() and (int(status) >= FAILED_FROM or int(status) == TOO_MANY)


def view_of(
    name: str, entry: Mapping[str, Any], lease: Mapping[str, Any], readings: tuple[Reading, Reading | None],
) -> ServerView:
    """One server, of what `/health`, the host's `/leases` and the counters say."""
    return ServerView(
        name, str(entry.get('state', 'unknown')), entry.get('since'), entry.get('error'), entry.get('until'),
        entry.get('models'), lease.get('capacity'), lease.get('running'), lease.get('waiting'), lease.get('memory'),
        failed=int(readings[0].failed.get(name, 0)), per_second=rates(*readings, name),
    )


def rates(now: Reading, before: Reading | None, server: str | None = None) -> Rates:
    """By the second between two readings, of one server or of all together."""
    if before is None or now.at <= before.at:
        return Rates()
    seconds = now.at - before.at
    return Rates(
        growth(now.requests, before.requests, server) / seconds,
        growth(now.prompt_tokens, before.prompt_tokens, server) / seconds,
        growth(now.completion_tokens, before.completion_tokens, server) / seconds,
    )


def growth(now: Mapping[str, float], before: Mapping[str, float], server: str | None) -> float:
    """How much a counter rose; one that fell was begun anew."""
    names = now.keys() if server is None else (server,)
    return sum(max(0.0, now.get(name, 0.0) - before.get(name, 0.0)) for name in names)


def whole(value: float | None) -> int | None:
    return None if value is None else int(value)
