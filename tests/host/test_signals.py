"""What workers tell of a server, and how long it stands against what probes see."""
import json
import time
from dataclasses import replace
from typing import Any

import pytest

from llmhost.config import Config
from llmhost.errors import BadRequestError
from llmhost.host.signals import MISCONFIGURED_PAUSE, Hold, Signal, hold_of, parse_signal
from llmhost.storage.status import DOWN, MISCONFIGURED, RATE_LIMITED, STOPPED, UP, ServerStatus
from tests.fake_upstream import FakeUpstream, Reply
from tests.host.conftest import HostUnderTest, stub

MODELS = '/v1/models'


def tell(host: HostUnderTest, name: str, state: str, error: str | None = None, until: float | None = None) -> dict[str, Any]:
    response = host.client.post(f'/servers/{name}/signal', json={'state': state, 'error': error, 'until': until})
    assert response.status_code == 200, response.text
    status: dict[str, Any] = response.json()
    return status


def test_a_rate_limited_server_is_up_again_when_its_time_has_come(host: HostUnderTest) -> None:
    with FakeUpstream(models=['m1']) as upstream:
        host.servers(lan={'url': upstream.url})
        host.wait_for_state('lan', UP)
        until = time.time() + 0.5
        assert tell(host, 'lan', RATE_LIMITED, 'Slow down.', until)['state'] == RATE_LIMITED
        status = host.wait_for_state('lan', RATE_LIMITED)
        assert (status.error, status.until) == ('Slow down.', until)
        assert host.probe('lan')['state'] == RATE_LIMITED, 'its model list is not limited'
        status = host.wait_for_state('lan', UP)
        assert time.time() >= until - 0.01
        assert (status.error, status.until, [model['id'] for model in status.models]) == (None, None, ['m1'])


def test_a_rate_limited_server_that_goes_down_is_down(host: HostUnderTest) -> None:
    with FakeUpstream() as upstream:
        host.servers(lan={'url': upstream.url})
        tell(host, 'lan', RATE_LIMITED, until=time.time() + 60)
        upstream.refuse()
        assert host.probe('lan')['state'] == DOWN
        assert host.status('lan').until is None


def test_a_rate_limit_outlives_the_host_that_was_told(config: Config) -> None:
    with FakeUpstream() as upstream:
        for run in range(2):
            host = HostUnderTest(config)
            host.servers(lan={'url': upstream.url})
            host.thread.start()
            if run == 0:
                tell(host, 'lan', RATE_LIMITED, until=time.time() + 60)
            assert host.probe('lan')['state'] == RATE_LIMITED
            host.close()


def test_a_misconfigured_server_stays_so_though_its_models_can_be_listed(host: HostUnderTest) -> None:
    with FakeUpstream() as upstream:
        host.servers(lan={'url': upstream.url})
        tell(host, 'lan', MISCONFIGURED, 'It refuses the API key (status 401).')
        status = host.probe('lan')
        assert (status['state'], status['error']) == (MISCONFIGURED, 'It refuses the API key (status 401).')


def test_a_misconfigured_server_is_up_when_a_request_succeeds(host: HostUnderTest) -> None:
    with FakeUpstream() as upstream:
        host.servers(lan={'url': upstream.url})
        tell(host, 'lan', MISCONFIGURED, 'no')
        assert tell(host, 'lan', UP)['error'] is None
        assert host.probe('lan')['state'] == UP


def test_a_misconfigured_server_is_up_when_its_entry_changes(host: HostUnderTest) -> None:
    with FakeUpstream() as upstream:
        host.servers(lan={'url': upstream.url})
        tell(host, 'lan', MISCONFIGURED, 'no')
        host.servers(lan={'url': upstream.url, 'api_key': 'the-right-one'})
        host.wait_for_state('lan', UP)


def test_a_server_said_to_be_down_is_looked_at_at_once(host: HostUnderTest) -> None:
    with FakeUpstream() as upstream:
        host.servers(lan={'url': upstream.url})
        host.wait_for_state('lan', UP)
        time.sleep(1.0)
        assert tell(host, 'lan', DOWN, 'It broke off.')['error'] == 'It broke off.'
        upstream.wait_until(lambda upstream: len(upstream.requests) == 2, timeout=1)
        host.wait_for_state('lan', UP, timeout=1)


def test_many_who_say_that_a_server_is_down_cause_few_probes(host: HostUnderTest) -> None:
    with FakeUpstream() as upstream:
        host.servers(lan={'url': upstream.url})
        host.wait_for_state('lan', UP)
        for _ in range(50):
            tell(host, 'lan', DOWN, 'It broke off.')
        assert len(upstream.requests) <= 2
        host.wait_for_state('lan', UP)


def test_a_signal_holds_no_secret(host: HostUnderTest) -> None:
    with FakeUpstream() as upstream:
        host.servers(lan={'url': upstream.url, 'api_key': 'sk-very-secret-0123456789'})
        error = tell(host, 'lan', MISCONFIGURED, 'Wrong key: sk-very-secret-0123456789.' + 'x' * 1000)['error']
        assert 'very-secret' not in error
        assert len(error) <= 200


def test_a_managed_servers_state_is_its_process(host: HostUnderTest) -> None:
    host.servers(local=stub())
    assert tell(host, 'local', DOWN, 'no')['state'] == STOPPED


@pytest.mark.parametrize('body', [
    b'', b'[]', b'{}', b'{"state": "great"}', b'{"state": ["up"]}', b'{"state": "up", "error": 1}',
    b'{"state": "up", "until": "soon"}', b'{"state": "up", "until": true}', b'{"state": "up", "until": NaN}',
])
def test_a_signal_that_cannot_be_used_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequestError, match='signal'):
        parse_signal(body)


def test_a_refused_signal_is_the_workers_fault(host: HostUnderTest) -> None:
    host.servers(lan={'url': 'http://127.0.0.1:1'})
    assert host.client.post('/servers/lan/signal', content=b'{}').status_code == 400


def test_a_signal_of_an_unknown_server_is_refused(host: HostUnderTest) -> None:
    assert host.client.post('/servers/other/signal', content=json.dumps({'state': UP})).status_code == 404


def test_of_two_rate_limits_the_longer_one_counts() -> None:
    longer, shorter = Signal(RATE_LIMITED, until=2e9), Signal(RATE_LIMITED, until=1.9e9)
    assert shorter.hold(longer.hold(None)) == Hold(RATE_LIMITED, 2e9)
    assert longer.hold(shorter.hold(None)) == Hold(RATE_LIMITED, 2e9)


def test_a_misconfigured_server_is_tried_again_after_a_while() -> None:
    hold = Signal(MISCONFIGURED).hold(None)
    assert hold is not None
    assert MISCONFIGURED_PAUSE - 1 < hold.remaining() <= MISCONFIGURED_PAUSE
    assert hold_of(ServerStatus(MISCONFIGURED)) is None


def test_a_slow_probe_does_not_undo_a_signal_that_came_meanwhile(config: Config) -> None:
    host = HostUnderTest(replace(config, probe_interval=0.1))
    with FakeUpstream() as upstream:
        upstream.always(MODELS, Reply.error(429, 'slow down'))
        host.servers(lan={'url': upstream.url})
        host.thread.start()
        tell(host, 'lan', RATE_LIMITED, 'Slow down.', time.time() + 30)
        upstream.wait_until(lambda upstream: len(upstream.requests) >= 4, timeout=5)
        assert host.status('lan').state == RATE_LIMITED
        host.close()
