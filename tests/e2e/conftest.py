"""What the end-to-end tests run: each thing is real, on a free loopback port, with its log shown when a test fails."""
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fake_upstream import FakeUpstream

from .gateway import Gateway
from .llama import Llama, start_llama, start_ranker
from .nginx import Nginx
from .program import LOGS

StartGateway = Callable[..., Gateway]


@pytest.fixture(scope='package')
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llama]:
    """SmolLM2: chat with tools, images and JSON schemas, embeddings."""
    server = start_llama(tmp_path_factory.mktemp('llama'))
    yield server
    server.stop()


@pytest.fixture(scope='package')
def ranker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llama]:
    server = start_ranker(tmp_path_factory.mktemp('ranker'))
    yield server
    server.stop()


@pytest.fixture(scope='module')
def start_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartGateway]:
    """Starts a gateway that answers; all are stopped with the module."""
    with ExitStack() as running:
        def start(workers: int = 2, **settings: str) -> Gateway:
            gateway = Gateway(tmp_path_factory.mktemp('gateway'), workers, **settings)
            running.callback(gateway.stop)
            gateway.wait_until_ready()
            return gateway
        yield start


@pytest.fixture(scope='module')
def start_nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Gateway], Nginx]]:
    """Starts an nginx in front of a gateway; all are stopped with the module."""
    with ExitStack() as running:
        def start(gateway: Gateway) -> Nginx:
            nginx = Nginx(tmp_path_factory.mktemp('nginx'), gateway.port)
            running.callback(nginx.stop)
            nginx.program.wait_until_answers(f'{nginx.url}/livez')
            return nginx
        yield start


@pytest.fixture(scope='module')
def nginx(start_nginx: Callable[[Gateway], Nginx], gateway: Gateway) -> Nginx:
    """In front of the module's own `gateway`."""
    return start_nginx(gateway)


@pytest.fixture(params=['direct', 'nginx'])
def url(request: pytest.FixtureRequest, gateway: Gateway) -> str:
    """The two doors to the module's own `gateway`: a test that asks for it runs twice."""
    return gateway.url if request.param == 'direct' else request.getfixturevalue('nginx').url


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    """A model server that does what the test tells it."""
    with FakeUpstream(models=['m1']) as server:
        yield server


# what was written meanwhile

SIZES = pytest.StashKey[dict[Path, int]]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[SIZES] = {log: log.stat().st_size for log in LOGS if log.exists()}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections += [(f'written meanwhile to {log}', text) for log in LOGS
                            if (text := read_since(log, item.stash[SIZES].get(log, 0)))]
    return report


def read_since(log: Path, size: int) -> str:
    return log.read_bytes()[size:][-6000:].decode(errors='replace') if log.exists() else ''
