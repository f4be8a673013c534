from collections.abc import Callable, Iterator

import pytest

from llmhost.upstream.sessions import UpstreamSession, build_target
from llmhost.upstream.transport import Exchange

TIMEOUT = 2.0


@pytest.fixture
def http_session() -> Iterator[UpstreamSession]:
    http_session = UpstreamSession()
    yield http_session
    http_session.close()


@pytest.fixture
def begin(http_session: UpstreamSession) -> Callable[..., Exchange]:
    """Open an exchange with `url`."""

    def begin(url: str, body: bytes = b'{}', path: str = '/v1/chat/completions', timeout: float = TIMEOUT) -> Exchange:
        return http_session.begin(build_target('POST', url + path, {}), body, timeout)

    return begin


@pytest.fixture
def ask(begin: Callable[..., Exchange]) -> Callable[..., tuple[int, bytes]]:
    """Status and body of a whole exchange."""

    def ask(url: str, body: bytes = b'{}', timeout: float = TIMEOUT) -> tuple[int, bytes]:
        with begin(url, body) as exchange:
            assert exchange.wait_head(timeout)
            return exchange.status, exchange.read_all(timeout)

    return ask
