"""Image files as data URLs."""

import base64
import os

import pytest

from llmhost.errors import ConsoleError
from llmhost.gateway.image_file import SIZE_LIMIT, data_url_of


@pytest.mark.parametrize(('data', 'kind'), [
    (b'\x89PNG\r\n\x1a\n...', 'image/png'), (b'\xff\xd8\xff\xe0...', 'image/jpeg'), (b'GIF89a...', 'image/gif'),
    (b'RIFF1234WEBPVP8 ', 'image/webp'),
])
def test_type_is_that_of_the_content(tmp_path, data, kind):
    path = tmp_path / 'picture.txt'
    path.write_bytes(data)
    assert data_url_of(path) == f'data:{kind};base64,{base64.b64encode(data).decode()}'


@pytest.mark.parametrize('data', [b'', b'text', b'RIFF1234WAVE', b'<svg/>'])
def test_other_content_is_refused(tmp_path, data):
    path = tmp_path / 'picture.png'
    path.write_bytes(data)
    with pytest.raises(ConsoleError, match='is no image that models take'):
        data_url_of(path)


def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    for name, told in (('pipe', 'is not a file'), ('.', 'is not a file'), ('none', 'is not there')):
        with pytest.raises(ConsoleError, match=told):
            data_url_of(tmp_path / name)


def test_file_over_the_limit_is_refused_unread(tmp_path):
    path = tmp_path / 'large.png'
    with path.open('wb') as file:
        file.truncate(SIZE_LIMIT + 1)
    with pytest.raises(ConsoleError, match='an image may have 20'):
        data_url_of(path)
