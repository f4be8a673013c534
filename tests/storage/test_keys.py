import json
from datetime import date

import pytest

from llmhost.errors import CorruptFileError, DuplicateNameError, RegistryError, UnknownNameError
from llmhost.schemas import load_key
from llmhost.storage.keys import Key, KeyStore


@pytest.fixture
def keys(tmp_path):
    return KeyStore(tmp_path / 'keys.json', load_key)


def test_key_is_found_by_its_text_and_by_nothing_else(keys):
    text = keys.create('a', user='ann')
    assert (keys.find(text).name, keys.find(text).user) == ('a', 'ann')
    assert not [wrong for wrong in ('', text[:-1], text + 'x', text.upper(), keys.find(text).sha256) if keys.find(wrong)]


def test_key_is_long_and_never_the_same(keys):
    texts = {keys.create(f'key {number}') for number in range(20)}
    assert len(texts) == 20
    assert min(map(len, texts)) > 50
    assert all(text.startswith('sk-llmhost-') for text in texts)


def test_file_holds_a_hash_and_not_the_key(keys, tmp_path):
    text = keys.create('a')
    stored = (tmp_path / 'keys.json').read_text()
    assert text.removeprefix('sk-llmhost-') not in stored
    assert json.loads(stored)['keys']['a'].keys() == {'sha256', 'created'}


def test_second_key_of_a_name_is_refused(keys):
    text = keys.create('a')
    with pytest.raises(DuplicateNameError):
        keys.create('a')
    assert keys.find(text)


def test_revoked_key_is_gone_at_once_in_every_process(keys, tmp_path):
    text = keys.create('a')
    other = KeyStore(tmp_path / 'keys.json', load_key)
    assert other.find(text)
    keys.revoke('a')
    assert not other.find(text) and not other.any()


def test_key_that_does_not_exist_cannot_be_revoked(keys):
    with pytest.raises(UnknownNameError):
        keys.revoke('a')


@pytest.mark.parametrize('name', ['', ' a', 'a\nb', 'x' * 65])
def test_key_of_a_bad_name_is_refused_and_not_stored(keys, tmp_path, name):
    with pytest.raises(RegistryError):
        keys.create(name)
    assert not (tmp_path / 'keys.json').exists()


@pytest.mark.parametrize('text', ['{', '{"keys": []}', '{"keys": {"a": {}}}', '{"version": 9}'])
def test_keys_that_cannot_be_read_are_no_open_door(keys, tmp_path, text):
    """A worker that starts on a broken file must not take everyone for welcome."""
    (tmp_path / 'keys.json').write_text(text)
    assert keys.any()
    assert keys.find('anything') is None
    with pytest.raises(CorruptFileError):
        keys.list()


def test_keys_that_break_while_served_stay_as_they_were(keys, tmp_path):
    text = keys.create('a')
    assert keys.any()
    (tmp_path / 'keys.json').write_text('{')
    assert keys.any() and keys.find(text)


def test_file_without_keys_asks_for_none(keys, tmp_path):
    assert not keys.any()
    (tmp_path / 'keys.json').write_text('{"keys": {}}')
    assert not keys.any()


@pytest.mark.parametrize(('today', 'expired'), [('2026-11-19', False), ('2026-11-20', False), ('2026-11-21', True)])
def test_key_is_good_until_the_end_of_its_last_day(today, expired):
    assert Key('a', '', expires='2026-11-20').has_expired(date.fromisoformat(today)) is expired
