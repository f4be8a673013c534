"""Memory, as /proc has it."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmhost.errors import UnavailableError
from llmhost.host.memory import available_bytes, check_fits, resident_bytes


def test_available_memory_is_known_on_linux() -> None:
    assert (available_bytes() or 0) > 1 << 20


def test_a_small_model_fits_and_a_missing_one_is_not_judged(tmp_path: Path) -> None:
    (tmp_path / 'small.gguf').write_bytes(b'GGUF')
    check_fits(tmp_path / 'small.gguf')
    check_fits(tmp_path / 'missing.gguf')


def test_a_model_that_does_not_fit_is_refused_in_gigabytes(tmp_path: Path) -> None:
    with (tmp_path / 'large.gguf').open('wb') as file:
        file.truncate((available_bytes() or 0) + (4 << 30))
    with pytest.raises(UnavailableError, match=r'It needs about \d+\.\d GB of memory, \d+\.\d GB are free\.'):
        check_fits(tmp_path / 'large.gguf')


def test_resident_memory_is_that_of_the_whole_group() -> None:
    command = [sys.executable, '-c', 'input()']
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as child:
        assert resident_bytes({child.pid})[child.pid] > 100_000
        child.communicate(b'\n')
    assert resident_bytes({child.pid}) == {}
    assert resident_bytes(()) == {}
    assert os.getpgid(0) in resident_bytes({os.getpgid(0)})
