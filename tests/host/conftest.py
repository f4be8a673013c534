"""A host in a thread, over a data directory of its own, asked over its real socket."""
import json
import os
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llmhost.config import Config
from llmhost.host.thread import HostThread
from llmhost.schemas import load_server
from llmhost.storage.status import ServerStatus, StatusFile
from tests.e2e.processes import wait_until

STUB = Path(__file__).with_name('stub_server.py')


@dataclass
class HostUnderTest:
    """`servers` writes the registry, `start` and `probe` ask the host, `status` reads what it wrote."""
    config: Config

    def __post_init__(self) -> None:
        transport = httpx2.HTTPTransport(uds=str(self.config.host_socket))
        self.client = httpx2.Client(transport=transport, base_url='http://host', timeout=30)
        self.thread = HostThread(self.config, load_server)

    def servers(self, **entries: dict[str, Any]) -> None:
        """These entries, and no others, are in the registry now."""
        self.config.data_dir.mkdir(exist_ok=True)
        beside = self.config.data_dir / 'servers.json.new'
        beside.write_text(json.dumps({'servers': entries}))
        beside.replace(self.config.data_dir / 'servers.json')

    def start(self, name: str) -> httpx2.Response:
        return self.client.post(f'/servers/{name}/start')

    def url(self, name: str) -> str:
        """The URL of a managed server that has to start."""
        response = self.start(name)
        assert response.status_code == 200, response.text
        url: str = response.json()['url']
        return url

    def refusal(self, name: str, status: int = 503) -> str:
        """The message with which a start is refused."""
        response = self.start(name)
        assert response.status_code == status, response.text
        message: str = response.json()['error']['message']
        return message

    def probe(self, name: str) -> dict[str, Any]:
        response = self.client.post(f'/servers/{name}/probe')
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def status(self, name: str) -> ServerStatus:
        """What status.json says now."""
        return StatusFile(self.config.data_dir / 'status.json').current().of(name)

    def wait_for_status(self, name: str, holds: Callable[[ServerStatus], object], timeout: float = 5.0) -> ServerStatus:
        wait_until(lambda: holds(self.status(name)), timeout, f'{name}, which is {self.status(name)}')
        return self.status(name)

    def wait_for_state(self, name: str, state: str, timeout: float = 5.0) -> ServerStatus:
        return self.wait_for_status(name, lambda status: status.state == state, timeout)

    def close(self) -> None:
        self.client.close()
        assert self.thread.stop()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(data_dir=tmp_path / 'data', variables=dict(os.environ), start_timeout=20.0)


@pytest.fixture
def host(config: Config) -> Generator[HostUnderTest]:
    """A running host with an empty registry."""
    yield from started(config)


def started(config: Config) -> Generator[HostUnderTest]:
    under_test = HostUnderTest(config)
    under_test.thread.start()
    try:
        yield under_test
    finally:
        under_test.close()


def stub(*options: str) -> dict[str, Any]:
    """A registry entry of a managed server that starts in no time; `options` are those of stub_server.py."""
    return {'command': ' '.join([sys.executable, '-S', str(STUB), '{port}', *options])}


@pytest.fixture
def impatient_host(config: Config) -> Generator[HostUnderTest]:
    yield from started(replace(config, start_timeout=0.5))


@pytest.fixture
def host_with_keys(config: Config) -> Generator[HostUnderTest]:
    keys = {'LLMHOST_API_KEY': 'secret-1', 'CLOUD': 'secret-2', 'OPENAI_API_KEY': 'secret-3'}
    yield from started(replace(config, variables={**config.variables, **keys, 'CUDA_VISIBLE_DEVICES': '1'}))
