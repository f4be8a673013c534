"""What gunicorn's command line says goes for the workers and the host too."""
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmhost.schemas import load_key
from llmhost.storage.keys import KeyStore

from .gateway import Gateway
from .program import find_free_port
from .wire import Call

pytestmark = pytest.mark.e2e


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / 'data' / 'keys.json', load_key)


@pytest.fixture
def exposed(tmp_path: Path, keys: KeyStore) -> Iterator[Gateway]:
    """LLMHOST_BIND is loopback, the command line names every address; counters are in a folder of the operator's."""
    keys.create('only')
    (tmp_path / 'counters').mkdir()
    gateway = Gateway(tmp_path, 1, GUNICORN_CMD_ARGS=f'-b 0.0.0.0:{find_free_port()} -b 127.0.0.1:{find_free_port()}',
                      PROMETHEUS_MULTIPROC_DIR=str(tmp_path / 'counters'))
    gateway.port = int(gateway.environ['GUNICORN_CMD_ARGS'].split()[1].rpartition(':')[2])
    gateway.wait_until_ready()
    yield gateway
    gateway.stop()


def test_address_of_the_command_line_stays_shut_when_the_last_key_goes(exposed: Gateway, keys: KeyStore) -> None:
    keys.revoke('only')
    with Call(f'{exposed.url}/v1/models') as call:
        assert call.status == 401


def test_folder_of_counters_outlives_a_gateway_it_was_lent_to(exposed: Gateway, tmp_path: Path) -> None:
    exposed.program.signal(signal.SIGTERM)
    assert exposed.program.wait(10) == 0
    assert (tmp_path / 'counters').is_dir()
