"""`flask presets`."""

import json

import pytest
from front_door import MESSAGES

FULL = ['--model', 'gpu/m', '--system', 'Be brief.', '--param', 'temperature=0.2', '--param', 'stop=["x"]',
        '--param', 'user=ann', '--fallback', 'b', '--fallback', 'c']
DOCUMENT = {'name': 'writer', 'model': 'gpu/m', 'system': 'Be brief.',
            'params': {'temperature': 0.2, 'stop': ['x'], 'user': 'ann'}, 'fallbacks': ['b', 'c']}


@pytest.fixture
def presets(app):
    return app.extensions['llmhost'].config.data_dir / 'presets.json'


def shown(run, name='writer'):
    return json.loads(run('presets', 'show', name, '--json').stdout)


def test_preset_comes_back_as_it_was_added(run, presets):
    assert run('presets', 'add', 'writer', *FULL).stdout == "Added 'writer': gpu/m → b → c.\n"
    assert shown(run) == DOCUMENT
    assert json.loads(run('presets', 'list', '--json').stdout) == [DOCUMENT]
    stored = {name: value for name, value in DOCUMENT.items() if name != 'name'}
    assert json.loads(presets.read_text()) == {'presets': {'writer': stored}, 'version': 1}
    assert presets.stat().st_mode & 0o777 == 0o600


def test_preset_is_live_on_the_next_request(run, door, upstream):
    door.add('one', upstream)
    assert door.chat('writer').status_code == 404
    run('presets', 'add', 'writer', '--model', 'm', '--param', 'seed=7')
    assert door.chat('writer').status_code == 200
    assert upstream.requests[0].json == {'model': 'm', 'messages': MESSAGES, 'seed': 7}
    assert run('presets', 'remove', 'writer').stdout == "Removed 'writer'.\n"
    assert door.chat('writer').status_code == 404


def test_list_is_a_table(run):
    run('presets', 'add', 'writer', *FULL, '--system', f'{"long " * 20}\nand more')
    run('presets', 'add', 'plain', '--model', 'm')
    titles, first, second = run('presets', 'list').stdout.splitlines()
    assert titles.split() == ['NAME', 'MODEL', 'FALLBACKS', 'PARAMETERS', 'SYSTEM', 'PROMPT']
    assert first.split()[:5] == ['writer', 'gpu/m', 'b,', 'c', 'temperature=0.2'] and first.endswith('…')
    assert second.split() == ['plain', 'm', '-', '-', '-']


def test_list_of_nothing_says_how_to_add(run):
    assert run('presets', 'list').stdout == 'No presets yet. Add one: flask presets add NAME --model M\n'
    assert json.loads(run('presets', 'list', '--json').stdout) == []


def test_show_tells_what_there_is(run):
    run('presets', 'add', 'writer', *FULL)
    run('presets', 'add', 'plain', '--model', 'm')
    assert run('presets', 'show', 'writer').stdout.splitlines() == [
        'name       writer', 'model      gpu/m', 'fallbacks  b, c',
        'params     temperature=0.2 stop=["x"] user="ann"', 'system     Be brief.']
    assert run('presets', 'show', 'plain').stdout == 'name       plain\nmodel      m\n'


@pytest.mark.parametrize(('options', 'changed'), [
    (['--model', 'other'], {'model': 'other'}),
    (['--param', 'seed=7'], {'params': {'seed': 7}}),
    (['--fallback', 'd'], {'fallbacks': ['d']}),
    (['--unset', 'system', '--unset', 'fallbacks'], {'system': None, 'fallbacks': []}),
    (['--unset', 'params', '--system', 'Be kind.'], {'params': {}, 'system': 'Be kind.'}),
])
def test_update_changes_what_is_given(run, options, changed):
    run('presets', 'add', 'writer', *FULL)
    assert run('presets', 'update', 'writer', *options).stdout == "Updated 'writer'.\n"
    assert shown(run) == DOCUMENT | changed


@pytest.mark.parametrize(('text', 'value'), [
    ('0.2', 0.2), ('7', 7), ('true', True), ('["x"]', ['x']), ('{"a": 1}', {'a': 1}), ('"7"', '7'), ('null', None),
    ('plain', 'plain'), ('a=b', 'a=b'), ('', ''), ('NaN', 'NaN'),
])
def test_value_of_a_parameter_is_json_where_it_can_be(run, text, value):
    run('presets', 'add', 'writer', '--model', 'm', '--param', f'extra={text}')
    assert shown(run)['params'] == {'extra': value}


