"""`flask up` where nothing is registered yet: a small model answers, by the very line that is printed."""
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .llama import require_llama
from .processes import wait_until
from .program import ROOT, Program, find_free_port
from .requirements import require_program
from .weights import find_weights

pytestmark = pytest.mark.e2e

MINUTE = 60.0


class Up:
    """`flask up`, started with its own data directory."""

    def __init__(self, folder: Path):
        self.data_dir = folder / 'data'
        self.port = find_free_port()
        self.environ = {**os.environ, 'LLMHOST_API_KEY': '', 'LLMHOST_DATA_DIR': str(self.data_dir)}
        self._folder = folder

    @property
    def command(self) -> list[str]:
        return [sys.executable, '-m', 'flask', 'up', '--port', str(self.port), '--workers', '1']

    def start(self) -> Program:
        return Program(self.command, self._folder / 'up.log', str(self.data_dir), self.environ)


@pytest.fixture
def up(tmp_path: Path) -> Up:
    require_llama()
    return Up(tmp_path)


@pytest.fixture
def start(up: Up) -> Iterator[Callable[[], Program]]:
    programs = []

    def start() -> Program:
        programs.append(up.start())
        return programs[-1]
    yield start
    for program in programs:
        program.stop()


def test_printed_line_gets_a_completion(up: Up, start: Callable[[], Program]) -> None:
    place_weights(up)
    assert try_printed_line(start())


@pytest.mark.slow
def test_first_start_fetches_the_model_within_a_minute(up: Up, start: Callable[[], Program]) -> None:
    started = time.monotonic()
    assert try_printed_line(start())
    assert time.monotonic() - started < MINUTE


def test_without_a_network_it_says_so_and_changes_nothing(up: Up) -> None:
    nowhere = {**up.environ, 'PIP_NO_INDEX': '1', 'PIP_FIND_LINKS': '', 'PIP_CONFIG_FILE': os.devnull}
    done = subprocess.run(up.command, cwd=ROOT, env=nowhere, capture_output=True, text=True, timeout=MINUTE)
    assert done.returncode == 1
    assert 'cannot be fetched' in done.stderr and 'Traceback' not in done.stderr
    assert not (up.data_dir / 'servers.json').exists()
    assert not list((up.data_dir / 'models').glob('**/*.gguf'))


def place_weights(up: Up) -> None:
    """Where an earlier start would have left them."""
    weights = find_weights()
    folder = up.data_dir / 'models'
    folder.mkdir(parents=True)
    (folder / 'SmolLM2-135M-Instruct.Q4_1.gguf').symlink_to(weights)


def try_printed_line(program: Program) -> str:
    """What the model says to the curl line, as soon as it is served."""
    require_program('curl')
    pattern = re.compile('^try it +(curl .*)$', re.MULTILINE)
    wait_until(lambda: pattern.search(program.last_words()), MINUTE, 'the line is printed')
    line = pattern.search(program.last_words())[1]
    done = subprocess.run(f'{line} --silent --retry 20 --retry-delay 1 --retry-connrefused', shell=True,
                          capture_output=True, text=True, timeout=MINUTE)
    return json.loads(done.stdout)['choices'][0]['message']['content']
