import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask
from flask.testing import FlaskCliRunner
from werkzeug.serving import make_server


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


@pytest.fixture
def served(app: Flask) -> Iterator[str]:
    """The URL where the application answers over HTTP."""
    with serving(app) as url:
        yield url


@contextmanager
def serving(app: Flask, port: int = 0, host: str = '127.0.0.1') -> Iterator[str]:
    """Have the application answer over HTTP; its URL."""
    server = make_server(host, port, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
    thread.start()
    try:
        yield f'http://127.0.0.1:{server.port}'
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