@pytest.mark.parametrize(('arguments', 'code', 'told'), [
    (['a b', '--model', 'm'], 1, 'name must be'), (['a/b', '--model', 'm'], 1, 'name must be'),
    (['', '--model', 'm'], 1, 'name must be'),
    (['a'], 2, '--model'), (['a', '--model', ''], 1, 'model must be the id of a model'),
    (['a', '--model', 'm', '--system', ''], 1, 'system must be a text'),
    (['a', '--model', 'm', '--fallback', ''], 1, 'fallbacks[0] must be'),
    (['a', '--model', 'm', '--param', 'temperature'], 2, 'NAME=VALUE'), (['a', '--model', 'm', '--param', '=1'], 2, 'NAME=VALUE'),
    (['a', '--model', 'm', '--param', 'temperature=3'], 1,
     "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead."),
    (['a', '--model', 'm', '--param', 'temperature=hot'], 1, "Invalid type for 'temperature': expected a decimal, but got a"),
    (['a', '--model', 'm', '--param', 'stop=["x", 5]'], 1, "'stop[1]'"),
    (['a', '--model', 'm', '--param', 'dimensions=0'], 1, "'dimensions'"),
    (['a', '--model', 'm', '--param', 'top_n=-1'], 1, "'top_n'"),
    (['a', '--model', 'm', '--param', 'stream=true'], 1, "params must not hold 'stream'"),
    (['a', '--model', 'm', '--param', 'messages=[]'], 1, "params must not hold 'messages'"),
    (['a', '--model', 'm', '--mcp', 'files'], 2, '--mcp'),
])
def test_add_of_what_makes_no_sense_is_refused(refused, presets, arguments, code, told):
    assert told in refused('presets', 'add', *arguments, code=code)
    assert not presets.exists()


def test_second_preset_of_a_name_is_refused_and_the_first_kept(run, refused):
    run('presets', 'add', 'writer', '--model', 'm')
    assert "named 'writer' exists already" in refused('presets', 'add', 'writer', '--model', 'other')
    assert shown(run)['model'] == 'm'


@pytest.mark.parametrize('arguments', [
    ('add', 'a', '--model', 'writer'), ('add', 'a', '--model', 'm', '--fallback', 'writer'), ('update', 'b', '--model', 'writer'),
])
def test_preset_of_a_preset_is_refused(run, refused, arguments):
    run('presets', 'add', 'writer', '--model', 'm')
    run('presets', 'add', 'b', '--model', 'm')
    before = run('presets', 'list').stdout
    assert "'writer' is a preset itself" in refused('presets', *arguments)
    assert run('presets', 'list').stdout == before


@pytest.mark.parametrize('arguments', [('show', 'x'), ('remove', 'x'), ('update', 'x', '--model', 'm')])
def test_unknown_preset_is_refused_with_those_that_are_known(run, refused, arguments):
    assert refused('presets', *arguments) == "There is no preset named 'x'. Known: none yet."
    run('presets', 'add', 'writer', '--model', 'm')
    assert refused('presets', *arguments) == "There is no preset named 'x'. Known: writer."


def test_update_of_nothing_is_wrong_usage(run, refused):
    run('presets', 'add', 'writer', '--model', 'm')
    assert 'Nothing to change' in refused('presets', 'update', 'writer', code=2)


def test_update_that_makes_no_sense_changes_nothing(run, refused):
    run('presets', 'add', 'writer', *FULL)
    assert "'temperature'" in refused('presets', 'update', 'writer', '--param', 'temperature=3')
    assert shown(run) == DOCUMENT


def test_preset_that_hides_a_model_or_leads_nowhere_is_added_with_a_warning(run, door, upstream):
    door.add('one', upstream, models=('m', 'writer'))
    assert run('presets', 'add', 'fine', '--model', 'm').stderr == ''
    assert run('presets', 'add', 'writer', '--model', 'one/unlisted').stderr == (
        "It hides the model 'writer' of one: ask for that as one/writer.\n")
    told = run('presets', 'add', 'lost', '--model', 'm', '--fallback', 'gone').stderr
    assert told == "No server is known to have the model 'gone' now.\n"


@pytest.mark.parametrize('command', [
    ('list',), ('show', 'a'), ('add', 'a', '--model', 'm'), ('update', 'a', '--model', 'm'), ('remove', 'a')])
def test_corrupt_file_is_told_by_place_and_left_as_it_is(refused, presets, command):
    presets.parent.mkdir()
    presets.write_text('{"presets": }')
    assert refused('presets', *command).startswith(f'{presets}:1:13: not valid JSON')
    assert presets.read_text() == '{"presets": }'


@pytest.mark.parametrize(('entry', 'told'), [
    ({}, 'model is missing'), ({'model': 5}, 'model must be'), ({'model': 'm', 'params': []}, 'params must be an object'),
    ({'model': 'm', 'params': {'n': 0}}, "Invalid 'n'"), ({'model': 'm', 'fallbacks': 'b'}, 'fallbacks must be a list'),
    ({'model': 'm', 'system': '\ud800'}, 'cannot be sent to a server'),
    ({'model': 'm', 'params': {'x': 2 ** 70}}, 'cannot be sent to a server'),
    ('m', 'must be an object'),
])
def test_entry_a_person_got_wrong_is_told_by_path_and_field(refused, presets, entry, told):
    presets.parent.mkdir()
    presets.write_text(json.dumps({'presets': {'writer': entry}}))
    line = refused('presets', 'list')
    assert line.startswith(f'{presets}: ') and told in line and 'writer' in line


@pytest.mark.parametrize('command', ['add', 'remove', 'list', 'show', 'update'])
def test_help_says_what_each_command_does(run, command):
    assert run('presets', command, '--help').stdout.startswith('Usage: ')
    assert command in run('presets', '--help').stdout
