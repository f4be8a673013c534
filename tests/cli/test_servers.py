"""`flask servers`: what a person types, what is printed, what is stored."""

import json
import re
import time

import pytest
from fake_upstream import FakeUpstream, Reply

SHAPE = {
    'name', 'provider', 'url', 'gguf', 'command', 'enabled', 'models', 'api_key', 'headers', 'priority',
    'mmproj',
    'max_concurrency', 'weight', 'timeout', 'idle_ttl', 'memory_group', 'context', 'threads', 'health', 'since', 'checked_at',
    'last_error', 'last_error_at',
}
NOWHERE = 'http://127.0.0.1:9'


@pytest.fixture
def entry(registry):
    """The stored entry of a server."""
    return lambda name='one': json.loads(registry.read_text())['servers'][name]


@pytest.fixture
def one(run, upstream):
    """The server `one` is registered."""
    assert run('servers', 'add', 'one', upstream.url).exit_code == 0
    upstream.reset()


@pytest.fixture
def gguf(tmp_path):
    path = tmp_path / 'small.gguf'
    path.write_bytes(b'GGUF and so on')
    return path


# add

def test_add_asks_the_server_and_prints_its_models(run, upstream, entry):
    result = run('servers', 'add', 'one', upstream.url)
    assert result.stdout == "Added 'one' (generic): 2 models.\nModels: fake-small, fake-large\n"
    assert (result.stderr, result.exit_code) == ('', 0)
    assert entry() == {'provider': 'generic', 'url': upstream.url}
    assert [(request.method, request.path) for request in upstream.requests] == [('GET', '/v1/models')]


def test_add_shortens_a_long_list_of_models(run):
    with FakeUpstream(models=[f'm{number}' for number in range(12)]) as upstream:
        assert run('servers', 'add', 'one', upstream.url).stdout.endswith('m8, m9 (+2 more)\n')


def test_add_of_a_server_without_models_says_so(run):
    with FakeUpstream(models=[]) as upstream:
        assert run('servers', 'add', 'one', upstream.url).stdout == "Added 'one' (generic).\n"


def test_added_server_is_live_in_the_next_request(run, door, upstream):
    assert door.get('/v1/models/m').status_code == 404
    run('servers', 'add', 'one', upstream.url, '--model', 'm')
    assert door.get('/v1/models/m').status_code == 200
    assert door.chat().status_code == 200
    run('servers', 'disable', 'one')
    assert door.chat().status_code == 503
    run('servers', 'enable', 'one')
    assert door.chat().status_code == 200
    run('servers', 'remove', 'one')
    assert door.chat().status_code == 404


@pytest.mark.parametrize('settings', [{'variables': {'THE_KEY': 'k'}}])
def test_add_stores_every_setting(run, upstream, entry):
    result = run(
        'servers', 'add', 'one', upstream.url, '--provider', 'vllm', '--model', 'a', '--model', 'b', '--priority', '-2',
        '--timeout', '2.5', '--header', 'X-A=b=c', '--header', 'X-B=', '--api-key-env', 'THE_KEY')
    assert result.exit_code == 0
    assert entry() == {
        'provider': 'vllm', 'url': upstream.url, 'models': ['a', 'b'], 'priority': -2, 'timeout': 2.5,
        'headers': {'X-A': 'b=c', 'X-B': ''}, 'api_key_env': 'THE_KEY'}
    assert upstream.requests[0].headers.items() >= {'x-a': 'b=c', 'authorization': 'Bearer k'}.items()


@pytest.mark.parametrize(('url', 'provider'), [
    ('https://api.openai.com/v1', 'openai'), ('https://openrouter.ai/api/v1', 'openrouter'), ('http://mac.lan:1234', 'lmstudio'),
    ('http://box.lan:11434', 'ollama'), ('http://gpu.lan:8000', 'generic'),
])
def test_add_guesses_the_provider(run, url, provider):
    assert f"Added 'one' ({provider})" in run('servers', 'add', 'one', url, '--no-check').stdout


