import json

import pytest

from llmhost.errors import CorruptFileError, DuplicateNameError, RegistryError, UnknownNameError
from llmhost.schemas import load_server
from llmhost.storage.servers import Server, ServerRegistry


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'servers.json'


@pytest.fixture
def registry(path):
    return ServerRegistry(path, load_server)


def server(name='a', **fields):
    return Server(name, 'generic', **{'url': 'http://gpu.lan/v1', **fields})


def test_server_comes_back_as_it_was_added(registry):
    added = server(models=('m', 'n'), api_key='k', headers={'X-A': 'b'}, timeout=2.5, priority=3, enabled=False)
    registry.add(added)
    assert registry.get('a') == added
    assert registry.current() == {'a': added}


def test_file_holds_what_differs_from_the_defaults(registry, path):
    registry.add(server(models=('m',)))
    entry = {'provider': 'generic', 'url': 'http://gpu.lan/v1', 'models': ['m']}
    assert json.loads(path.read_text()) == {'servers': {'a': entry}, 'version': 1}


def test_servers_stay_in_the_order_they_were_added(registry):
    for name in 'cab':
        registry.add(server(name))
    registry.update('a', priority=1)
    assert list(registry.current()) == ['c', 'a', 'b']


def test_second_server_of_a_name_is_refused_and_the_first_kept(registry):
    registry.add(server())
    with pytest.raises(DuplicateNameError, match="named 'a' exists already"):
        registry.add(server(url='http://other.lan'))
    assert registry.get('a').url == 'http://gpu.lan/v1'


@pytest.mark.parametrize('verb', [
    lambda registry: registry.get('x'), lambda registry: registry.remove('x'), lambda registry: registry.update('x', priority=1),
])
def test_unknown_server_is_refused_with_those_that_are_known(registry, verb):
    with pytest.raises(UnknownNameError, match='Known: none yet'):
        verb(registry)
    registry.add(server())
    with pytest.raises(UnknownNameError, match='Known: a'):
        verb(registry)


def test_update_changes_what_it_names_and_keeps_fields_of_other_versions(registry, path):
    path.write_text('{"servers": {"a": {"url": "http://x", "colour": "red"}}}')
    assert registry.update('a', priority=2).priority == 2
    assert json.loads(path.read_text())['servers']['a'] == {
        'provider': 'generic', 'url': 'http://x', 'priority': 2, 'colour': 'red'}


def test_update_that_makes_no_sense_changes_nothing(registry, path):
    registry.add(server())
    before = path.read_bytes()
    with pytest.raises(RegistryError, match='url must be'):
        registry.update('a', url='nonsense')
    assert path.read_bytes() == before


@pytest.mark.parametrize(('entries', 'told'), [
    ([], '"servers" must be an object'),
    ({'a': 'http://x'}, 'the entry "a" of "servers" must be an object'),
    ({'a': {'url': 'nope'}}, "server 'a': url must be an http or https address"),
    ({'a b': {'url': 'http://x'}}, "server 'a b': name must be"),
    ({'a': {}}, "server 'a': needs one of url, gguf and command"),
])
def test_file_a_person_got_wrong_is_told_by_path_entry_and_field(registry, path, entries, told):
    path.write_text(json.dumps({'servers': entries}))
    before = path.read_bytes()
    for use in (registry.list, lambda: registry.add(server('new')), lambda: registry.remove('a')):
        with pytest.raises(CorruptFileError) as caught:
            use()
        assert str(caught.value).startswith(f'{path}: {told}')
    assert path.read_bytes() == before
    assert registry.current() == {}


@pytest.mark.parametrize(('stored', 'variable', 'key'), [
    ('k', None, 'k'), (None, 'SET', 'v'), (None, 'LINE', 'v'), (None, 'BLANK', None),
    (None, 'UNSET', None), (None, None, None), ('k', 'SET', 'k'),
])
def test_key_is_the_stored_one_or_what_its_variable_holds_now(stored, variable, key):
    assert server(api_key=stored, api_key_env=variable).key({'SET': 'v', 'LINE': 'v\n', 'BLANK': ' '}) == key
