"""The console's check and the host's probe judge an answer alike."""

import pytest
from fake_upstream import FakeUpstream, Reply

from llmhost.errors import RegistryError
from llmhost.providers import health
from llmhost.schemas import load_server
from llmhost.storage import status
from llmhost.storage.servers import server_from


@pytest.fixture
def check(door):
    def check(reply, **fields):
        with FakeUpstream() as upstream:
            upstream.always('/v1/models', reply)
            server = server_from(load_server({'name': 'box', 'provider': 'generic', 'url': upstream.url, **fields}))
            return door.services.console.check(server)
    return check


def test_states_have_the_same_words_in_dialects_and_in_the_status():
    for name in ('UP', 'LOADING', 'DOWN', 'MISCONFIGURED'):
        assert getattr(health, name) == getattr(status, name)


@pytest.mark.parametrize('code', [404, 405, 501])
def test_server_without_a_model_list_is_usable_when_its_entry_names_them(check, code):
    assert check(Reply.error(code, 'no'), models=['m1', 'm2']) == ['m1', 'm2']
    with pytest.raises(RegistryError, match='no model list there'):
        check(Reply.error(code, 'no'))


def test_server_that_limits_its_model_list_is_usable(check):
    assert check(Reply.error(429, 'slow down')) == []
    assert check(Reply.error(429, 'slow down'), models=['m']) == ['m']


def test_server_that_loads_is_not_usable_yet(check):
    with pytest.raises(RegistryError, match=r'it is not ready yet: Loading model\.'):
        check(Reply.json({'error': {'code': 503, 'message': 'Loading model'}}, 503))


@pytest.mark.parametrize('code', [401, 500, 302])
def test_key_that_a_server_quotes_is_not_shown(check, code):
    reply = Reply(302, {'Location': '/sk-5ecret-5ecret'}) if code == 302 else Reply.error(code, 'x' * 1985 + 'sk-5ecret-5ecret')
    with pytest.raises(RegistryError) as caught:
        check(reply, api_key='sk-5ecret-5ecret')
    assert '5ecret' not in str(caught.value) and 'sk-' not in str(caught.value)
