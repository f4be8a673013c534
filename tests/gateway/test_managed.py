"""Servers that the host grants leases for: managed ones, and those that take only so many requests at once."""

from pathlib import Path

import pytest
from fake_upstream import FakeUpstream, Reply
from front_door import KEEP_ALIVE

from llmhost.schemas import load_server
from llmhost.storage.servers import server_from

from .stub_host import StubHost

streams = pytest.mark.parametrize('stream', [False, True], ids=['whole', 'stream'])
impatient = pytest.mark.parametrize('settings', [{'queue_timeout': 0.3}])


@pytest.fixture
def managed(door):
    """A managed server."""
    entry = load_server({'name': 'local', 'provider': 'llamacpp', 'gguf': '/models/a.gguf', 'models': ['m']})
    door.services.registry.add(server_from(entry))


@pytest.fixture
def host(app):
    def host(*answers, **options):
        return StubHost(app.extensions['llmhost'].config.lease_socket, *answers, **options)
    return host


@streams
def test_managed_server_is_asked_where_the_host_has_it_and_its_lease_given_back(stream, door, managed, host, upstream):
    with host({'url': upstream.url}) as running:
        answer = door.chat(stream=stream)
        assert running.wait_until_free()
    assert (answer.status_code, answer.headers['x-llmhost-server']) == (200, 'local')
    assert [question['server'] for question in running.asked] == ['local']
    assert len(upstream.requests) == 1


@streams
def test_limited_server_is_asked_at_its_own_address_within_a_lease(stream, door, host, upstream):
    door.add('box', upstream, max_concurrency=1)
    with host({'url': None}) as running:
        assert door.chat(stream=stream).status_code == 200
        assert running.wait_until_free()
    assert [question['server'] for question in running.asked] == ['box']


def test_unlimited_server_needs_no_lease(door, host, upstream):
    door.add('box', upstream)
    with host({'url': None}) as running:
        assert door.chat().status_code == 200
    assert running.asked == []


def test_lease_is_given_back_when_the_upstream_fails(door, managed, host, upstream):
    upstream.always('/v1/chat/completions', Reply.error(400, 'no'))
    with host({'url': upstream.url}) as running:
        assert door.chat().status_code == 400
        assert running.wait_until_free()


def test_connection_to_the_host_is_used_again(door, managed, host, upstream):
    with host({'url': upstream.url}) as running:
        assert [door.chat().status_code for _ in range(3)] == [200] * 3
        assert len(running.asked) == 3


@pytest.mark.parametrize('settings', [{'keepalive_interval': 0.03}])
def test_stream_is_kept_alive_while_the_model_loads(door, managed, host, upstream):
    with host({'loading': True}, {'url': upstream.url}, delay=0.2):
        stream = door.stream()
    assert stream.text.count(KEEP_ALIVE) >= 2
    assert (stream.done, stream.errors) == (True, [])


@streams
def test_server_that_died_under_a_request_is_asked_again_when_the_host_has_it_back(stream, door, managed, host, upstream):
    upstream.answer('/v1/chat/completions', Reply(drop=True))
    with host({'url': upstream.url}) as running:
        assert door.chat(stream=stream).status_code == 200
    assert (len(running.asked), len(upstream.requests)) == (2, 2)


@streams
def test_server_that_cannot_start_is_unavailable_with_the_hosts_reason(stream, door, managed, host):
    with host({'error': {'message': 'The GGUF file is gone.', 'code': 'x', 'retry_after': 3}}):
        answer = door.chat(stream=stream)
    assert (answer.status_code, answer.json['error']['message']) == (503, 'The GGUF file is gone.')
    assert (answer.headers['retry-after'], answer.json['error']['code']) == ('3', 'x')


def test_full_queue_is_a_rate_limit(door, managed, host):
    with host({'error': {'message': 'Full.', 'code': 'rate_limit_exceeded', 'retry_after': 2}}):
        answer = door.chat()
    assert (answer.status_code, answer.json['error']['code'], answer.headers['retry-after']) == (429, 'rate_limit_exceeded', '2')


@impatient
@streams
def test_no_turn_in_time_is_a_rate_limit_and_gives_up_the_place(stream, door, managed, host, upstream):
    with host({'url': upstream.url}, delay=30) as running:
        answer = door.chat(stream=stream)
        assert (answer.status_code, int(answer.headers['retry-after']) >= 1) == (429, True)
    assert upstream.requests == [] and running.asked


@impatient
@streams
def test_leased_server_without_a_host_is_unavailable_and_the_others_go_on(stream, door, managed, upstream):
    answer = door.chat(stream=stream)
    assert answer.status_code == 503 and int(answer.headers['retry-after']) >= 1
    assert 'The host process is away' in answer.json['error']['message']
    door.add('box', upstream, models=('other',))
    assert door.chat('other', stream=stream).status_code == 200


@impatient
def test_another_server_of_the_pool_answers_while_the_host_is_away(door, managed, upstream):
    door.add('box', upstream)
    answer = door.chat()
    assert (answer.status_code, answer.headers['x-llmhost-server']) == (200, 'box')


def test_host_that_restarts_is_asked_again(door, managed, host, upstream):
    with host({'url': upstream.url}) as first:
        assert door.chat().status_code == 200
    Path(first.server_address).unlink()
    with host({'url': upstream.url}):
        assert door.chat().status_code == 200


@pytest.mark.parametrize('settings', [{'start_timeout': 0.1, 'queue_timeout': 0.1}])
def test_start_that_takes_too_long_is_given_up(door, managed, host):
    with host({'loading': True}, {'url': 'http://127.0.0.1:9'}, delay=5):
        answer = door.chat()
    assert (answer.status_code, 'did not load within 0.1 s' in answer.json['error']['message']) == (503, True)


@impatient
@pytest.mark.parametrize('answer', [b'Internal Server Error\n', b'', b'[]\n', b'{}\n', b'{"error": "text"}\n'])
def test_host_that_answers_nonsense_is_away(answer, door, managed, host):
    with host(answer):
        assert door.chat().status_code == 503


def test_pool_passes_over_a_dead_server_behind_a_lease(door, host, upstream):
    with FakeUpstream() as dead:
        dead.refuse()
        door.add('dead', dead, models=('m1',), max_concurrency=1, priority=5)
        door.add('box', upstream, models=('m1',))
        with host({'url': None}) as running:
            assert door.chat('m1').headers['x-llmhost-server'] == 'box'
            assert running.wait_until_free()
