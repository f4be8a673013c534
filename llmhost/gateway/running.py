"""A running llmhost as its clients see it: what the console asks over HTTP."""

from collections.abc import Generator
from typing import Any
from urllib.parse import urlsplit

import orjson

from llmhost.config import Config
from llmhost.errors import (
    ConfigurationError,
    ConsoleError,
    UpstreamBrokenError,
    UpstreamConnectError,
)
from llmhost.providers.faults import read_fault
from llmhost.upstream.origin import DEFAULT_PORTS
from llmhost.upstream.sessions import UpstreamSession, build_target, unix_target
from llmhost.upstream.sse import EventDecoder
from llmhost.upstream.transport import Exchange, silent_too_long

GET_TIMEOUT = 5.0
SETTLE_SECONDS = 0.2
DONE = b'[DONE]'
ANY_ADDRESS = {'': '127.0.0.1', '0.0.0.0': '127.0.0.1', '::': '::1'}
"""Where a server listens on every address of the machine, and where it is reached from there."""


class RunningGateway:
    """Asks the llmhost at `url`. Raises ConsoleError with the cure where none answers or a key is missing."""

    def __init__(self, http_session: UpstreamSession, config: Config, url: str | None = None, key: str | None = None) -> None:
        self.url = read_url(url) if url else url_of(config)
        self._http_session = http_session
        self._config = config
        self._key = key

    def get(self, path: str) -> bytes:
        """The body of a 200. Raises UpstreamError for every other answer."""
        with self._begin('GET', path, b'') as exchange:
            if not exchange.wait_head(GET_TIMEOUT):
                raise silent_too_long(exchange.origin, GET_TIMEOUT)
            body = exchange.read_all(GET_TIMEOUT)
            self._check(exchange, body)
            return body

    def get_document(self, path: str) -> dict[str, Any]:
        """The JSON object that a 200 brought."""
        try:
            document: Any = orjson.loads(self.get(path))
        except orjson.JSONDecodeError:
            document = None
        if not isinstance(document, dict):
            raise UpstreamBrokenError(f'{self.url} does not answer as an llmhost does.')
        return document

    def iter_events(self, path: str, payload: dict[str, Any], tick: float) -> Generator[bytes | None, None, None]:
        """The data of each event of a stream, or None after each `tick` seconds without any.

        Closing the iterator closes the connection, by which the far side knows to stop. Raises UpstreamError.
        """
        with self._begin('POST', path, orjson.dumps(payload)) as exchange:
            yield from self._iter_wait(exchange, tick)
            if exchange.status != 200:
                self._check(exchange, exchange.read_all(GET_TIMEOUT))
            yield from self._iter_body(exchange, tick)

    def _iter_body(self, exchange: Exchange, tick: float) -> Generator[bytes | None, None, None]:
        decoder, waited = EventDecoder(), 0.0
        while (data := exchange.read(tick)) != b'':
            waited = 0.0 if data else waited + tick
            if waited > self._config.read_timeout:
                raise silent_too_long(exchange.origin, self._config.read_timeout)
            if data is None:
                yield None
                continue
            for event in decoder.feed(data):
                if event == DONE:
                    exchange.settle(SETTLE_SECONDS)
                    return
                yield event
        raise UpstreamBrokenError(f'{self.url} ended its answer before it was complete.')

    def _iter_wait(self, exchange: Exchange, tick: float) -> Generator[None, None, None]:
        waited = 0.0
        while not exchange.wait_head(tick):
            waited += tick
            if waited > self._config.read_timeout:
                raise silent_too_long(exchange.origin, self._config.read_timeout)
            yield

    def _begin(self, method: str, path: str, body: bytes) -> Exchange:
        if self.url.startswith('unix:'):
            target = unix_target(method, self.url.removeprefix('unix:'), path)
        else:
            target = build_target(method, f'{self.url}{path}', {})
        headers = b'Authorization: Bearer %b\r\n' % self._key.encode() if self._key else b''
        try:
            return self._http_session.begin(target, body, self._config.connect_timeout, headers)
        except UpstreamConnectError as error:
            raise ConsoleError(f'No llmhost answers at {self.url}. Start it: flask up') from error

    def _check(self, exchange: Exchange, body: bytes) -> None:
        """Raise what an answer other than 200 means."""
        if exchange.status == 200:
            return
        fault = read_fault(exchange.status, exchange.headers, body)
        if fault.status == 401:
            raise ConsoleError(
                f'{self.url} refuses the API key.' if self._key else
                f'{self.url} needs an API key: set LLMHOST_API_KEY, or name the variable that holds it: --api-key-env VAR')
        raise fault


def url_of(config: Config) -> str:
    """Where the llmhost with these settings is reached from its own machine. Raises ConfigurationError."""
    if config.bind.startswith('unix:'):
        return config.bind
    if config.bind.startswith('fd:'):
        raise ConfigurationError('LLMHOST_BIND is a file descriptor, which has no address: name one, with LLMHOST_BIND=HOST:PORT')
    host, _, port = config.bind.rpartition(':')
    host = ANY_ADDRESS.get(host.strip('[]'), host.strip('[]'))
    return f'http://{f"[{host}]" if ":" in host else host}:{port}'


def read_url(text: str) -> str:
    """The root of the address a person gave, with or without `http://` and `/v1`. Raises ConfigurationError."""
    if text.startswith('unix:'):
        return text
    url = text if '://' in text else f'http://{text}'
    try:
        parts = urlsplit(url)
        usable = parts.scheme in DEFAULT_PORTS and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError(f'{text!r} is no address of an llmhost: it is http://HOST:PORT, or unix:PATH.')
    return url.rstrip('/').removesuffix('/v1')
