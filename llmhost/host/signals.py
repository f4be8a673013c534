"""What workers tell of a server, from the requests they made: `{"state": …, "error": …, "until": …}`."""

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from llmhost.errors import BadRequestError
from llmhost.host.probe import shown
from llmhost.redaction import secrets_of
from llmhost.storage.servers import Server
from llmhost.storage.status import DOWN, MISCONFIGURED, RATE_LIMITED, UP, ServerStatus

STATES = (UP, DOWN, MISCONFIGURED, RATE_LIMITED)
RATE_LIMIT_PAUSE = 10.0
"""For a rate limit that does not say when it ends."""
MISCONFIGURED_PAUSE = 60.0


@dataclass(slots=True)
class Hold:
    """A state that probes must not overrule before `until`, in Unix seconds."""

    state: str
    until: float
    timer: asyncio.TimerHandle | None = None

    def remaining(self) -> float:
        return max(0.0, self.until - time.time())


@dataclass(frozen=True, slots=True)
class Signal:
    """`until` is when a rate limit ends, in Unix seconds."""

    state: str
    error: str | None = None
    until: float | None = None

    def hold(self, before: Hold | None) -> Hold | None:
        """What is to be held on to. Of two rate limits the longer one counts."""
        now = time.time()
        if self.state == MISCONFIGURED:
            return Hold(self.state, now + MISCONFIGURED_PAUSE)
        if self.state == RATE_LIMITED:
            until = now + RATE_LIMIT_PAUSE if self.until is None else self.until
            return Hold(self.state, max(until, before.until if before and before.state == self.state else until))
        return None


def hold_of(status: ServerStatus) -> Hold | None:
    """What an earlier host held on to."""
    if status.state == RATE_LIMITED and status.until is not None and status.until > time.time():
        return Hold(RATE_LIMITED, status.until)
    return None


def parse_signal(body: bytes) -> Signal:
    """Raises BadRequestError."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequestError('A signal is a JSON object.') from error
    if not isinstance(document, dict) or document.get('state') not in STATES:
        raise BadRequestError(f'A signal is an object whose state is one of {", ".join(STATES)}.')
    text, until = document.get('error'), document.get('until')
    if not isinstance(text, str | None) or not _is_time(until):
        raise BadRequestError("A signal's error is a string or null, its until a number or null.")
    return Signal(document['state'], text, until)


def error_of(signal: Signal, server: Server, variables: Mapping[str, str]) -> str | None:
    """The error to show, without the server's secrets."""
    if signal.error is None or signal.state == UP:
        return None
    return shown(signal.error, secrets_of(server.key(variables), server.headers))


def _is_time(value: Any) -> bool:
    return value is None or isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
