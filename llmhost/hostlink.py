"""The workers' end of the host's Unix socket: HTTP with JSON bodies, over the same pooled session as everything else."""

import threading
from collections.abc import Mapping
from contextlib import suppress
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

    def probe(self, name: str, timeout: float) -> dict[str, Any]:
        """Have the server `name` probed now; its status."""
        return self._call('POST', f'/servers/{quote(name)}/probe', timeout=timeout)

    def leases(self) -> dict[str, Any]:
        """Who uses and who waits for which server: {name: {"capacity", "running": {key: n}, "waiting": {key: n}}}."""
        return self._call('GET', '/leases')

    def signal(self, name: str, state: str, error: str | None, until: float | None) -> None:
        """Tell what a request found out about the server `name`, for all workers; nobody waits for that."""
        news = orjson.dumps({'state': state, 'error': error, 'until': until})
        threading.Thread(target=self._signal, args=(name, news), daemon=True).start()

    def is_up(self) -> bool:
        """Whether the host answers at all."""
        with suppress(UnavailableError):
            self._call('GET', '/health')
            return True
        return False

    def _signal(self, name: str, news: bytes) -> None:
        with suppress(UnavailableError):
            self._call('POST', f'/servers/{quote(name)}/signal', news)

    def _call(self, method: str, path: str, body: bytes = b'', timeout: float = CONNECT_TIMEOUT) -> dict[str, Any]:
        target = unix_target(method, self._socket_path, path)
        try:
            with self._http_session.begin(target, body, CONNECT_TIMEOUT) as exchange:
                if not exchange.wait_head(timeout):
                    raise away(f'It did not answer within {timeout:g} s.')
                return read_answer(exchange.status, exchange.headers, exchange.read_all(CONNECT_TIMEOUT))
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
