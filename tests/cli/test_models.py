"""`flask models`, and `flask servers add --gguf` of what must be pulled first."""

import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from llmhost.cli.progress import Progress
from llmhost.gateway import catalogue as catalogue_module
from llmhost.weights.catalogue import load_catalogue
from tests.weights.file_server import FileServer, Offer

from .test_programs import ROOT

CONTENT = b'GGUF' + bytes(range(256)) * 800
DIGEST = hashlib.sha256(CONTENT).hexdigest()
CODER = 'qwen2.5-coder-1.5b-instruct'


@pytest.fixture
def server():
    with FileServer() as server:
        server.offer(CONTENT)
        yield server


@pytest.fixture
def models(app):
    return app.extensions['llmhost'].config.data_dir / 'models'


@pytest.fixture
def listed(run):
    """The entry of a model in the list."""
    def listed(name):
        return {model['name']: model for model in json.loads(run('models', 'list', '--json').stdout)}.get(name)
    return listed


@pytest.fixture
def tiny(server, monkeypatch):
    """A catalogue of one model, which `server` has."""
    entry = load_catalogue()[CODER]
    file = replace(entry.file, source=f'{server.url}/tiny.gguf', name='tiny.gguf', size=len(CONTENT), sha256=DIGEST)
    monkeypatch.setattr(catalogue_module, 'load_catalogue', lambda: {'tiny': replace(entry, name='tiny', file=file)})
    return 'tiny'


@pytest.fixture
def start(tmp_path):
    """Starts a pull as a program of its own."""
    started = []

    def start(*arguments, **options):
        environ = {**os.environ, 'LLMHOST_DATA_DIR': str(tmp_path / 'data'), 'PYTHONUNBUFFERED': '1'}
        started.append(subprocess.Popen(
            [sys.executable, '-m', 'flask', 'models', 'pull', *arguments], cwd=ROOT, env=environ, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options))
        return started[-1]
    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def hold():
    """While it is not set, the server keeps the rest of the file back."""
    hold = threading.Event()
    yield hold
    hold.set()


def wait_for_bytes(path):
    end = time.monotonic() + 20
    while not (path.exists() and path.stat().st_size) and time.monotonic() < end:
        time.sleep(0.01)


def ended(process):
    output, errors = process.communicate(timeout=20)
    return process.returncode, output, errors


def test_list_is_a_table_of_the_catalogue(run):
    titles, *rows = run('models', 'list').stdout.splitlines()
    assert titles.split() == ['NAME', 'SIZE', 'LICENCE', 'CONTEXT', 'FOR', 'INSTALLED']
    row, = (row for row in rows if row.startswith(CODER))
    assert row.split() == [CODER, '1.0', 'GB', 'Apache-2.0', '32768', 'chat,', 'tools', 'no']


def test_list_as_json_has_all_that_is_known(listed):
    model = listed(CODER)
    assert model['sha256'] == 'cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046'
    assert model['source'] == 'hf:Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf'
    assert (model['size'], model['installed'], model['path'], model['kept_bytes']) == (1117320768, False, None, 0)


def test_model_is_pulled_listed_and_removed(run, server, listed, models):
    result = run('models', 'pull', f'{server.url}/mine.gguf?key=secret', '--sha256', DIGEST.upper())
    path = models / 'mine.gguf'
    assert result.exit_code == 0 and str(path) in result.stdout and path.read_bytes() == CONTENT
    model = listed('mine.gguf')
    assert (model['installed'], model['path'], model['sha256']) == (True, str(path), DIGEST)
    assert model['source'] == f'{server.url}/mine.gguf' and 'secret' not in (models / 'sources.json').read_text()
    assert run('models', 'rm', 'mine.gguf').exit_code == 0
    assert listed('mine.gguf') is None and not path.exists()


def test_model_of_the_catalogue_is_pulled_by_its_name(run, server, tiny, listed):
    assert listed(tiny)['installed'] is False
    assert run('models', 'pull', tiny).exit_code == 0
    assert listed(tiny)['installed'] is True
    assert 'tiny.gguf is there already.' in run('models', 'pull', tiny).stdout
    assert len(server.requests) == 1


def test_second_pull_fetches_nothing(run, server):
    run('models', 'pull', f'{server.url}/mine.gguf')
    assert 'is there already' in run('models', 'pull', f'{server.url}/mine.gguf').stdout
    assert len(server.requests) == 1


