"""The commands as programs: exit codes, streams, and no traceback whatever is wrong outside."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from llmhost.cli.up import _bind

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def program(tmp_path):
    """Runs a program of the checkout with a data directory of its own, and no network for pip."""
    def run(*command, typed='', **settings):
        kept = {name: value for name, value in os.environ.items() if not name.startswith('LLMHOST_')}
        environ = {**kept, 'LLMHOST_DATA_DIR': str(tmp_path / 'data'), 'PIP_NO_INDEX': '1', 'PIP_CONFIG_FILE': os.devnull,
                   **settings}
        return subprocess.run(
            [sys.executable, '-m', *command], cwd=ROOT, env=environ, input=typed, capture_output=True, text=True, timeout=20)
    return run


def one_error(done, code=1):
    """The only line on stderr."""
    line, = done.stderr.splitlines()
    assert (done.returncode, line[:7]) == (code, 'Error: ')
    return line.removeprefix('Error: ')


def test_servers_are_added_listed_and_removed(program, upstream):
    added = program('flask', 'servers', 'add', 'one', upstream.url, '--api-key-stdin', typed='sk-5ecret\n')
    assert (added.returncode, added.stdout.splitlines()[0], added.stderr) == (0, "Added 'one' (generic): 2 models.", '')
    listed = program('flask', 'servers', 'list', '--json')
    assert [server['name'] for server in json.loads(listed.stdout)] == ['one']
    removed = program('flask', 'servers', 'remove', 'one')
    assert (removed.returncode, removed.stdout) == (0, "Removed 'one'.\n")
    assert '5ecret' not in added.stdout + listed.stdout + removed.stdout


def test_key_is_alone_on_stdout_so_that_a_script_can_take_it(program):
    done = program('flask', 'keys', 'create', 'ci')
    assert done.stdout.startswith('sk-llmhost-') and done.stdout.count('\n') == 1


@pytest.mark.parametrize(('arguments', 'code'), [(('servers', 'remove', 'none'), 1), (('servers', 'add'), 2), (('nothing',), 2)])
def test_exit_codes_are_those_documented(program, arguments, code):
    done = program('flask', *arguments)
    assert (done.returncode, done.stdout) == (code, '')
    assert 'Error: ' in done.stderr and 'Traceback' not in done.stderr


@pytest.mark.parametrize('settings', [{'LLMHOST_MAX_CONCURRENCY': 'many'}, {'LLMHOST_AUTH': 'maybe'}, {'LLMHOST_BIND': 'here'}])
@pytest.mark.parametrize('command', [('flask', 'servers', 'list'), ('gunicorn',)], ids=lambda command: command[0])
def test_bad_setting_is_told_in_one_line(program, command, settings):
    name, = settings
    assert one_error(program(*command, **settings)).startswith(f'{name} is ')


@pytest.mark.parametrize(('arguments', 'settings'), [
    ((), {'LLMHOST_BIND': '0.0.0.0:4080'}),
    (('-b', '0.0.0.0:4080'), {}),
    (('-b', '127.0.0.1:4080', '-b', '[::]:4080'), {}),
    ((), {'GUNICORN_CMD_ARGS': '--bind=:4080'}),
])
def test_address_others_can_reach_is_refused_without_a_key(program, tmp_path, arguments, settings):
    done = program('gunicorn', *arguments, **settings)
    line = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert ' can be reached from other machines, and no API key exists.' in line
    assert 'flask keys create NAME' in line and 'LLMHOST_AUTH=off' in line
    assert 'Traceback' not in done.stderr and 'Booting' not in done.stderr


def test_flask_run_for_others_is_refused_without_a_key(program):
    line = one_error(program('flask', 'run', '--host', '0.0.0.0', '--port', '4080'))
    assert line.startswith('0.0.0.0:4080 can be reached from other machines')


def test_up_without_a_network_is_told_in_one_line_and_leaves_nothing(program, tmp_path):
    pytest.importorskip('xllamacpp')
    done = program('flask', 'up', '--port', '4081')
    assert 'cannot be fetched' in one_error(done) and 'flask servers add NAME URL' in done.stderr
    assert 'No server is registered yet' in done.stdout
    assert not (tmp_path / 'data' / 'servers.json').exists()
    assert not list((tmp_path / 'data' / 'models').iterdir())


def test_up_for_others_is_refused_without_a_key_before_anything_else(program, tmp_path):
    done = program('flask', 'up', '--host', '0.0.0.0', '--port', '4081')
    assert one_error(done).startswith('0.0.0.0:4081 can be reached from other machines')
    assert done.stdout == ''
    assert not (tmp_path / 'data' / 'models').exists()


def test_up_on_a_port_that_is_taken_says_so_before_anything_else(program):
    with socket.create_server(('127.0.0.1', 0)) as listener:
        port = listener.getsockname()[1]
        done = program('flask', 'up', '--port', str(port))
    assert one_error(done).startswith(f'127.0.0.1:{port} cannot be used: Address already in use')
    assert done.stdout == ''


@pytest.mark.parametrize('arguments', [('servers', 'add', 'one', 'http://127.0.0.1:9', '--no-check'), ('keys', 'create', 'a')])
def test_bytes_that_are_no_text_are_told_in_one_line(program, tmp_path, arguments):
    done = program('flask', *arguments, '--model', b'\xff')
    assert one_error(done) == 'What was typed is not UTF-8 text.'
    assert not list((tmp_path / 'data').glob('*.json'))


@pytest.mark.parametrize(('configured', 'host', 'port', 'bind'), [
    ('unix:/run/llmhost.sock', None, 4081, '127.0.0.1:4081'),
    ('unix:/run/llmhost.sock', '::1', None, '[::1]:4080'),
    ('unix:/run/llmhost.sock', None, None, 'unix:/run/llmhost.sock'),
    ('[::1]:4090', None, 4081, '[::1]:4081'),
    ('192.168.0.9:4090', None, 4081, '192.168.0.9:4081'),
    (':4090', '10.0.0.1', None, '10.0.0.1:4090'),
])
def test_options_of_up_go_before_the_configured_address(configured, host, port, bind):
    assert _bind(configured, host, port) == bind


def test_up_with_a_broken_registry_starts_nothing(program, tmp_path):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'servers.json').write_text('{')
    assert 'servers.json:1:2: not valid JSON' in one_error(program('flask', 'up'))


def test_data_directory_that_cannot_be_made_is_told_in_one_line(program, tmp_path):
    (tmp_path / 'file').write_text('')
    line = one_error(program('gunicorn', LLMHOST_DATA_DIR=str(tmp_path / 'file' / 'data')))
    assert 'cannot be used' in line and 'LLMHOST_DATA_DIR' in line
