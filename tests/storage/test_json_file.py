"""One JSON document, many processes."""

import json
import logging
import os
import signal
import subprocess
import sys

import pytest
from filelock import FileLock

from llmhost.errors import ConsoleError, CorruptFileError, RegistryError
from llmhost.storage import json_file
from llmhost.storage.json_file import JsonFile, entries_of

WRITERS, UPDATES = 8, 25
COUNT = """
import sys
from pathlib import Path
from llmhost.storage.json_file import JsonFile
file = JsonFile(Path(sys.argv[1]), dict)
def change(document):
    document.setdefault('counts', {}).setdefault(sys.argv[2], []).append(number)
for number in range(int(sys.argv[3])):
    file.update(change)
    print(number, flush=True)
"""


def count_in_a_process(path, name, updates):
    return subprocess.Popen([sys.executable, '-c', COUNT, path, name, str(updates)], stdout=subprocess.PIPE)


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'data' / 'things.json'


@pytest.fixture
def file(path):
    def decode(document):
        if 'bad' in document:
            raise RegistryError("thing 'a': size must be a number.")
        return document.get('things', {})
    return JsonFile(path, decode)


@pytest.fixture
def put(path):
    def put(text):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return put


def add(name):
    return lambda document: document.setdefault('things', {}).update({name: len(name)})


# what is read and written

def test_file_that_is_not_there_is_empty(file, path):
    assert (file.current(), file.load()) == ({}, {})
    assert not path.parent.exists()


def test_update_writes_readable_text_with_a_version_for_the_owner_alone(file, path):
    file.update(add('naïve'))
    assert path.read_text('utf-8') == '{\n  "things": {\n    "naïve": 5\n  },\n  "version": 1\n}\n'
    assert oct(path.stat().st_mode & 0o777) == '0o600'
    assert oct(path.parent.stat().st_mode & 0o777) == '0o700'


def test_update_makes_a_file_that_everyone_could_read_the_owners_alone(file, path, put):
    put('{}')
    path.chmod(0o644)
    file.update(add('a'))
    assert oct(path.stat().st_mode & 0o777) == '0o600'


def test_update_keeps_what_it_does_not_know(file, path, put):
    put('{"note": [1, null, "é"], "things": {}}')
    file.update(add('a'))
    assert json.loads(path.read_text('utf-8'))['note'] == [1, None, 'é']


@pytest.mark.parametrize('change', [add('abc'), lambda document: document.pop('things')])
def test_change_by_another_is_seen_at_once(path, file, change):
    file.update(add('a'))
    before = file.current()
    other = JsonFile(path, lambda document: document.get('things', {}))
    other.update(change)
    assert file.current() == other.current() != before


def test_file_of_the_same_time_and_size_is_seen_as_changed(file, path, put):
    put('{"things": {"a": 1}}')
    before = path.stat()
    assert file.current() == {'a': 1}
    beside = path.with_suffix('.new')
    beside.write_text('{"things": {"b": 2}}')
    os.utime(beside, ns=(before.st_atime_ns, before.st_mtime_ns))
    beside.replace(path)
    assert (path.stat().st_mtime_ns, path.stat().st_size) == (before.st_mtime_ns, before.st_size)
    assert file.current() == {'b': 2}


def test_file_that_was_edited_in_place_within_the_same_time_is_seen_by_its_size(file, path, put):
    put('{"things": {"a": 1}}')
    before = path.stat()
    file.current()
    put('{"things": {"a": 10}}')
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.current() == {'a': 10}


def test_file_that_did_not_change_is_not_read_again(file, path):
    file.update(add('a'))
    assert file.current() is file.current()


def test_file_that_was_deleted_is_empty(file, path):
    file.update(add('a'))
    assert file.current() == {'a': 1}
    path.unlink()
    assert file.current() == {}


def test_mark_of_windows_editors_in_front_is_passed_over(file, put):
    put(b'\xef\xbb\xbf{"things": {"a": 1}}')
    assert file.load() == {'a': 1}


# what cannot be used

BROKEN = [
    pytest.param('', ':1:1: not valid JSON', id='empty'),
    pytest.param('{"things": {\n "a": 1,}\n}', ':2:9: not valid JSON', id='comma'),
    pytest.param('[]', ': not a JSON object', id='array'),
    pytest.param(b'{"a": "\xff"}', ': not UTF-8 text (byte 7)', id='not UTF-8'),
    pytest.param('[' * 100_000, ': not usable: nested too deeply', id='deep'),
    pytest.param('{"version": 2}', ': written by a newer llmhost (version 2)', id='newer'),
    pytest.param('{"bad": 1}', ": thing 'a': size must be a number.", id='refused by what it is decoded with'),
]