def test_file_of_the_same_name_from_elsewhere_is_not_taken_for_it(run, refused, server, models):
    run('models', 'pull', f'{server.url}/a/model.gguf')
    result = run('models', 'pull', f'{server.url}/b/model.gguf')
    assert result.exit_code == 1
    assert f'is there already, from {server.url}/a/model.gguf. Remove it first: flask models rm model.gguf' in result.stderr
    assert 'There is no file of' in refused('models', 'rm', f'{server.url}/b/model.gguf')
    assert (models / 'model.gguf').exists()


@pytest.mark.parametrize(('arguments', 'code', 'told'), [
    (['nothing'], 1, "There is no model 'nothing'. See 'flask models list'"),
    (['hf:owner/repo'], 1, 'names no file'), (['http://host'], 1, 'must end with the name of a file'),
    ([CODER, '--sha256', 'ab'], 2, '64 hexadecimal digits'), ([CODER, '--sha256', 'a' * 64], 1, 'by another SHA-256'),
    ([], 2, 'MODEL'),
])
def test_pull_of_what_makes_no_sense_is_refused(refused, arguments, code, told):
    assert told in refused('models', 'pull', *arguments, code=code)


def test_wrong_file_leaves_nothing_under_any_name(run, server, models):
    server.offer(b'<html>Log in</html>')
    result = run('models', 'pull', f'{server.url}/mine.gguf')
    assert (result.exit_code, result.stdout) == (1, '')
    assert result.stderr == f'Error: {server.url}/mine.gguf is a web page, not a GGUF file. Nothing was kept.\n'
    assert list(models.iterdir()) == []


@pytest.mark.parametrize('name', ['nothing', CODER, '../servers.json', 'sources.json', 'hf:owner/repo/file.gguf', ''])
def test_rm_of_what_is_not_there_is_refused(refused, name):
    assert f"There is no file of '{name}'" in refused('models', 'rm', name)


def test_rm_of_a_file_that_a_server_uses_needs_force(run, refused, server, tiny, models):
    for name in ('one', 'two'):
        assert run('servers', 'add', name, '--gguf', tiny).exit_code == 0
    told = refused('models', 'rm', tiny)
    assert told.startswith("tiny.gguf is used by the servers 'one', 'two'") and '--force' in told
    assert (models / 'tiny.gguf').exists()
    assert run('models', 'rm', tiny, '--force').exit_code == 0
    assert not (models / 'tiny.gguf').exists()


# servers add --gguf

def gguf_of(run, name):
    return json.loads(run('servers', 'show', name, '--json').stdout)['gguf']


def test_add_of_a_model_of_the_catalogue_pulls_it(run, server, tiny, models):
    result = run('servers', 'add', 'one', '--gguf', tiny)
    assert result.exit_code == 0 and 'tiny.gguf is not here yet: pulling it.' in result.stdout
    assert gguf_of(run, 'one') == str(models / 'tiny.gguf')
    run('servers', 'add', 'two', '--gguf', tiny)
    assert len(server.requests) == 1


@pytest.mark.parametrize('text', ['{url}/mine.gguf', 'mine.gguf'])
def test_add_of_what_was_pulled_finds_it(run, server, models, text):
    run('models', 'pull', f'{server.url}/mine.gguf')
    assert run('servers', 'add', 'one', '--gguf', text.format(url=server.url)).exit_code == 0
    assert gguf_of(run, 'one') == str(models / 'mine.gguf')
    assert len(server.requests) == 1


def test_add_pulls_nothing_for_a_name_that_is_taken(run, server, tiny, refused):
    run('servers', 'add', 'one', 'http://127.0.0.1:9', '--no-check')
    assert "named 'one' exists already" in refused('servers', 'add', 'one', '--gguf', tiny)
    assert server.requests == []


def test_add_of_a_model_that_cannot_be_had_changes_nothing(run, server, registry):
    server.offer(b'', status=404)
    result = run('servers', 'add', 'one', '--gguf', f'{server.url}/mine.gguf')
    assert result.exit_code == 1 and 'There is no file' in result.stderr
    assert not registry.exists()


def test_add_of_an_unknown_name_says_where_names_are(refused):
    assert "There is no file and no model 'qwen'. See 'flask models list'" in refused('servers', 'add', 'one', '--gguf', 'qwen')