def test_add_of_an_unreachable_server_is_refused_with_the_way_round(run, refused, registry):
    line = refused('servers', 'add', 'one', NOWHERE)
    assert "'one' cannot be used: Cannot connect to http://127.0.0.1:9: connection refused." in line
    assert '--no-check' in line
    assert not registry.exists()
    assert run('servers', 'add', 'one', NOWHERE, '--no-check').stdout == "Added 'one' (generic).\n"


@pytest.mark.parametrize(('reply', 'told'), [
    (Reply.text('<html>Hello'), 'its model list is not JSON'),
    (Reply.json({'models': []}), 'has no array "data"'),
    (Reply.json({'error': 'Unexpected endpoint'}), 'Unexpected endpoint'),
    (Reply.error(401, 'No key.'), 'it answered 401: No key. Give its key: --api-key-env VAR, or --api-key-stdin.'),
    (Reply.error(500, 'Boom'), 'it answered 500: Boom.'),
    (Reply(302, {'location': 'https://elsewhere/'}), 'redirects to https://elsewhere/: give that address'),
    (Reply(drop=True), 'cannot be used'),
])
def test_add_of_what_is_no_model_server_is_refused_with_the_reason(refused, upstream, registry, reply, told):
    upstream.always('/v1/models', reply)
    assert told in refused('servers', 'add', 'one', upstream.url)
    assert not registry.exists()


@pytest.mark.parametrize('url', [
    'localhost:8000', 'gpu.lan', 'ftp://gpu.lan', 'http://', 'http://a b', 'http://gpu.lan:port', 'http://user:pw@gpu.lan',
    'http://gpu.lan/v1?key=1', '',
])
def test_add_of_a_wrong_url_is_refused_with_the_right_form(refused, registry, url):
    line = refused('servers', 'add', 'one', url, '--no-check')
    assert line.startswith("server 'one': url must")
    assert 'pw' not in line
    assert not registry.exists()


@pytest.mark.parametrize('name', ['a b', '-a', 'a/b', 'ä', 'x' * 65, ''])
def test_add_of_a_bad_name_is_refused(run, name):
    result = run('servers', 'add', '--no-check', '--', name, NOWHERE)
    assert result.exit_code == 1
    assert 'name must be 1 to 64 letters' in result.stderr


def test_add_of_a_name_that_exists_is_refused_without_asking_the_server(refused, one, upstream, registry):
    before = registry.read_bytes()
    assert "named 'one' exists already" in refused('servers', 'add', 'one', upstream.url)
    assert registry.read_bytes() == before
    assert not upstream.requests


def test_add_of_an_unknown_provider_is_wrong_usage_and_names_those_known(refused):
    line = refused('servers', 'add', 'one', NOWHERE, '--provider', 'foo', code=2)
    assert "'foo' is not one of" in line and "'ollama'" in line


@pytest.mark.parametrize('arguments', [
    ['one'], ['one', NOWHERE, '--gguf', 'x'], ['one', '--gguf', 'x', '--command', 'y {port}'], [], ['one', NOWHERE, 'more'],
    ['one', NOWHERE, '--timeout', '0'], ['one', NOWHERE, '--timeout', 'long'], ['one', NOWHERE, '--priority', '1.5'],
    ['one', NOWHERE, '--header', 'X-A'], ['one', NOWHERE, '--header', '=b'], ['one', NOWHERE, '--context', '0'],
    ['one', NOWHERE, '--nothing'], ['one', NOWHERE, '--api-key-stdin', '--api-key-env', 'PATH'],
])
def test_add_with_wrong_usage_exits_with_two(refused, arguments):
    assert refused('servers', 'add', *arguments, code=2)


# managed servers

