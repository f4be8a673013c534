"""Servers whose process the host starts: a request has it started, and waits for it."""

import pytest
from fake_upstream import FakeUpstream
from front_door import KEEP_ALIVE

from llmhost.schemas import load_server
from llmhost.storage.servers import server_from

from .stub_host import StubHost

streams = pytest.mark.parametrize('stream', [False, True], ids=['whole', 'stream'])


@pytest.fixture
def managed(door):
    """A managed server that does not run."""
    entry = load_server({'name': 'local', 'provider': 'llamacpp', 'gguf': '/models/a.gguf', 'models': ['m']})
    door.services.registry.add(server_from(entry))


@pytest.fixture
def host(app):
    def host(answer, **options):
        return StubHost(app.extensions['llmhost'].config.host_socket, answer, **options)
    return host


@streams
def test_server_at_rest_is_started_and_then_asked(stream, door, managed, host, upstream):
    with host({'url': upstream.url}) as running:
        answer = door.chat(stream=stream)
    assert (answer.status_code, answer.headers['x-llmhost-server']) == (200, 'local')
    assert (running.started, len(upstream.requests)) == (['/servers/local/start'], 1)


def test_server_that_runs_is_asked_without_the_host(door, managed, upstream):
    door.observe('local', url=upstream.url)
    assert door.chat().status_code == 200


@pytest.mark.parametrize('settings', [{'keepalive_interval': 0.03}])
def test_stream_is_kept_alive_while_the_model_loads(door, managed, host, upstream):
    with host({'url': upstream.url}, delay=0.2):
        stream = door.stream()
    assert stream.text.count(KEEP_ALIVE) >= 2
    assert (stream.done, stream.errors) == (True, [])


@streams
def test_server_that_died_unseen_is_started_again_and_the_request_served(stream, door, managed, host, upstream):
    with FakeUpstream() as dead:
        dead.refuse()
        door.observe('local', url=dead.url)
    with host({'url': upstream.url}):
        assert door.chat(stream=stream).status_code == 200
    assert len(upstream.requests) == 1


@streams
def test_server_that_cannot_start_is_unavailable_with_the_hosts_reason(stream, door, managed, host):
    with host({'error': {'message': 'The GGUF file is gone.', 'code': 'x'}}, status=503):
        answer = door.chat(stream=stream)
    assert (answer.status_code, answer.json['error']['message']) == (503, 'The GGUF file is gone.')
    assert int(answer.headers['retry-after']) >= 1


@streams
def test_pause_and_code_of_the_host_reach_the_client(stream, door, managed, host):
    answer = {'error': {'message': 'It did not start.', 'code': 'server_not_started'}}
    with host(answer, status=503, retry_after='17'):
        refusal = door.chat(stream=stream)
    assert (refusal.json['error']['code'], refusal.headers['retry-after']) == ('server_not_started', '17')


@streams
def test_managed_server_without_a_host_is_unavailable_and_the_others_go_on(stream, door, managed, upstream):
    answer = door.chat(stream=stream)
    assert answer.status_code == 503 and int(answer.headers['retry-after']) >= 1
    assert 'The host process is away' in answer.json['error']['message']
    door.add('box', upstream, models=('other',))
    assert door.chat('other', stream=stream).status_code == 200


def test_another_server_of_the_pool_answers_while_the_host_is_away(door, managed, upstream):
    door.add('box', upstream)
    answer = door.chat()
    assert (answer.status_code, answer.headers['x-llmhost-server']) == (200, 'box')


@pytest.mark.parametrize('settings', [{'start_timeout': 0.1, 'read_timeout': 0.05}])
def test_start_that_takes_too_long_is_given_up(door, managed, host):
    with host({'url': 'http://127.0.0.1:9'}, delay=5):
        answer = door.chat()
    assert (answer.status_code, 'did not answer within 0.1 s' in answer.json['error']['message']) == (503, True)


@pytest.mark.parametrize(('answer', 'status'), [
    (b'Internal Server Error', 500), (b'', 200), ({}, 404), ([], 500), ({'error': 'text'}, 503), ({'error': []}, 503),
])
def test_host_that_answers_nonsense_is_away(answer, status, door, managed, host):
    with host(answer, status=status):
        assert door.chat().status_code == 503
