"""The rules of `setup.cfg`, in the one test command."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize('command', [
    ['flake8', 'llmhost', 'tests', 'benchmarks'],
    ['isort', '--check-only', '--diff', 'llmhost', 'tests', 'benchmarks'],
    ['mypy'],
], ids=lambda command: command[0])
def test_code_keeps_the_rules_of(command):
    result = subprocess.run([sys.executable, '-m', *command], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
