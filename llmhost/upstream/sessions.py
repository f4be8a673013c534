"""The pooled requests session all upstream calls go through, and the adapter that carries it.

`session.get(…)` works as everywhere; the request path asks the same adapter for an `Exchange`, which leaves out what a call to
a known server does not need (URL preparation, cookies, redirects, hooks: about 0.2 ms a request) and can wait in pieces.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import requote_uri

from llmhost.errors import UpstreamBrokenError, UpstreamConnectError, UpstreamError, UpstreamTimeoutError
from llmhost.upstream import redirects
from llmhost.upstream.connect import Connector
from llmhost.upstream.origin import Origin, split_url
from llmhost.upstream.transport import Exchange, Pool, silent_too_long

USER_AGENT = 'llmhost'
UNIX_SCHEME = 'unix'


@dataclass(frozen=True, slots=True)
class Target:
    """One address with its fixed headers: the head of every request to it, less the length."""

    origin: Origin
    head: bytes


def build_target(method: str, url: str, headers: Mapping[str, str]) -> Target:
    """`url` is absolute; of a Unix socket, see `unix_target`."""
    origin, path = split_url(url)
    return _target(method, origin, path, headers)


def unix_target(method: str, socket_path: str, path: str) -> Target:
    """A target behind a Unix socket."""
    return _target(method, Origin(UNIX_SCHEME, socket_path), path, {})


def _target(method: str, origin: Origin, path: str, headers: Mapping[str, str]) -> Target:
    fixed = {
        'Host': origin.authority,
        'User-Agent': USER_AGENT,
        'Accept': '*/*',
        'Accept-Encoding': 'identity',
        'Content-Type': 'application/json',
        **headers,
    }
    by_name = {name.lower(): f'{name}: {value}' for name, value in fixed.items()}
    lines = [f'{method} {path} HTTP/1.1', *by_name.values(), '']
    return Target(origin, '\r\n'.join(lines).encode('latin-1', 'replace'))


class UpstreamAdapter(BaseAdapter):
    """Mounted on the session: connection pools by origin, over `Exchange`."""

    def __init__(self, ca_file: str | None = None) -> None:
        super().__init__()
        self._connector = Connector(ca_file)
        self._pools: dict[Origin, Pool] = {}
        self._lock = threading.Lock()

    def begin(self, target: Target, body: bytes, connect_timeout: float, headers: bytes = b'') -> Exchange:
        """Send a request. `headers` are further header lines, each ended by CRLF. Raises UpstreamConnectError."""
        request = b'%b%bContent-Length: %d\r\n\r\n%b' % (target.head, headers, len(body), body)
        return Exchange(self._pool(target.origin), request, connect_timeout)

    def _pool(self, origin: Origin) -> Pool:
        pool = self._pools.get(origin)
        if pool is None:
            with self._lock:
                pool = self._pools.setdefault(origin, Pool(origin, self._connector))
        return pool

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """requests' own way in: reads the whole answer. Raises requests' exceptions, as its callers expect."""
        connect_timeout, read_timeout = timeout if isinstance(timeout, tuple) else (timeout or 10.0, timeout or 10.0)
        body = request.body or b''
        target = build_target(str(request.method), str(request.url), _own_headers(request))
        try:
            with self.begin(target, body if isinstance(body, bytes) else str(body).encode(), connect_timeout) as exchange:
                if not exchange.wait_head(read_timeout):
                    raise silent_too_long(target.origin, read_timeout)
                return _response(request, exchange, exchange.read_all(read_timeout))
        except UpstreamTimeoutError as error:
            raise requests.exceptions.ReadTimeout(str(error), request=request) from error
        except UpstreamConnectError as error:
            raise requests.exceptions.ConnectionError(str(error), request=request) from error
        except UpstreamError as error:
            raise requests.exceptions.ChunkedEncodingError(str(error), request=request) from error

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Download:
    """An answer whose body is still to be read from `exchange`; `redirects` are the headers of the answers that led there."""

    exchange: Exchange
    redirects: tuple[Mapping[str, str], ...]


class UpstreamSession:
    """The session. `begin` is the request path's way, `download` that of large files, `get` everybody else's."""

    def __init__(self, ca_file: str | None = None) -> None:
        self._adapter = UpstreamAdapter(ca_file)
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.mount('http://', self._adapter)
        self._session.mount('https://', self._adapter)
        self.begin = self._adapter.begin

    def get(self, url: str, headers: Mapping[str, str], timeout: float) -> Answer:
        """GET. Redirects are not followed. Raises UpstreamConnectError, UpstreamTimeoutError or UpstreamBrokenError."""
        try:
            answer = self._session.get(url, headers=dict(headers), timeout=timeout, allow_redirects=False)
        except requests.RequestException as error:
            if isinstance(error.__cause__, UpstreamError):
                raise error.__cause__ from error
            raise UpstreamBrokenError(f'{url} cannot be asked: {error}.') from error
        return Answer(answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, answer.content)

    def download(
        self, url: str, headers: Mapping[str, str], own_headers: Mapping[str, str], connect_timeout: float, read_timeout: float,
    ) -> Download:
        """GET, redirects followed. `own_headers` go to the host of `url` alone. Who calls closes the exchange.

        Raises UpstreamError.
        """
        url = requote_uri(url)
        origin = split_url(url)[0]
        passed: list[Mapping[str, str]] = []
        while True:
            own = own_headers if split_url(url)[0] == origin else {}
            exchange = self._open(build_target('GET', url, {**headers, **own}), connect_timeout, read_timeout)
            location = exchange.headers.get('location')
            if exchange.status not in redirects.STATUSES or not location:
                return Download(exchange, tuple(passed))
            exchange.close()
            passed.append(exchange.headers)
            if len(passed) > redirects.LIMIT:
                raise redirects.too_many(url, exchange.status)
            url = redirects.next_url(url, exchange.status, location)

    def _open(self, target: Target, connect_timeout: float, read_timeout: float) -> Exchange:
        """An exchange whose head is there."""
        exchange = self.begin(target, b'', connect_timeout)
        try:
            if exchange.wait_head(read_timeout):
                return exchange
            raise silent_too_long(target.origin, read_timeout)
        except BaseException:
            exchange.close()
            raise

    def close(self) -> None:
        self._session.close()


def _own_headers(request: requests.PreparedRequest) -> dict[str, str]:
    skipped = ('content-length', 'host', 'connection', 'accept-encoding')
    return {name: str(value) for name, value in request.headers.items() if name.lower() not in skipped}


def _response(request: requests.PreparedRequest, exchange: Exchange, body: bytes) -> requests.Response:
    response = requests.Response()
    response.status_code = exchange.status
    response.headers = CaseInsensitiveDict(exchange.headers)
    response.url = str(request.url)
    response.request = request
    response._content = body
    return response
