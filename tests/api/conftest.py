"""A real llmhost under gunicorn: what only shows on the wire."""

from collections.abc import Iterator

import pytest
from e2e.gateway import Gateway
from fake_upstream import FakeUpstream

from .wire_client import WireClient

KEY = 'sk-for-this-address-only'
MAX_BODY_BYTES = 100_000


@pytest.fixture(scope='module')
def behind() -> Iterator[FakeUpstream]:
    """The model server behind `gateway`."""
    with FakeUpstream(models=['m']) as upstream:
        yield upstream


@pytest.fixture(scope='module')
def gateway(tmp_path_factory: pytest.TempPathFactory, behind: FakeUpstream) -> Iterator[Gateway]:
    """One worker that asks for KEY and takes small bodies."""
    gateway = Gateway(
        tmp_path_factory.mktemp('gateway'), workers=1, LLMHOST_API_KEY=KEY, LLMHOST_MAX_BODY_BYTES=str(MAX_BODY_BYTES))
    try:
        gateway.wait_until_ready()
        gateway.flask('servers', 'add', 'one', behind.url, '--model', 'm')
        yield gateway
    finally:
        gateway.stop()


@pytest.fixture
def wire(gateway: Gateway) -> Iterator[WireClient]:
    with WireClient(gateway.port, KEY) as wire:
        yield wire