def test_add_of_a_gguf_file_takes_its_absolute_path(run, entry, gguf, monkeypatch):
    monkeypatch.chdir(gguf.parent)
    result = run('servers', 'add', 'one', '--gguf', 'small.gguf', '--context', '2048', '--threads', '2')
    assert result.stdout == "Added 'one' (llamacpp): 1 model.\nModels: one\n"
    assert entry() == {'provider': 'llamacpp', 'gguf': str(gguf), 'context': 2048, 'threads': 2}


@pytest.mark.parametrize(('name', 'content', 'told'), [
    ('a.gguf', b'not one', 'is not a GGUF file.'), ('a.gguf', b'', 'is not a GGUF file.'),
    ('b.gguf', None, 'cannot be read: No such file or directory.'), ('.', None, 'cannot be read: Is a directory.'),
])
def test_add_of_what_is_no_gguf_file_is_refused(refused, registry, tmp_path, name, content, told):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    assert f'{path} {told}' in refused('servers', 'add', 'one', '--gguf', str(path))
    assert not registry.exists()


def test_add_of_a_command_keeps_it_as_typed(run, entry):
    run('servers', 'add', 'one', '--command', "python3 -m 'my server' --port {port}", '--model', 'm')
    assert entry() == {'provider': 'generic', 'command': "python3 -m 'my server' --port {port}", 'models': ['m']}


@pytest.mark.parametrize(('command', 'told'), [
    ('python3 -m server', '{port}'), ('nosuchprogram {port}', "The program 'nosuchprogram' is not found."),
    ("python3 '{port}", 'The command cannot be read'),
])
def test_add_of_a_command_that_cannot_run_is_refused(refused, command, told):
    assert told in refused('servers', 'add', 'one', '--command', command)


# keys of servers

def test_key_on_standard_input_is_stored_and_sent_and_never_printed(run, entry, registry):
    with FakeUpstream(api_key='sk-5ecret') as upstream:
        result = run('servers', 'add', 'one', upstream.url, '--api-key-stdin', typed='sk-5ecret\nnot this\n')
    assert result.exit_code == 0
    assert entry()['api_key'] == 'sk-5ecret'
    assert oct(registry.stat().st_mode & 0o777) == '0o600'
    outputs = [result, run('servers', 'show', 'one'), run('servers', 'list', '--json'), run('servers', 'check')]
    assert '5ecret' not in ''.join(result.output for result in outputs)
    assert json.loads(run('servers', 'show', 'one', '--json').stdout)['api_key'] == 'stored'


def test_key_in_a_variable_is_stored_by_its_name(run, refused, entry, upstream):
    run('servers', 'add', 'one', upstream.url, '--api-key-env', 'NOT_SET', '--no-check')
    assert entry()['api_key_env'] == 'NOT_SET'
    assert json.loads(run('servers', 'show', 'one', '--json').stdout)['api_key'] == 'from NOT_SET'


def test_key_in_a_variable_that_is_not_set_is_refused(refused, upstream, registry):
    line = refused('servers', 'add', 'one', upstream.url, '--api-key-env', 'NOT_SET')
    assert 'The environment variable NOT_SET is not set here.' in line and '--no-check' in line
    assert not registry.exists()


@pytest.mark.parametrize('typed', ['', '\n', '  \n'])
def test_no_key_on_standard_input_is_wrong_usage(refused, upstream, typed):
    assert 'no key' in refused('servers', 'add', 'one', upstream.url, '--api-key-stdin', code=2, typed=typed)


def test_key_that_no_header_can_carry_is_refused_unseen(refused, upstream):
    line = refused('servers', 'add', 'one', upstream.url, '--api-key-stdin', typed='5ecret with spaces\n')
    assert 'api_key must be' in line and '5ecret' not in line


# list and show

def test_list_of_nothing_says_how_to_add(run):
    assert run('servers', 'list').stdout == 'No servers yet. Add one: flask servers add NAME URL\n'
    assert json.loads(run('servers', 'list', '--json').stdout) == []


