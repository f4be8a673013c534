"""`flask keys`."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from front_door import CHAT, MESSAGES

HELLO = {'model': 'm', 'messages': MESSAGES}


def days_from_now(days):
    return (datetime.now(UTC).date() + timedelta(days)).isoformat()


def test_create_shows_the_key_once_alone_on_stdout(run, app):
    result = run('keys', 'create', 'laptop')
    assert result.stdout.startswith('sk-llmhost-') and len(result.stdout.split()) == 1
    assert result.stderr == 'Keep it now: it is not shown again.\n'
    key = result.stdout.strip()
    later = run('keys', 'list').output + run('keys', 'list', '--json').output
    assert key.removeprefix('sk-llmhost-') not in later
    assert key not in (app.extensions['llmhost'].config.data_dir / 'keys.json').read_text()


def test_create_as_json_has_everything(run):
    expires = days_from_now(30)
    result = run('keys', 'create', 'ci', '--user', 'ann', '--model', 'gpu/*', '--model', 'm', '--expires', expires, '--json')
    document = json.loads(result.stdout)
    assert document.pop('key').startswith('sk-llmhost-')
    assert document == {'name': 'ci', 'user': 'ann', 'models': ['gpu/*', 'm'], 'expires': expires}


def test_key_belongs_to_its_name_unless_said_otherwise(run):
    assert json.loads(run('keys', 'create', 'ci', '--json').stdout)['user'] == 'ci'


def test_list_as_json_has_one_shape_without_the_hash(run):
    run('keys', 'create', 'a')
    document, = json.loads(run('keys', 'list', '--json').stdout)
    assert document.keys() == {'name', 'user', 'models', 'expires', 'created'}
    assert (document['name'], document['user'], document['models'], document['expires']) == ('a', 'a', [], None)


def test_list_is_a_table(run, app):
    run('keys', 'create', 'a', '--model', 'gpu/*', '--expires', days_from_now(1))
    app.extensions['llmhost'].keys.create('old', expires='2020-01-01')
    titles, first, second = (line.split() for line in run('keys', 'list').stdout.splitlines())
    today = datetime.now(UTC).date().isoformat()
    assert titles == ['NAME', 'USER', 'MODELS', 'EXPIRES', 'CREATED']
    assert first == ['a', 'a', 'gpu/*', days_from_now(1), today]
    assert second == ['old', '-', 'all', '2020-01-01', '(expired)', today]


def test_list_of_nothing_says_how_to_create(run):
    assert run('keys', 'list').stdout == 'No keys yet. Create one: flask keys create NAME\n'
    assert json.loads(run('keys', 'list', '--json').stdout) == []


def test_second_key_of_a_name_is_refused_and_the_first_kept(run, refused):
    run('keys', 'create', 'a')
    assert "named 'a' exists already" in refused('keys', 'create', 'a')
    assert len(json.loads(run('keys', 'list', '--json').stdout)) == 1


@pytest.mark.parametrize(('arguments', 'code', 'told'), [
    (['a\nb'], 1, 'name must be'), ([''], 1, 'name must be'), (['a', '--model', ''], 1, 'models[0] must be'), ([], 2, 'NAME'),
    (['a', '--expires', 'tomorrow'], 2, "'tomorrow'"), (['a', '--expires', '2026-02-30'], 2, "'2026-02-30'"),
    (['a', '--expires', '2020-01-01'], 2, '2020-01-01 is past.'),
])
def test_create_of_what_makes_no_sense_is_refused(refused, arguments, code, told):
    assert told in refused('keys', 'create', *arguments, code=code)


def test_unknown_key_cannot_be_revoked(refused):
    assert refused('keys', 'revoke', 'a') == "There is no key named 'a'."


def test_keys_are_live_in_the_next_request(run, door, upstream):
    door.add('one', upstream)

    def status(key=None):
        return door.post(CHAT, HELLO, headers={'Authorization': f'Bearer {key}'} if key else {}).status_code
    assert status() == 200
    first, second = (run('keys', 'create', name).stdout.strip() for name in 'ab')
    assert (status(), status('wrong'), status(first), status(second)) == (401, 401, 200, 200)
    assert run('keys', 'revoke', 'a').stderr == ''
    assert (status(first), status(second)) == (401, 200)
    assert 'requests need none now' in run('keys', 'revoke', 'b').stderr
    assert status() == 200


@pytest.mark.parametrize('settings', [{'bind': '0.0.0.0:4080'}, {'auth': 'required'}])
def test_last_key_that_is_revoked_opens_no_door(run, door, upstream, settings):
    door.add('one', upstream)
    run('keys', 'create', 'a')
    assert run('keys', 'revoke', 'a').stderr == ''
    assert door.post(CHAT, HELLO).status_code == 401


@pytest.mark.parametrize('command', [('list',), ('create', 'a'), ('revoke', 'a')])
def test_corrupt_file_is_told_by_place_and_left_as_it_is(refused, app, command):
    path = app.extensions['llmhost'].config.data_dir / 'keys.json'
    path.parent.mkdir()
    path.write_text('{"keys": }')
    assert refused('keys', *command).startswith(f'{path}:1:10: not valid JSON')
    assert path.read_text() == '{"keys": }'


@pytest.mark.parametrize('command', ['create', 'list', 'revoke'])
def test_help_says_what_each_command_does(run, command):
    assert run('keys', command, '--help').stdout.startswith('Usage: ')
    assert command in run('keys', '--help').stdout
