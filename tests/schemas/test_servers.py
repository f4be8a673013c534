import pytest

from llmhost.errors import RegistryError
from llmhost.schemas import load_server

MINIMAL = {'name': 'gpu-1', 'url': 'http://gpu.lan:8000/v1'}


def test_load_server_fills_in_the_defaults_and_keeps_what_it_does_not_know():
    entry = load_server(MINIMAL | {'from_the_future': {'a': 1}})
    assert entry['from_the_future'] == {'a': 1}
    assert (entry['models'], entry['headers'], entry['priority'], entry['enabled']) == ([], {}, 0, True)
    assert entry['timeout'] is entry['max_concurrency'] is entry['gguf'] is entry['command'] is None


def test_load_server_of_its_own_result_gives_the_same():
    entry = load_server(MINIMAL)
    assert load_server(entry) == entry


@pytest.mark.parametrize(
    'fields',
    [
        {'url': 'https://[::1]:8443'},
        {'url': None, 'gguf': '/models/a.gguf', 'context': 4096, 'threads': 2, 'idle_ttl': 0},
        {'url': None, 'command': 'serve --port {port}', 'memory_group': 'gpu-0'},
        {'headers': {'X-Team': 'blue', 'X-Empty': ''}, 'api_key_env': 'GPU_KEY', 'models': ['a', 'b/c']},
        {'timeout': 600, 'max_concurrency': 1, 'priority': -3, 'enabled': False},
    ],
)
def test_load_server_accepts(fields):
    assert load_server(MINIMAL | fields).items() >= fields.items()


@pytest.mark.parametrize(
    'fields, told',
    [
        ({'name': '-gpu'}, 'name must be 1 to 64 letters'),
        ({'name': 'a/b'}, 'name must be 1 to 64 letters'),
        ({'name': 'a' * 65}, 'name must be 1 to 64 letters'),
        ({'url': 'gpu.lan:8000'}, 'url must be an http or https address'),
        ({'url': 'ftp://gpu.lan'}, 'url must be an http or https address'),
        ({'url': 'http://'}, 'url must be an http or https address'),
        ({'url': 'http://gpu.lan:99999'}, 'url must be an http or https address'),
        ({'url': 'http://gpu.lan/\n'}, 'url must be an http or https address'),
        ({'url': 5}, 'url must be an http or https address'),
        ({'url': 'http://me:secret@gpu.lan'}, '--api-key-env'),
        ({'url': 'http://gpu.lan/?key=secret'}, 'url must end before'),
        ({'url': None}, 'needs one of url, gguf and command'),
        ({'gguf': 'a.gguf'}, 'has url and gguf: remove one'),
        ({'url': None, 'command': 'serve'}, '{port}'),
        ({'url': None, 'command': 5}, '{port}'),
        ({'models': ['a', '']}, 'models[1] must be a model id'),
        ({'models': 'a'}, 'models must be a list'),
        ({'api_key': 'secret\n'}, 'api_key must be'),
        ({'api_key_env': 'sk-secret'}, 'api_key_env must be the name of an environment variable'),
        ({'headers': {'X Team': 'secret'}}, 'headers must have header names'),
        ({'headers': {'X-Team': 'secret\r\nX-Evil: 1'}}, 'as the value of X-Team'),
        ({'headers': None}, 'headers must be an object'),
        ({'memory_group': 'a b'}, 'memory_group must be 1 to 64 letters'),
        ({'memory_group': ''}, 'memory_group must be 1 to 64 letters'),
        ({'max_concurrency': 0}, 'max_concurrency must be a whole number of 1 or more'),
        ({'max_concurrency': 1.5}, 'max_concurrency must be a whole number of 1 or more'),
        ({'max_concurrency': True}, 'max_concurrency must be a whole number of 1 or more'),
        ({'timeout': 0}, 'timeout must be a number of seconds above 0'),
        ({'timeout': '60'}, 'timeout must be a number of seconds above 0'),
        ({'idle_ttl': -1}, 'idle_ttl must be a number of seconds, 0 or more'),
        ({'enabled': 'no'}, 'enabled must be true or false'),
    ],
)
def test_load_server_when_a_field_is_at_fault_says_the_cure_in_one_line_and_no_secret(fields, told):
    with pytest.raises(RegistryError) as caught:
        load_server(MINIMAL | fields)
    message = str(caught.value)
    assert told in message
    assert '\n' not in message and 'secret' not in message


@pytest.mark.parametrize('document', [[], None, 'gpu', {}, {'url': 'http://gpu.lan'}])
def test_load_server_when_it_is_no_entry_says_what_one_needs(document):
    with pytest.raises(RegistryError, match='name'):
        load_server(document)
