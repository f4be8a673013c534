"""Managed servers fetch image URLs themselves, from inside the LAN: they must never be given one."""

import pytest
from front_door import CHAT

from llmhost.schemas import load_server
from llmhost.storage.servers import server_from

from .stub_host import StubHost

DATA = 'data:image/png;base64,iVBORw0KGgo='
REMOTE = ['http://10.0.0.1/a.png', 'https://example.com/a.png', 'file:///etc/passwd', 'HTTP://HOST/a.png', '//host/a.png',
          ' data:image/png;base64,x', 'ftp://host/a', '/etc/passwd']


def image(url):
    return {'type': 'image_url', 'image_url': {'url': url}}


@pytest.fixture
def managed(door, app, upstream):
    """A managed server that runs already, at the address of a real one."""
    entry = load_server({'name': 'local', 'provider': 'llamacpp', 'gguf': '/models/a.gguf', 'models': ['m']})
    door.services.registry.add(server_from(entry))
    with StubHost(app.extensions['llmhost'].config.lease_socket, {'url': upstream.url}):
        yield upstream


def ask(door, *parts, stream=False):
    messages = [{'role': 'system', 'content': 'x'}, {'role': 'user', 'content': [{'type': 'text', 'text': 'What?'}, *parts]}]
    return door.post(CHAT, {'model': 'm', 'messages': messages, 'stream': stream})


@pytest.mark.parametrize('url', REMOTE)
@pytest.mark.parametrize('stream', [False, True])
def test_remote_image_never_reaches_a_managed_server(url, stream, door, managed):
    answer = ask(door, image(DATA), image(url), stream=stream)
    assert (answer.status_code, managed.requests) == (400, [])
    error = answer.json['error']
    assert (error['param'], error['code']) == ('messages[1].content[2].image_url.url', 'unsupported_value')


@pytest.mark.parametrize('part', [
    {'type': 'video_url', 'video_url': {'url': 'http://10.0.0.1/'}},
    {'type': 'image_url', 'image_url': 'http://10.0.0.1/'},
    {'type': 'input_audio', 'audio_url': {'url': 'http://10.0.0.1/'}},
    {'type': 'text', 'text': '', 'image_url': {'url': 'http://10.0.0.1/'}},
])
def test_remote_media_of_any_kind_never_reaches_a_managed_server(part, door, managed):
    assert (ask(door, part).status_code, managed.requests) == (400, [])


@pytest.mark.parametrize('url', [DATA, DATA.replace('data', 'DATA')])
def test_image_in_the_request_itself_reaches_a_managed_server(url, door, managed):
    assert ask(door, image(url)).status_code == 200
    assert managed.requests[0].json['messages'][1]['content'][1] == image(url)


@pytest.mark.parametrize('url', REMOTE)
def test_remote_image_is_passed_on_to_a_server_of_someone_else(url, door, upstream):
    door.add('cloud', upstream)
    assert ask(door, image(url)).status_code == 200
    assert upstream.requests[0].json['messages'][1]['content'][1] == image(url)
