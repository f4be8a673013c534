"""The application under test, and a rule: where CI=true, a skipped test is a failed one, since everything the tests need is
there, or .ci/run is wrong."""
import logging
import os
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_upstream import FakeUpstream
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner
from front_door import FrontDoor

from llmhost.app import create_app
from llmhost.config import Config

IN_CI = os.environ.get('CI') == 'true'

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell without job control starts background commands so, and every program the tests start would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def forbid_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if IN_CI and report.skipped and not hasattr(report, 'wasxfail'):
        report.outcome = 'failed'
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.longrepr = f'Where CI=true nothing is skipped. {reason}'


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    forbid_skip(report)
    return report


@pytest.fixture
def settings() -> dict[str, Any]:
    """Settings other than the defaults: a test parametrises this to have some."""
    return {}


@pytest.fixture
def app(tmp_path: Path, settings: dict[str, Any]) -> Iterator[Flask]:
    """llmhost with an empty data directory and no host process."""
    app = create_app(Config(data_dir=tmp_path / 'data', **settings))
    yield app
    app.extensions['llmhost'].close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def runner(app: Flask) -> FlaskCliRunner:
    return app.test_cli_runner()


@pytest.fixture
def door(app: Flask) -> FrontDoor:
    return FrontDoor(app)


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture
def request_log(app: Flask, caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What the log lines of the requests so far say."""
    logger = logging.getLogger('llmhost.request')
    logger.addHandler(caplog.handler)
    yield lambda: [record.fields for record in caplog.records if hasattr(record, 'fields')]
    logger.removeHandler(caplog.handler)
