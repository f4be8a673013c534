"""While no key is needed: who may ask is this machine alone, and no page of elsewhere that runs in its browser."""

import pytest
from front_door import CHAT, MESSAGES

HELLO = {'model': 'm', 'messages': MESSAGES}
PAGE = 'https://chat.example'
ENDPOINTS = [('POST', CHAT), ('POST', '/v1/embeddings'), ('POST', '/rerank'), ('GET', '/v1/models'), ('GET', '/v1/models/m'),
             ('GET', '/health'), ('GET', '/metrics')]


@pytest.fixture
def status(door, upstream):
    """The status of a chat request with these headers."""
    door.add('one', upstream)
    return lambda **headers: door.post(CHAT, HELLO, headers=headers).status_code


@pytest.mark.parametrize('host', [
    'localhost', 'localhost:4080', 'LOCALHOST:4080', 'localhost.:4080', 'llm.localhost:4080', '127.0.0.1:4080', '127.9.9.9',
    '[::1]:4080', '[::1]',
])
def test_host_of_this_machine_is_served(status, host):
    assert status(Host=host) == 200


@pytest.mark.parametrize('host', [
    'evil.example', 'evil.example:4080', 'localhost.evil.example', 'notlocalhost', '127.0.0.1.evil.example', '192.168.1.5:4080',
    '[fe80::1]:4080', '0.0.0.0:4080', ':4080',
])
def test_host_of_elsewhere_is_refused(door, status, host):
    assert status(Host=host) == 403
    error = door.post(CHAT, HELLO, headers={'Host': host}).json['error']
    assert (error['type'], error['code']) == ('invalid_request_error', 'permission_denied')
    assert 'LLMHOST_CORS_ORIGINS' in error['message'] and 'flask keys create NAME' in error['message']


@pytest.mark.parametrize(('origin', 'expected'), [
    ('http://localhost:4080', 200), ('http://evil.example', 403), ('null', 403), ('http://localhost:3000', 403), ('', 403),
    ('http://localhost:4080.evil.example', 403),
])
def test_page_is_served_from_the_same_origin_only(status, origin, expected):
    assert status(Host='localhost:4080', Origin=origin) == expected


@pytest.mark.parametrize('settings', [{'cors_origins': (PAGE,)}, {'cors_origins': ('*',)}])
def test_page_that_cors_names_is_served(status, settings):
    assert status(Host='localhost:4080', Origin=PAGE) == 200
    assert status(Host='evil.example', Origin=PAGE) == 403


@pytest.mark.parametrize(('method', 'path'), ENDPOINTS)
def test_every_endpoint_that_would_need_a_key_is_fenced(door, method, path):
    for headers in ({'Host': 'evil.example'}, {'Origin': 'http://evil.example'}):
        assert door.client.open(path, method=method, headers=headers, data='{}').status_code == 403


@pytest.mark.parametrize('path', ['/livez', '/readyz'])
def test_probe_is_answered_under_any_name(door, path):
    assert door.client.get(path, headers={'Host': 'evil.example'}).status_code == 200


@pytest.mark.parametrize('settings', [
    {'auth': 'off'}, {'bind': 'unix:/run/llmhost.sock'}, {'auth': 'off', 'bind': '0.0.0.0:4080'},
])
def test_operator_who_said_so_is_not_fenced(status, settings):
    assert status(Host='evil.example', Origin='http://evil.example') == 200


@pytest.mark.parametrize('settings', [{'api_key': 'right'}])
def test_key_opens_the_fence(status):
    assert status(Host='llmhost.lan', Origin='http://evil.example', Authorization='Bearer right') == 200
    assert status(Host='llmhost.lan') == 401


# a key's models

@pytest.fixture
def limited(door, upstream):
    """Asks with a key that may use `m` alone: the status and the code."""
    door.add('one', upstream)
    key = door.services.keys.create('a', models=['m'])

    def ask(**fields):
        response = door.post(CHAT, {**HELLO, **fields}, headers={'X-Api-Key': key})
        return response.status_code, response.json.get('error', {}).get('code')
    return ask


@pytest.mark.parametrize(('models', 'answer'), [
    (['m'], (200, None)), (['m', 'secret'], (404, 'model_not_found')), (['secret'], (404, 'model_not_found')),
    ('secret', (400, 'invalid_type')),
])
def test_every_model_of_a_list_must_be_allowed(limited, models, answer):
    assert limited(models=models) == answer


@pytest.mark.parametrize('name', ['Model', 'MODEL', 'modeL', 'Models', 'model\u017f'])
def test_second_spelling_of_model_is_refused(limited, upstream, name):
    assert limited(**{name: 'secret'}) == (400, 'unknown_parameter')
    assert not upstream.requests


def test_other_field_in_capitals_is_passed_on(limited):
    assert limited(Modes=1, STREAM_X=True) == (200, None)