def test_list_is_an_aligned_table(run, door, upstream):
    for name, models in (('one', ()), ('a-much-longer-name', ('m1', 'm2', 'm3', 'm4', 'm5'))):
        door.add(name, upstream, models=models)
    door.observe('one', 'down', error='x' * 100, checked_at=time.time() - 130)
    titles, first, second = run('servers', 'list').stdout.splitlines()
    starts = [match.start() for match in re.finditer(r'\S+(?: ERROR)?', titles)]
    assert titles.split() == ['NAME', 'PROVIDER', 'URL', 'MODELS', 'HEALTH', 'CHECKED', 'LAST', 'ERROR']
    cells = [[line[start:end].strip() for start, end in zip(starts, [*starts[1:], None])] for line in (first, second)]
    assert cells[0] == ['one', 'generic', upstream.url, '-', 'down', '2 min ago', 'x' * 59 + '…']
    assert cells[1] == ['a-much-longer-name', 'generic', upstream.url, 'm1, m2, m3 (+2 more)', 'unknown', 'never', '']


def test_list_of_servers_never_seen_says_why(run, one):
    result = run('servers', 'list')
    assert len(result.stdout.splitlines()) == 2
    assert 'flask servers check' in result.stderr
    assert run('servers', 'list', '--json').stderr == ''


@pytest.mark.parametrize('command', [('list',), ('show', 'one')])
def test_json_has_one_shape(run, one, command):
    document = json.loads(run('servers', *command, '--json').stdout)
    document = document[0] if command == ('list',) else document
    assert document.keys() == SHAPE
    assert (document['name'], document['enabled'], document['models'], document['health']) == ('one', True, [], 'unknown')


def test_disabled_server_is_shown_as_disabled_whatever_was_seen(run, one, door):
    door.observe('one', 'down', error='no')
    run('servers', 'disable', 'one')
    assert json.loads(run('servers', 'show', 'one', '--json').stdout)['health'] == 'disabled'


def test_show_prints_what_is_set_for_a_person(run, one, door):
    run('servers', 'update', 'one', '--timeout', '3', '--header', 'X-A=5ecret', '--no-check')
    door.observe('one', 'up', since=time.time() - 7300, checked_at=time.time())
    lines = dict(line.split(maxsplit=1) for line in run('servers', 'show', 'one').stdout.splitlines())
    assert lines.items() >= {
        'enabled': 'yes', 'timeout': '3', 'headers': 'X-A', 'health': 'up', 'since': '2 h ago', 'checked_at': '0 s ago'}.items()
    assert not lines.keys() & {'gguf', 'context', 'last_error'}


# update, remove, enable, disable

def test_update_changes_only_what_is_given(run, one, entry, upstream):
    assert run('servers', 'update', 'one', '--priority', '5').stdout == "Updated 'one'.\n"
    assert entry() == {'provider': 'generic', 'url': upstream.url, 'priority': 5}


def test_update_of_what_decides_whether_it_answers_asks_it_first(refused, one, upstream, registry):
    before = registry.read_bytes()
    line = refused('servers', 'update', 'one', '--url', NOWHERE)
    assert 'connection refused' in line and '--no-check' in line
    assert registry.read_bytes() == before


def test_update_of_anything_else_works_while_it_is_down(run, one, upstream):
    upstream.refuse()
    assert run('servers', 'update', 'one', '--priority', '5', '--timeout', '9').exit_code == 0


def test_update_replaces_the_key_wherever_it_was(run, one, entry):
    run('servers', 'update', 'one', '--api-key-stdin', '--no-check', typed='k1\n')
    assert entry()['api_key'] == 'k1'
    run('servers', 'update', 'one', '--api-key-env', 'VAR', '--no-check')
    assert (entry().get('api_key'), entry().get('api_key_env')) == (None, 'VAR')
    run('servers', 'update', 'one', '--api-key-stdin', '--no-check', typed='k2\n')
    assert (entry().get('api_key'), entry().get('api_key_env')) == ('k2', None)


