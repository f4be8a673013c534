"""Unmanaged servers, as the host sees them: a real server on the other side, and status.json on this."""
import json
import socket
import threading
from dataclasses import replace
from typing import Any

import pytest

from llmhost.config import Config
from llmhost.host.probes import TIMEOUT
from llmhost.storage.status import DISABLED, DOWN, LOADING, MISCONFIGURED, UP
from tests.fake_upstream import FakeUpstream, Reply
from tests.host.conftest import HostUnderTest

MODELS = '/v1/models'
SECRET = 'sk-very-secret-0123456789'


def test_a_server_that_is_added_is_probed_at_once(host: HostUnderTest) -> None:
    with FakeUpstream(models=['m1', 'm2']) as upstream:
        host.servers(lan={'url': upstream.url})
        status = host.wait_for_state('lan', UP, timeout=2)
        assert [model['id'] for model in status.models] == ['m1', 'm2']
        assert {(request.method, request.path) for request in upstream.requests} == {('GET', MODELS)}


def test_a_probe_sends_the_key_and_the_headers(host: HostUnderTest) -> None:
    with FakeUpstream(api_key=SECRET) as upstream:
        host.servers(lan={'url': upstream.url, 'api_key': SECRET, 'headers': {'X-Team': 'blue'}})
        assert host.probe('lan')['state'] == UP
        assert upstream.requests[0].headers['x-team'] == 'blue'


@pytest.mark.parametrize(
    ('reply', 'state', 'error'),
    [
        (Reply.error(401, 'no'), MISCONFIGURED, 'It wants an API key (status 401).'),
        (Reply.error(403, 'no'), MISCONFIGURED, 'It wants an API key (status 403).'),
        (Reply.json({'error': {'code': 503, 'message': 'Loading model'}}, 503), LOADING, 'Loading model'),
        (Reply.text('<h1>Bad Gateway</h1>', 503), DOWN, 'It answered 503'),
        (Reply.text('<html>Welcome</html>'), DOWN, 'not JSON (text/html)'),
        (Reply.json({'error': 'Unexpected endpoint'}), DOWN, 'Unexpected endpoint'),
        (Reply.json({'status': 'ok'}), DOWN, 'no array "data"'),
        (Reply(302, {'Location': 'https://elsewhere/'}), DOWN, 'It redirects to https://elsewhere/: give that address.'),
        (Reply.error(404, 'no'), DOWN, 'no model list there (status 404)'),
        (Reply.error(429, 'slow down'), UP, 'status 429'),
        (Reply.json({'error': {'message': 'No.', 'type': ['x'], 'code': {}, 'param': []}}, 500), DOWN, 'It answered 500: No.'),
        (Reply(drop=True), DOWN, 'It broke the connection off.'),
    ],
    ids=lambda value: None if isinstance(value, Reply) else value[:30],
)
def test_what_a_server_answers_decides_its_state(host: HostUnderTest, reply: Reply, state: str, error: str) -> None:
    with FakeUpstream() as upstream:
        upstream.always(MODELS, reply)
        host.servers(lan={'url': upstream.url})
        seen = host.probe('lan')
        assert seen['state'] == state
        assert error in seen['error']


def test_a_server_without_a_model_list_is_up_when_its_entry_names_them(host: HostUnderTest) -> None:
    with FakeUpstream() as upstream:
        upstream.always(MODELS, Reply.error(404, 'no'))
        host.servers(lan={'url': upstream.url, 'models': ['m1']})
        seen = host.probe('lan')
        assert (seen['state'], seen['models'][0]['id']) == (UP, 'm1')


@pytest.mark.parametrize(
    ('entry', 'error'),
    [
        ({'url': 'http://127.0.0.1:1'}, 'Connection refused.'),
        ({'url': 'http://no-such-host.invalid'}, 'Its host name is not known.'),
    ],
)
def test_a_server_that_cannot_be_reached_is_down(host: HostUnderTest, entry: dict[str, Any], error: str) -> None:
    host.servers(lan=entry)
    seen = host.probe('lan')
    assert (seen['state'], seen['error']) == (DOWN, error)


def test_tls_with_a_server_that_has_none_is_named(host: HostUnderTest) -> None:
    with socket.create_server(('127.0.0.1', 0)) as listener:
        threading.Thread(target=answer_once, args=(listener,)).start()
        host.servers(lan={'url': f'https://127.0.0.1:{listener.getsockname()[1]}'})
        assert 'is the URL http://' in host.wait_for_state('lan', DOWN).error


def answer_once(listener: socket.socket) -> None:
    """As nginx answers TLS on a plain port."""
    connection, _ = listener.accept()
    with connection:
        connection.recv(1024)
        connection.sendall(b'HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n')


def test_a_silent_server_is_down(host: HostUnderTest) -> None:
    with FakeUpstream() as upstream:
        upstream.always(MODELS, Reply(hang=True))
        host.servers(lan={'url': upstream.url})
        assert host.probe('lan')['error'] == f'No answer within {TIMEOUT:g} s.'


def test_a_key_variable_that_is_not_set_is_named(host: HostUnderTest) -> None:
    host.servers(lan={'url': 'http://127.0.0.1:1', 'api_key_env': 'NO_SUCH_KEY'})
    seen = host.probe('lan')
    assert seen['state'] == MISCONFIGURED
    assert 'NO_SUCH_KEY' in seen['error']