@pytest.mark.parametrize(('text', 'told'), BROKEN)
def test_file_that_cannot_be_used_is_refused_by_path_and_place_and_left_as_it_is(file, path, put, text, told):
    put(text)
    before = path.read_bytes()
    for use in (file.load, lambda: file.update(add('a'))):
        with pytest.raises(CorruptFileError) as caught:
            use()
        assert str(caught.value).startswith(f'{path}{told}')
        assert 'left as it is' in str(caught.value) and '\n' not in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize(('text', 'told'), BROKEN)
def test_last_good_copy_is_served_and_the_fault_logged_once(file, put, text, told, caplog):
    file.update(add('a'))
    assert file.current() == {'a': 1}
    put(text)
    assert [file.current() for _ in range(5)] == [{'a': 1}] * 5
    assert file.known
    assert [record.levelno for record in caplog.records if record.name == json_file.__name__] == [logging.ERROR]
    assert told in caplog.text and 'Serving the last good copy.' in caplog.text
    put('{"things": {"b": 1}}')
    assert file.current() == {'b': 1}


def test_file_that_was_never_good_is_not_known(file, put, caplog):
    put('{')
    assert (file.current(), file.known) == ({}, False)
    assert 'There is no good copy' in caplog.text
    put('{"things": {"a": 1}}')
    assert (file.current(), file.known) == ({'a': 1}, True)


def test_file_that_is_a_folder_is_told_in_one_line(file, path):
    path.mkdir(parents=True)
    with pytest.raises(ConsoleError, match=r'things\.json cannot be read: Is a directory\.$'):
        file.load()


@pytest.mark.parametrize(('document', 'told'), [
    ({'servers': []}, '"servers" must be an object of entries'),
    ({'servers': None}, '"servers" must be an object of entries'),
    ({'servers': {'a': []}}, 'the entry "a" of "servers" must be an object'),
    ({'servers': {'a': 'http://x'}}, 'the entry "a" of "servers" must be an object'),
])
def test_entries_in_another_form_are_refused(document, told):
    with pytest.raises(RegistryError, match=told):
        entries_of(document, 'servers')


# changes that fail

@pytest.mark.parametrize('error', [ZeroDivisionError, KeyboardInterrupt, RegistryError])
def test_change_that_fails_writes_nothing(file, path, error):
    file.update(add('a'))
    before = path.read_bytes()

    def change(document):
        document.clear()
        raise error('no')
    with pytest.raises(error):
        file.update(change)
    assert path.read_bytes() == before
    file.update(add('b'))


def test_change_that_would_make_the_file_unusable_writes_nothing(file, path):
    file.update(add('a'))
    before = path.read_bytes()
    with pytest.raises(RegistryError):
        file.update(lambda document: document.update(bad=1))
    assert path.read_bytes() == before


def test_document_that_cannot_be_written_leaves_nothing_behind(file, path):
    file.update(add('a'))
    before = path.read_bytes()
    with pytest.raises(TypeError):
        file.update(lambda document: document.update(other=object()))
    assert path.read_bytes() == before
    assert {entry.name for entry in path.parent.iterdir()} == {'things.json', 'things.json.lock'}


def test_lock_that_is_held_too_long_is_told_in_one_line(file, path, monkeypatch):
    monkeypatch.setattr(json_file, 'LOCK_TIMEOUT', 0.05)
    file.update(add('a'))
    with FileLock(f'{path}.lock'), pytest.raises(ConsoleError, match='locked by another process'):
        JsonFile(path, dict).update(add('b'))


def test_what_killed_writers_left_is_cleaned_by_the_next(file, path):
    file.update(add('a'))
    (path.parent / '.things.json.x7.tmp').write_text('{"half')
    (path.parent / '.other.json.x7.tmp').write_text('not ours')
    file.update(add('b'))
    assert not list(path.parent.glob('.things.json.*.tmp'))
    assert (path.parent / '.other.json.x7.tmp').exists()


# many processes

def test_updates_by_many_processes_lose_none(path):
    writers = [count_in_a_process(path, f'writer-{number}', UPDATES) for number in range(WRITERS)]
    for writer in writers:
        writer.communicate(timeout=30)
        assert writer.returncode == 0
    counts = json.loads(path.read_text())['counts']
    assert counts == {f'writer-{number}': list(range(UPDATES)) for number in range(WRITERS)}


def test_writer_that_is_killed_leaves_the_old_or_the_new_file(path):
    """Ten writers die in the middle of their work; what each has confirmed is there, and at most one change more."""
    for number in range(10):
        with count_in_a_process(path, f'writer-{number}', 10_000) as writer:
            confirmed = [int(writer.stdout.readline()) for _ in range(3 + number)]
            writer.send_signal(signal.SIGKILL)
            confirmed += map(int, writer.stdout)
        found = json.loads(path.read_text())['counts'][f'writer-{number}']
        assert found in (confirmed, [*confirmed, len(confirmed)])
    JsonFile(path, dict).update(lambda document: document.clear())
    assert not list(path.parent.glob('*.tmp')) + list(path.parent.glob('.*.tmp'))
