"""What a model's address means: the file's name, and where it is."""

import re

import pytest

from llmhost.errors import FetchError
from llmhost.weights.catalogue import load_catalogue
from llmhost.weights.sources import ModelFile, file_at, is_source, url_of

HUB = 'https://huggingface.co'


@pytest.mark.parametrize(('source', 'name', 'url'), [
    ('hf:owner/repo/file.gguf', 'file.gguf', f'{HUB}/owner/repo/resolve/main/file.gguf'),
    ('hf:owner/repo/a b/file.gguf', 'file.gguf', f'{HUB}/owner/repo/resolve/main/a%20b/file.gguf'),
    (f'{HUB}/owner/repo/blob/main/sub/file.gguf', 'file.gguf', f'{HUB}/owner/repo/resolve/main/sub/file.gguf'),
    (f'{HUB}/owner/repo/resolve/main/file.gguf?download=true', 'file.gguf', f'{HUB}/owner/repo/resolve/main/file.gguf'),
    (f'{HUB}/owner/repo/resolve/v1/file.gguf', 'file.gguf', f'{HUB}/owner/repo/resolve/v1/file.gguf'),
    ('https://host/a/b.gguf?key=1#top', 'b.gguf', 'https://host/a/b.gguf?key=1'),
    ('http://host:8000/model', 'model.gguf', 'http://host:8000/model'),
    ('http://host/a/..%2f..%2fpasswd.GGUF', 'passwd.gguf', 'http://host/a/..%2f..%2fpasswd.GGUF'),
    ('http://host/.hidden%20file.gguf', 'hidden_file.gguf', 'http://host/.hidden%20file.gguf'),
])
def test_address_names_its_file(source, name, url):
    file = file_at(source)
    assert (file.name, url_of(file)) == (name, url)


@pytest.mark.parametrize('source', [
    'hf:', 'hf:owner', 'hf:owner/repo', 'hf:owner/repo/', 'hf:owner/repo/../x.gguf', 'http://', 'https://host', 'https://host/',
    'http://host/..', 'http://user:pass@host/a.gguf', 'http://host:port/a.gguf', 'http://ho st/a.gguf', 'http://host/a\nb.gguf',
])
def test_what_names_no_file_is_refused_in_one_line(source):
    with pytest.raises(FetchError) as caught:
        file_at(source)
    assert 'pass' not in str(caught.value).replace('password', '')


def test_key_in_an_address_is_not_shown():
    assert file_at('https://host/a.gguf?key=secret').origin == 'https://host/a.gguf'


@pytest.mark.parametrize('text', ['qwen3-4b', '/a/b.gguf', 'C:/a.gguf', 'wheel:any==1/a.gguf', ''])
def test_name_or_path_is_no_source(text):
    assert not is_source(text)


def test_catalogue_says_only_what_can_be_checked():
    entries = load_catalogue()
    assert 5 <= len(entries) <= 8
    for name, entry in entries.items():
        assert entry.name == name and not is_source(name) and '/' not in name
        assert isinstance(entry.file, ModelFile) and entry.file.name.endswith('.gguf')
        assert entry.file.sha256 is None or re.fullmatch('[0-9a-f]{64}', entry.file.sha256)
        assert entry.file.size is None or entry.file.size > 1 << 20
        assert entry.licence and entry.context > 0 and entry.page.startswith('https://')
        assert set(entry.capabilities) <= {'chat', 'tools', 'vision', 'embeddings', 'rerank'} and entry.capabilities
    assert len({entry.file.name for entry in entries.values()}) == len(entries)
