"""The workers' end of the host's Unix socket: HTTP with JSON bodies, over the same pooled session as everything else."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from llmhost.errors import UnavailableError, UpstreamError
from llmhost.upstream.sessions import UpstreamSession, unix_target

CONNECT_TIMEOUT = 2.0
RETRY_AFTER = 2.0


class HostLink:
    """Asks the host. Every wait has a limit; a host that is away is an UnavailableError with `retry_after`."""

    def __init__(self, socket_path: Path, http_session: UpstreamSession) -> None:
        self._socket_path = str(socket_path)
        self._http_session = http_session

    def iter_start(self, name: str, tick: float, timeout: float) -> Iterator[str | None]:
        """Have the managed server `name` running: yields None while that takes (every `tick` seconds), at last its URL."""
        for answer in self._iter_call('POST', f'/servers/{quote(name)}/start', tick, timeout):
            yield None if answer is None else str(answer['url'])

    def probe(self, name: str, timeout: float) -> dict[str, Any]:
        """Have the server `name` probed now; its status."""
        for answer in self._iter_call('POST', f'/servers/{quote(name)}/probe', timeout, timeout):
            if answer is not None:
                return answer
        raise away(f'It did not answer within {timeout:g} s.')

    def is_up(self) -> bool:
        """Whether the host answers at all."""
        try:
            return any(self._iter_call('GET', '/health', CONNECT_TIMEOUT, CONNECT_TIMEOUT))
        except UnavailableError:
            return False

    def _iter_call(self, method: str, path: str, tick: float, timeout: float) -> Iterator[dict[str, Any] | None]:
        target = unix_target(method, self._socket_path, path)
        try:
            with self._http_session.begin(target, b'', CONNECT_TIMEOUT) as exchange:
                waited = 0.0
                while not exchange.wait_head(tick):
                    waited += tick
                    if waited >= timeout:
                        raise away(f'It did not answer within {timeout:g} s.')
                    yield None
                yield read_answer(exchange.status, exchange.headers, exchange.read_all(CONNECT_TIMEOUT))
        except UpstreamError as error:
            raise away('It is starting or restarting.') from error


def read_answer(status: int, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """The host's answer. Raises UnavailableError with its reason, code and pause where it refused."""
    try:
        document: dict[str, Any] = orjson.loads(body)
        if status == 200:
            return document
        reason, code = str(document['error']['message']), document['error'].get('code')
        pause = float(headers.get('retry-after', RETRY_AFTER))
    except (ValueError, TypeError, KeyError) as error:  # a defect of the host's own is told in plain text
        raise away(f'It answered {status}; its log has the cause.') from error
    raise UnavailableError(reason, code=code, retry_after=pause)


def away(reason: str) -> UnavailableError:
    return UnavailableError(f'The host process is away. {reason}', retry_after=RETRY_AFTER)
