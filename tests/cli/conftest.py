from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from flask.testing import FlaskCliRunner


@pytest.fixture
def run(runner: FlaskCliRunner) -> Callable[..., Result]:
    """What a command line does, with `typed` on its standard input. An exception that is not its exit is raised."""
    def run(*arguments: str, typed: str | None = None) -> Result:
        result = runner.invoke(args=arguments, input=typed)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result
    return run


@pytest.fixture
def refused(run: Callable[..., Result]) -> Callable[..., str]:
    """The one line on stderr of a command that fails with this exit code and prints nothing else."""
    def refused(*arguments: str, code: int = 1, typed: str | None = None) -> str:
        result = run(*arguments, typed=typed)
        *usage, line = result.stderr.splitlines()
        assert (result.exit_code, result.stdout) == (code, ''), result.output
        assert line.startswith('Error: ')
        assert bool(usage) == (code == 2)
        return line.removeprefix('Error: ')
    return refused


@pytest.fixture
def registry(app) -> Path:
    path: Path = app.extensions['llmhost'].config.data_dir / 'servers.json'
    return path