def test_a_server_that_goes_down_keeps_its_models_and_its_return_is_noticed(host: HostUnderTest) -> None:
    with FakeUpstream(models=['m1']) as upstream:
        host.servers(lan={'url': upstream.url})
        up = host.wait_for_state('lan', UP)
        upstream.refuse()
        assert host.probe('lan')['state'] == DOWN
        down = host.status('lan')
        assert down.models == up.models
        assert (down.since or 0) > (up.since or 0)
        upstream.listen()
        host.wait_for_state('lan', UP, timeout=10)


def test_since_stays_while_the_state_does(host: HostUnderTest) -> None:
    with FakeUpstream() as upstream:
        host.servers(lan={'url': upstream.url})
        first, second = host.probe('lan'), host.probe('lan')
        assert first['since'] == second['since']
        assert first['checked_at'] < second['checked_at']


def test_a_check_that_finds_nothing_new_is_not_written_each_time(host: HostUnderTest) -> None:
    with FakeUpstream() as upstream:
        host.servers(lan={'url': upstream.url})
        host.probe('lan')
        host.wait_for_state('lan', UP)
        before = (host.config.data_dir / 'status.json').stat().st_ino
        for _ in range(5):
            host.probe('lan')
        assert (host.config.data_dir / 'status.json').stat().st_ino == before


def test_a_changed_entry_is_probed_again_and_starts_afresh(host: HostUnderTest) -> None:
    with FakeUpstream(models=['old']) as old:
        host.servers(lan={'url': old.url})
        host.wait_for_state('lan', UP)
    host.servers(lan={'url': old.url + '/other'})
    assert host.wait_for_state('lan', DOWN).models == ()


@pytest.mark.parametrize('entry', [{'enabled': False}, None], ids=['disabled', 'removed'])
def test_a_server_no_longer_used_is_not_asked(host: HostUnderTest, entry: dict[str, Any] | None) -> None:
    with FakeUpstream() as upstream:
        host.servers(lan={'url': upstream.url})
        host.wait_for_state('lan', UP)
        if entry:
            host.servers(lan={'url': upstream.url, **entry})
            host.wait_for_state('lan', DISABLED)
            assert host.probe('lan')['state'] == DISABLED
        else:
            host.servers()
            host.wait_for_status('lan', lambda status: status.since is None)
        upstream.wait_until(lambda upstream: upstream.under_way == 0)
        assert len(upstream.requests) == 1


def test_a_broken_registry_keeps_the_last_good_one(host: HostUnderTest) -> None:
    with FakeUpstream() as upstream:
        host.servers(lan={'url': upstream.url})
        host.wait_for_state('lan', UP)
        (host.config.data_dir / 'servers.json').write_text('{"servers": {')
        assert host.probe('lan')['state'] == UP
        host.servers(lan={'url': 'not a url'})
        assert host.probe('lan')['state'] == UP


def test_no_secret_gets_into_the_status_file(host: HostUnderTest) -> None:
    with FakeUpstream() as upstream:
        upstream.always(MODELS, lambda request: Reply.error(500, f'what is {json.dumps(request.headers)}?'))
        host.servers(
            one={'url': upstream.url, 'api_key': SECRET, 'headers': {'X-Pass': 'open-sesame'}},
            two={'url': upstream.url, 'headers': {'Authorization': f'Basic {SECRET}'}},
        )
        assert 'what is' in host.probe('one')['error']
        host.probe('two')
        text = (host.config.data_dir / 'status.json').read_text()
        assert SECRET not in text
        assert 'open-sesame' not in text


def test_a_slow_server_does_not_hold_up_the_others(host: HostUnderTest) -> None:
    with FakeUpstream() as slow, FakeUpstream() as quick:
        slow.always(MODELS, Reply(hang=True))
        host.servers(slow={'url': slow.url}, quick={'url': quick.url})
        host.wait_for_state('quick', UP, timeout=2)


def test_probing_goes_on_after_an_answer_that_brings_out_a_defect(config: Config) -> None:
    host = HostUnderTest(replace(config, probe_interval=0.1))
    with FakeUpstream(models=['m1']) as upstream:
        upstream.answer(MODELS, Reply.text('{"error": ' + '[' * 500 + ']' * 500 + '}'))
        host.servers(lan={'url': upstream.url})
        host.thread.start()
        assert [model['id'] for model in host.wait_for_state('lan', UP).models] == ['m1']
        host.close()


def test_certificates_that_cannot_be_read_are_named(config: Config) -> None:
    variables = {**config.variables, 'REQUESTS_CA_BUNDLE': '', 'SSL_CERT_FILE': '/nonexistent'}
    host = HostUnderTest(replace(config, probe_interval=0.1, variables=variables))
    with FakeUpstream() as upstream:
        host.servers(lan={'url': upstream.url})
        host.thread.start()
        for _ in range(2):
            seen = host.probe('lan')
            assert (seen['state'], 'SSL_CERT_FILE cannot be read: No such file' in seen['error']) == (DOWN, True)
        host.close()


def test_an_earlier_hosts_view_is_kept(config: Config) -> None:
    with FakeUpstream(models=['m1']) as upstream:
        first, second = HostUnderTest(config), HostUnderTest(config)
        first.servers(lan={'url': upstream.url})
        first.thread.start()
        before = first.wait_for_state('lan', UP)
        first.close()
        second.thread.start()
        assert second.probe('lan')['since'] == before.since
        second.close()


def test_a_healthy_server_is_probed_each_interval(config: Config) -> None:
    host = HostUnderTest(replace(config, probe_interval=0.1))
    with FakeUpstream() as upstream:
        host.servers(lan={'url': upstream.url})
        host.thread.start()
        upstream.wait_until(lambda upstream: len(upstream.requests) >= 4, timeout=5)
        host.close()
    assert threading.active_count() == 1