def test_update_takes_settings_back(run, one, entry, upstream):
    run('servers', 'update', 'one', '--model', 'm', '--header', 'X-A=b', '--timeout', '3', '--api-key-env', 'V', '--no-check')
    result = run(
        'servers', 'update', 'one', '--unset', 'models', '--unset', 'headers', '--unset', 'timeout', '--unset', 'api-key')
    assert result.exit_code == 0
    assert entry() == {'provider': 'generic', 'url': upstream.url}


def test_update_of_nothing_is_wrong_usage(refused, one):
    assert 'Nothing to change' in refused('servers', 'update', 'one', code=2)


@pytest.mark.parametrize('fields', [['--url', 'nonsense'], ['--header', 'a b=c'], ['--api-key-env', '1X']])
def test_update_that_makes_no_sense_changes_nothing(refused, one, registry, fields):
    before = registry.read_bytes()
    assert refused('servers', 'update', 'one', *fields, '--no-check')
    assert registry.read_bytes() == before


@pytest.mark.parametrize('command', [
    ('remove', 'two'), ('show', 'two'), ('show', 'two', '--json'), ('update', 'two', '--priority', '1'), ('enable', 'two'),
    ('disable', 'two'), ('check', 'two'),
])
def test_unknown_server_is_refused_with_those_known(refused, one, registry, command):
    before = registry.read_bytes()
    assert refused('servers', *command) == "There is no server named 'two'. Known: one."
    assert registry.read_bytes() == before


# check

def test_check_asks_now_and_tells_the_models(run, one):
    result = run('servers', 'check')
    assert (result.stdout, result.stderr, result.exit_code) == ('one: usable: 2 models.\n', '', 0)


def test_check_of_all_tells_each_and_fails_when_one_does(run, one):
    run('servers', 'add', 'two', NOWHERE, '--no-check')
    result = run('servers', 'check')
    assert result.stdout == 'one: usable: 2 models.\n'
    assert result.stderr == 'two: Cannot connect to http://127.0.0.1:9: connection refused.\n'
    assert result.exit_code == 1
    assert run('servers', 'check', 'one').exit_code == 0


def test_check_of_nothing_says_so(run):
    assert 'No servers yet' in run('servers', 'check').stdout


# a broken file

BROKEN = '{"servers": {\n  "a": {"url": "http://x"},\n}}'


@pytest.mark.parametrize('command', [
    ('list',), ('list', '--json'), ('show', 'a'), ('check',), ('remove', 'a'), ('enable', 'a'), ('disable', 'a'),
    ('update', 'a', '--priority', '1'), ('add', 'b', NOWHERE, '--no-check'), ('add', 'b', NOWHERE),
])
def test_corrupt_registry_is_told_by_place_and_left_as_it_is(refused, registry, command):
    registry.parent.mkdir()
    registry.write_text(BROKEN)
    line = refused('servers', *command)
    assert line.startswith(f'{registry}:3:1: not valid JSON: ') and 'left as it is' in line
    assert registry.read_text() == BROKEN


def test_directory_that_cannot_be_written_is_told_in_one_line(refused, registry):
    registry.parent.write_text('a file stands here')
    assert str(registry.parent) in refused('servers', 'add', 'one', NOWHERE, '--no-check')


# help

@pytest.mark.parametrize('command', ['add', 'remove', 'list', 'show', 'update', 'enable', 'disable', 'check'])
def test_help_says_what_each_command_and_option_does(run, command):
    text = run('servers', command, '--help').stdout
    assert re.search(r'\n  [A-Z][^\n]+\.', text)
    assert not re.search(r'^  --[a-z-]+( [A-Z=]+)?\s*$', text, re.M) or command in ('add', 'update')
    assert command in run('servers', '--help').stdout


def test_help_of_add_shows_examples(run):
    text = run('servers', 'add', '--help').stdout
    assert 'flask servers add studio http://mac.lan:1234\n' in text and '--gguf ~/models/' in text
