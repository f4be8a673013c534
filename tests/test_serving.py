"""gunicorn's hooks: what its command line says reaches what is forked, and nothing of others' is removed."""

import os
import time
from types import SimpleNamespace
from typing import Any

import click
import pytest
from gunicorn.config import Config as GunicornConfig

from llmhost import serving
from llmhost.config import Config, load_config
from llmhost.host import process
from llmhost.schemas import load_key
from llmhost.storage.keys import KeyStore
from llmhost.storage.slots import SharedSlots


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Runs `on_starting` with gunicorn's settings, and a key there."""
    monkeypatch.setenv('LLMHOST_DATA_DIR', str(tmp_path))
    for name in ('LLMHOST_BIND', serving.DRAIN_VARIABLE):
        monkeypatch.setenv(name, '')
    KeyStore(tmp_path / 'keys.json', load_key).create('a')

    def start(**settings: Any) -> GunicornConfig:
        config = GunicornConfig()
        for name, value in settings.items():
            config.set(name, value)
        serving.on_starting(SimpleNamespace(cfg=config))
        return config
    return start


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv(serving.METRICS_FOLDER, '')
    return Config(data_dir=tmp_path / 'data')


@pytest.mark.parametrize(('binds', 'bind'), [
    (['0.0.0.0:4090'], '0.0.0.0:4090'),
    (['127.0.0.1:4090', '[::]:4091', '127.0.0.1:4092'], '[::]:4091'),
    (['127.0.0.1:4090', 'unix:/run/x.sock'], '127.0.0.1:4090'),
    ([':4090'], ':4090'),
    (['unix:/run/x.sock'], 'unix:/run/x.sock'),
    (['192.168.0.9'], '192.168.0.9:8000'),
    (['127.0.0.1:4090', 'fd://3'], 'fd://3'),
    (['unix:/run/x.sock', '127.0.0.1:4090'], '127.0.0.1:4090'),
])
def test_workers_know_the_address_that_is_served(start, binds, bind):
    start(bind=binds)
    assert load_config().bind == bind


def test_host_waits_as_long_as_gunicorn_does(start):
    config = start(graceful_timeout=70, bind=['127.0.0.1:4090'])
    assert load_config().variables[serving.DRAIN_VARIABLE] == '70'
    assert config.dirty_graceful_timeout == 75


class Draining(process.HostApp):
    """Asked to leave, with a host that is well."""

    def __init__(self) -> None:
        super().__init__()
        self._host = SimpleNamespace(is_alive=lambda: True)
        self._asked_to_leave = process.GENTLE

    def _leave(self) -> None:
        self._closed.set()


@pytest.mark.parametrize(('drain', 'low', 'high'), [('0.7', 0.7, 2), ('0', 0, 0.6)])
def test_host_leaves_running_requests_when_gunicorns_time_is_over(tmp_path, drain, low, high):
    config = Config(data_dir=tmp_path, variables={serving.DRAIN_VARIABLE: drain})
    config.run_dir.mkdir()
    slots = SharedSlots(config.run_dir, config.max_concurrency)
    assert slots.try_acquire()
    started = time.monotonic()
    Draining()._watch(config)
    assert low <= time.monotonic() - started < high
    slots.close()


def test_folder_of_counters_that_llmhost_made_is_removed(config):
    serving.prepare(config)
    folder, = config.run_dir.glob('metrics-*')
    assert os.environ[serving.METRICS_FOLDER] == str(folder)
    serving.on_exit(None)
    assert not folder.exists()


def test_folder_of_counters_that_the_operator_named_is_kept(config, tmp_path, monkeypatch):
    (tmp_path / 'mine').mkdir()
    monkeypatch.setenv(serving.METRICS_FOLDER, str(tmp_path / 'mine'))
    serving.prepare(config)
    serving.on_exit(None)
    assert (tmp_path / 'mine').is_dir()


def test_folder_of_counters_that_changed_hands_is_kept(config):
    serving.prepare(config)
    folder, = config.run_dir.glob('metrics-*')
    (folder / 'owner').write_text('1')
    serving.on_exit(None)
    assert folder.exists()


def test_flask_run_knows_the_address_its_options_name(tmp_path):
    def bind(**options: Any) -> str:
        with click.Context(click.Command('run'), info_name='run') as context:
            context.params.update(options)
            return serving.config_of_flask_run(Config(data_dir=tmp_path)).bind
    assert bind(host='0.0.0.0', port=5001) == '0.0.0.0:5001'
    assert bind(host='::1', port=5001) == '[::1]:5001'
    assert bind(host='unix:///run/x.sock', port=5000) == 'unix:///run/x.sock'
    assert serving.config_of_flask_run(Config(data_dir=tmp_path)).bind == '127.0.0.1:4080'


def test_greeting_of_up_is_printed_once_it_listens_and_not_again(monkeypatch, capsys):
    config = GunicornConfig()
    monkeypatch.setenv(serving.GREETING, 'try it  curl')
    for _ in range(2):
        serving.when_ready(SimpleNamespace(cfg=config))
    assert capsys.readouterr().out == 'try it  curl\n'
    assert serving.GREETING not in os.environ


def test_gunicorn_is_quiet_unless_debugging(tmp_path):
    def level(name: str) -> str:
        settings = serving.gunicorn_settings(Config(data_dir=tmp_path, log_level=name))
        return str(settings['logconfig_dict']['loggers']['gunicorn.error']['level'])
    assert [level(name) for name in ('DEBUG', 'INFO', 'ERROR')] == ['DEBUG', 'WARNING', 'ERROR']