# progress

def test_progress_is_a_line_every_tenth_where_there_is_no_terminal(run, server):
    server.offer(CONTENT, drip=len(CONTENT) // 20, pause=0.005)
    lines = [line for line in run('models', 'pull', f'{server.url}/mine.gguf').stdout.splitlines() if '%' in line]
    assert 5 <= len(lines) <= 10
    assert re.fullmatch(r' *\d+ %  \d+ of \d+ MB  [\d.]+ MB/s(  ETA [\d:]+)?', lines[0])
    assert lines[-1].startswith('100 %')


def test_progress_is_a_bar_at_a_terminal(capsys):
    times = iter(range(100))
    progress = Progress(moving=True, clock=lambda: next(times))
    for done in range(0, 101, 25):
        progress.progress(done << 20, 100 << 20)
    progress.tell('Done.')
    drawn = capsys.readouterr().out.split('\r\x1b[K')
    assert drawn[3] == '[############............]  50 %  50 of 100 MB  25.0 MB/s  ETA 0:02'
    assert drawn[-1] == '[########################] 100 %  100 of 100 MB  25.0 MB/s\nDone.\n'


def test_progress_of_an_unknown_length_counts_bytes(capsys):
    times = iter(range(100))
    progress = Progress(moving=False, clock=lambda: next(times))
    for done in range(0, 301, 50):
        progress.progress(done << 20, None)
    assert capsys.readouterr().out.splitlines() == ['100 MB  50.0 MB/s', '200 MB  50.0 MB/s', '300 MB  50.0 MB/s']


# as programs

def test_control_c_keeps_what_came_for_the_same_command(start, server, tmp_path, hold):
    server.offer(CONTENT, drip=5000, hold=hold)
    process = start(f'{server.url}/mine.gguf')
    wait_for_bytes(tmp_path / 'data' / 'models' / 'mine.gguf.part')
    process.send_signal(signal.SIGINT)
    code, _, errors = ended(process)
    assert code == 1
    assert re.fullmatch(r'Error: Stopped. The \d+ MB that came are kept: the same command goes on from there.\n', errors)
    folder = tmp_path / 'data' / 'models'
    assert sorted(path.name for path in folder.iterdir()) == ['mine.gguf.part', 'mine.gguf.part.json']
    server.offer(CONTENT)
    assert ended(start(f'{server.url}/mine.gguf', '--sha256', DIGEST))[0] == 0
    assert re.fullmatch(r'bytes=[1-9]\d*-', server.ranges()[-1])


def test_second_pull_of_the_same_model_waits_for_the_first(start, server, tmp_path, hold):
    server.offer(CONTENT, drip=5000, hold=hold)
    first = start(f'{server.url}/mine.gguf')
    wait_for_bytes(tmp_path / 'data' / 'models' / 'mine.gguf.part')
    second = start(f'{server.url}/mine.gguf')
    assert second.stdout.readline() == 'mine.gguf is being pulled by another process: waiting for it.\n'
    hold.set()
    code, output, _ = ended(second)
    assert code == 0 and output.startswith('mine.gguf is there already.')
    assert ended(first)[0] == 0 and len(server.requests) == 1


def test_disk_that_is_full_is_one_line_and_rm_makes_room(start, server, tmp_path, run, listed):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    code, _, errors = ended(start(f'{server.url}/mine.gguf', preexec_fn=limit))
    line, = errors.splitlines()
    assert code == 1 and line.startswith(f'Error: {tmp_path}/data/models/mine.gguf.part cannot be written: file too large.')
    model = listed('mine.gguf')
    assert (model['installed'], model['kept_bytes']) == (False, 100_000)
    assert run('models', 'rm', 'mine.gguf').exit_code == 0
    assert list((tmp_path / 'data' / 'models').iterdir()) == []


@pytest.mark.slow
def test_pull_of_100_mb_shows_progress(start, server):
    content = b'GGUF' + bytes(100 << 20)
    server.offer(Offer(content, cuts=[60 << 20]), Offer(content))
    code, output, errors = ended(start(f'{server.url}/large.gguf', '--sha256', hashlib.sha256(content).hexdigest()))
    assert (code, errors) == (0, '')
    assert [line[:5] for line in output.splitlines() if '%' in line] == [f'{percent:3d} %' for percent in range(10, 101, 10)]
    assert 'broke off' in output
