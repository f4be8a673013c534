import re
from pathlib import Path

import pytest

from llmhost.config import Config, load_config
from llmhost.errors import ConfigurationError


def load(dotenv=None, **variables):
    return load_config({f'LLMHOST_{name}': value for name, value in variables.items()}, dotenv)


@pytest.fixture
def dotenv(tmp_path):
    """Writes a `.env`; gives its path."""
    def write(text):
        path = tmp_path / '.env'
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path
    return write


def test_settings_have_the_documented_defaults():
    config = load()
    assert (config.bind, config.auth, config.api_key) == ('127.0.0.1:4080', 'auto', None)
    assert (config.max_concurrency, config.queue_size, config.queue_timeout) == (200, 1000, 30)
    assert (config.connect_timeout, config.read_timeout, config.keepalive_interval) == (5, 600, 15)
    assert (config.max_body_bytes, config.log_level, config.log_format) == (67108864, 'INFO', 'text')
    assert config.data_dir.is_absolute()


def test_settings_are_read_in_their_types():
    config = load(
        DATA_DIR='~/d', MAX_CONCURRENCY='7', QUEUE_TIMEOUT='0.5', LOG_LEVEL='debug', AUTH='off',
        CORS_ORIGINS='https://a.lan, https://b.lan,')
    assert config.data_dir == Path.home() / 'd'
    assert (config.max_concurrency, config.queue_timeout, config.log_level, config.auth) == (7, 0.5, 'DEBUG', 'off')
    assert config.cors_origins == ('https://a.lan', 'https://b.lan')


def test_relative_data_directory_is_made_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert load(DATA_DIR='data').data_dir == tmp_path / 'data'


def test_environment_goes_before_the_file(dotenv):
    path = dotenv('LLMHOST_AUTH=required\nLLMHOST_QUEUE_SIZE=5\nOPENAI_API_KEY="a b"\n')
    config = load(path, AUTH='off')
    assert (config.auth, config.queue_size) == ('off', 5)
    assert config.variables['OPENAI_API_KEY'] == 'a b'


def test_variable_set_to_nothing_is_as_good_as_unset(dotenv):
    config = load(dotenv('LLMHOST_API_KEY=k\nLLMHOST_QUEUE_SIZE=5'), API_KEY='', QUEUE_SIZE='')
    assert (config.api_key, config.queue_size) == (None, 1000)


def test_file_in_the_working_directory_is_read_unless_an_environment_is_given(dotenv, monkeypatch):
    monkeypatch.chdir(dotenv('LLMHOST_QUEUE_SIZE=5').parent)
    monkeypatch.delenv('LLMHOST_QUEUE_SIZE', raising=False)
    assert load_config().queue_size == 5
    assert load_config({}).queue_size == 1000


def test_file_that_is_not_there_is_no_fault(tmp_path):
    assert load(tmp_path / '.env') == load()


def test_file_that_is_no_text_is_told_by_its_path(dotenv):
    path = dotenv(b'LLMHOST_BIND=\xff\xfe')
    with pytest.raises(ConfigurationError, match=re.escape(f'{path} cannot be read: it is not UTF-8 text.')):
        load(path)


@pytest.mark.parametrize(('name', 'text', 'right'), [
    ('MAX_CONCURRENCY', 'many', 'a whole number above 0'),
    ('MAX_CONCURRENCY', '1.5', 'a whole number above 0'),
    ('MAX_CONCURRENCY', '0', 'a whole number above 0'),
    ('MAX_BODY_BYTES', '-1', 'a whole number above 0'),
    ('MAX_BODY_BYTES', '64MB', 'a whole number above 0'),
    ('QUEUE_SIZE', '-1', 'a whole number of 0 or more'),
    ('QUEUE_TIMEOUT', 'nan', 'a number of 0 or more'),
    ('READ_TIMEOUT', 'inf', 'a number above 0'),
    ('READ_TIMEOUT', '0', 'a number above 0'),
    ('KEEPALIVE_INTERVAL', '15s', 'a number above 0'),
    ('AUTH', 'yes', 'one of auto, required, off'),
    ('LOG_FORMAT', 'xml', 'one of text, json'),
    ('LOG_LEVEL', 'loud', 'one of DEBUG, INFO, WARNING, ERROR, CRITICAL'),
    ('BIND', 'localhost', 'HOST:PORT'),
    ('BIND', '4080', 'HOST:PORT'),
    ('BIND', '::1:4080', 'HOST:PORT'),
    ('BIND', '0.0.0.0:http', 'HOST:PORT'),
    ('BIND', '0.0.0.0:70000', 'HOST:PORT'),
    ('BIND', 'http://0.0.0.0:80', 'HOST:PORT'),
])
@pytest.mark.parametrize('in_file', [False, True])
def test_bad_value_names_its_variable_and_what_it_takes(dotenv, name, text, right, in_file):
    with pytest.raises(ConfigurationError) as caught:
        load(dotenv(f'LLMHOST_{name}={text}')) if in_file else load(**{name: text})
    assert f'LLMHOST_{name} is {right}' in str(caught.value) and f'not {text!r}.' in str(caught.value)


@pytest.mark.parametrize('name', ['QUEUE_SIZE', 'QUEUE_TIMEOUT'])
def test_queue_may_be_turned_off(name):
    assert getattr(load(**{name: '0'}), name.lower()) == 0


@pytest.mark.parametrize(('bind', 'is_loopback'), [
    ('127.0.0.1:4080', True), ('127.9.9.9:1', True), ('localhost:80', True), ('[::1]:4080', True), ('unix:/run/a.sock', True),
    ('0.0.0.0:4080', False), ('[::]:4080', False), (':4080', False), ('192.168.1.5:80', False), ('gpu.lan:80', False),
    ('fd://3', False),
])
def test_address_only_this_machine_can_reach_is_told_from_others(bind, is_loopback):
    assert load(BIND=bind).binds_loopback_only is is_loopback


def test_sockets_path_stays_in_the_data_directory_while_it_fits():
    assert Config(data_dir=Path('/data')).host_socket == Path('/data/run/host.sock')
    assert Config(data_dir=Path('/data')).lease_socket == Path('/data/run/leases.sock')


def test_sockets_path_that_would_be_too_long_goes_to_the_temporary_folder():
    long, other = (Config(data_dir=Path('/data') / ('é' * 60) / name) for name in 'ab')
    assert len(str(long.host_socket).encode()) < 100
    assert len({long.host_socket, other.host_socket, long.lease_socket, other.lease_socket}) == 4
    assert long.host_socket == Config(data_dir=long.data_dir).host_socket


def test_settings_do_not_show_secrets_when_printed(dotenv):
    assert '5ecret' not in repr(load(dotenv('OTHER_KEY=5ecret-1'), API_KEY='5ecret-2'))
