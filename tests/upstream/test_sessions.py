import pytest
import requests
from fake_upstream import Reply

from llmhost.errors import UpstreamBrokenError, UpstreamConnectError, UpstreamTimeoutError
from llmhost.upstream.origin import split_url
from llmhost.upstream.sessions import UpstreamAdapter, build_target

PATH = '/v1/models'


def test_get_gives_status_headers_and_body(http_session, upstream):
    answer = http_session.get(upstream.url + PATH + '?a=b', {'Authorization': 'Bearer k', 'X-Team': 'blue'}, 2)
    assert (answer.status, answer.headers['content-type']) == (200, 'application/json')
    assert b'fake-small' in answer.body
    [request] = upstream.requests
    assert (request.path, request.query, request.headers['host']) == (PATH, 'a=b', f'127.0.0.1:{upstream.port}')
    assert (request.headers['authorization'], request.headers['x-team']) == ('Bearer k', 'blue')


def test_get_does_not_follow_redirects(http_session, upstream):
    upstream.answer(PATH, Reply(302, {'location': '/elsewhere'}))
    answer = http_session.get(upstream.url + PATH, {}, 2)
    assert (answer.status, answer.headers['location'], len(upstream.requests)) == (302, '/elsewhere', 1)


def test_get_sends_no_cookie_and_no_netrc_password(http_session, upstream, monkeypatch, tmp_path):
    (tmp_path / '.netrc').write_text('machine 127.0.0.1 login ann password secret\n')
    monkeypatch.setenv('NETRC', str(tmp_path / '.netrc'))
    upstream.answer(PATH, Reply(200, {'set-cookie': 'a=b'}))
    http_session.get(upstream.url + PATH, {}, 2)
    http_session.get(upstream.url + PATH, {}, 2)
    assert not any(request.headers.keys() & {'authorization'} for request in upstream.requests)


@pytest.mark.parametrize(('reply', 'error'), [
    (Reply(hang=True), UpstreamTimeoutError),
    (Reply(drop=True), UpstreamBrokenError),
    (Reply(body=b'x' * 9, cut_after=3), UpstreamBrokenError),
], ids=['silent', 'dropped', 'cut'])
def test_get_raises_llmhosts_own_errors(reply, error, http_session, upstream):
    upstream.answer(PATH, reply)
    with pytest.raises(error):
        http_session.get(upstream.url + PATH, {}, 0.1)


@pytest.mark.parametrize('url', ['http://', 'http://[::1', 'nonsense', 'ftp://host/x'])
def test_get_of_what_is_no_address_is_an_error_of_ours(url, http_session):
    with pytest.raises((UpstreamBrokenError, UpstreamConnectError)):
        http_session.get(url, {}, 0.1)


def test_adapter_serves_an_ordinary_requests_session(upstream):
    with requests.Session() as session:
        session.mount('http://', UpstreamAdapter())
        answer = session.post(upstream.url + '/v1/chat/completions', json={'model': 'm'}, timeout=2)
        assert (answer.status_code, answer.json()['error']['code']) == (400, 'missing_required_parameter')
        assert session.get(upstream.url + PATH, timeout=(2, 2)).json()['object'] == 'list'
        upstream.refuse()
        with pytest.raises(requests.ConnectionError):
            session.get(upstream.url + PATH, timeout=2)


@pytest.mark.parametrize(('url', 'authority', 'path'), [
    ('http://gpu.lan:8000/v1/chat', 'gpu.lan:8000', '/v1/chat'),
    ('https://api.openai.com/v1', 'api.openai.com', '/v1'),
    ('http://gpu.lan', 'gpu.lan', '/'),
    ('http://[fd00::1]:8080/v1?a=b', '[fd00::1]:8080', '/v1?a=b'),
    ('https://gpu.lan:443/x', 'gpu.lan', '/x'),
])
def test_url_is_split_into_origin_and_path(url, authority, path):
    origin, target = split_url(url)
    assert (origin.authority, target) == (authority, path)


@pytest.mark.parametrize('name', ['authorization', 'Authorization', 'CONTENT-TYPE', 'user-agent', 'host'])
def test_header_of_a_server_replaces_llmhosts_own_whatever_its_case(name):
    head = build_target('POST', 'http://gpu.lan/v1', {'Authorization': 'Bearer k', name: 'mine'}).head.decode()
    values = [line.partition(': ')[2] for line in head.split('\r\n') if line.lower().startswith(f'{name.lower()}:')]
    assert values == ['mine']
