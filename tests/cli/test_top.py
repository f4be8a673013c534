"""`flask top`: a snapshot of a real llmhost, and the live page at a real terminal."""

import json
import re
import termios

import pytest
from e2e.program import find_free_port

from .conftest import serving
from .terminal import Terminal


@pytest.fixture
def settings():
    return {'bind': f'127.0.0.1:{find_free_port()}'}


@pytest.fixture
def here(app, settings):
    """The application is served where its settings say."""
    with serving(app, int(settings['bind'].partition(':')[2])) as url:
        yield url


def test_snapshot_is_a_page_of_text(run, door, upstream, here):
    door.add('one', upstream)
    door.add('two', 'http://127.0.0.1:9')
    door.observe('one')
    door.observe('two', 'down', error='Connection refused.', checked_at=1.0)
    door.chat()
    out = run('top', '--once', '--interval', '0.1').stdout
    assert out.startswith(f'llmhost {here}') and '\x1b' not in out
    assert re.search(r'^one +up ', out, re.M)
    assert re.search(r'^two +down .* Connection refused\.$', out, re.M)
    assert 'ERRORS\n' in out


def test_json_has_one_shape(run, door, upstream, here):
    door.add('one', upstream)
    door.observe('one')
    document = json.loads(run('top', '--json', '--interval', '0.1').stdout)
    assert document.keys() == {
        'url', 'at', 'fault', 'host', 'running', 'waiting', 'slots', 'open_streams', 'per_second', 'servers', 'errors'}
    assert (document['url'], document['host'], document['running'], document['slots']) == (here, 'down', 0, 200)
    server, = document['servers']
    assert server == {
        'name': 'one', 'state': 'up', 'since': None, 'error': None, 'until': None, 'models': 0, 'capacity': None, 'running': None,
        'waiting': None, 'memory': None, 'failed': 0,
        'per_second': {'requests': 0.0, 'prompt_tokens': 0.0, 'completion_tokens': 0.0}}


def test_without_servers_it_says_how_to_add_one(run, here):
    assert 'flask servers add NAME URL' in run('top', '--interval', '0.1').stdout


def test_llmhost_that_does_not_run_is_told_with_the_cure(refused, settings):
    assert refused('top', '--once') == f'No llmhost answers at http://{settings["bind"]}. Start it: flask up'


def test_key_is_asked_for(refused, app, here):
    app.extensions['llmhost'].keys.create('a')
    assert '--api-key-env VAR' in refused('top', '--once')


@pytest.mark.parametrize('interval', ['0', '-1', 'often', 'nan'])
def test_interval_that_makes_no_sense_is_refused(run, interval):
    assert run('top', '--interval', interval).exit_code == 2


@pytest.mark.parametrize('key', ['q', '\x03'])
def test_page_is_live_and_the_terminal_given_back(door, upstream, here, settings, tmp_path, key):
    door.add('one', upstream)
    with Terminal(['top', '--interval', '0.1'], tmp_path / 'mine', LLMHOST_BIND=settings['bind']) as terminal:
        terminal.wait_for('\x1b[?1049h')
        terminal.wait_for('one ')
        assert not terminal.modes & termios.ECHO
        door.add('another', upstream)
        terminal.wait_for('another ')
        terminal.resize(20, 5)
        terminal.wait_for('\x1b[Hllmhost http://127.0\x1b[K')
        terminal.type(key)
        assert terminal.wait_for_end() == 0
        assert terminal.shown.endswith('\x1b[?1049l')
        assert terminal.modes & termios.ECHO
