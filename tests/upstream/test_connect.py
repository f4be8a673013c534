import base64
import socket
import ssl
import subprocess
import threading
from contextlib import suppress

import pytest
from fake_upstream import FakeUpstream

from llmhost.errors import UpstreamConnectError
from llmhost.upstream.sessions import UpstreamSession, build_target, unix_target

from .wire_server import WireServer, read_request

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
PATH = '/v1/models'
PROXY_VARIABLES = ('http_proxy', 'https_proxy', 'all_proxy', 'no_proxy')


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope='session')
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that signed itself, and its key."""
    folder = tmp_path_factory.mktemp('certificate')
    paths = folder / 'certificate.pem', folder / 'key.pem'
    subprocess.run(
        ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
         '-subj', '/CN=upstream', '-addext', 'subjectAltName=IP:127.0.0.1', '-out', paths[0], '-keyout', paths[1]],
        check=True, capture_output=True)
    return paths


@pytest.fixture
def tls_server(certificate):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    with WireServer([OK, OK], tls=context) as server:
        yield server


class Proxy:
    """An HTTP proxy that knows CONNECT alone. `answer` is said instead of connecting, where it is given."""

    def __init__(self, answer=b''):
        self.heads = []
        self._answer = answer
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._listener.close()

    def _run(self):
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client:
                    self._serve(client)

    def _serve(self, client):
        head = read_request(client)
        self.heads.append(head.decode())
        if self._answer:
            client.sendall(self._answer)
            return
        host, _, port = head.split(b' ')[1].partition(b':')
        with socket.create_connection((host.decode(), int(port))) as far:
            client.sendall(b'HTTP/1.1 200 Connection established\r\n\r\n')
            back = threading.Thread(target=pump, args=[far, client])
            back.start()
            pump(client, far)
            back.join()


def pump(source, target):
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


# TLS


def test_certificate_that_signed_itself_is_refused_with_the_reason(tls_server, http_session):
    with pytest.raises(UpstreamConnectError) as caught:
        http_session.get(tls_server.url + PATH, {}, 2)
    assert f'Cannot connect to {tls_server.url}' in str(caught.value)
    assert 'its certificate is not trusted' in str(caught.value)
    assert tls_server.requests == []


def test_certificate_of_the_ca_file_is_trusted_and_its_connection_kept(tls_server, certificate):
    http_session = UpstreamSession(str(certificate[0]))
    assert http_session.get(tls_server.url + PATH, {}, 2).body == b'ok'
    assert http_session.get(tls_server.url + PATH, {}, 2).body == b'ok'
    assert tls_server.accepted == 1
    http_session.close()


def test_certificate_for_another_name_is_refused(tls_server, certificate):
    http_session = UpstreamSession(str(certificate[0]))
    with pytest.raises(UpstreamConnectError, match='its certificate is not trusted'):
        http_session.get(f'https://localhost:{tls_server.port}{PATH}', {}, 2)
    http_session.close()


def test_tls_to_a_server_without_it_is_told_in_words(http_session):
    with WireServer([OK], greeting=b'HTTP/1.1 400 Bad Request\r\n\r\n') as server:
        with pytest.raises(UpstreamConnectError, match=r'no TLS connection \(wrong version number\)'):
            http_session.get(f'https://127.0.0.1:{server.port}{PATH}', {}, 2)


def test_server_that_never_shakes_hands_is_a_timeout(http_session):
    with socket.create_server(('127.0.0.1', 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(UpstreamConnectError, match=r'No connection to https://127\.0\.0\.1:\d+ within 0\.1 s'):
            http_session.get(f'https://127.0.0.1:{port}{PATH}', {}, 0.1)


# no connection


def test_refused_connection_is_told_in_words(upstream, http_session):
    upstream.refuse()
    with pytest.raises(UpstreamConnectError) as caught:
        http_session.get(upstream.url + PATH, {}, 2)
    assert str(caught.value) == f'Cannot connect to {upstream.url}: connection refused.'


@pytest.mark.parametrize('host', ['no-such-host.invalid', 'xn--.invalid', 'a' * 64 + '.invalid', 'a..b'])
def test_name_that_cannot_be_resolved_is_told_in_words(host, http_session):
    with pytest.raises(UpstreamConnectError, match='its name cannot be resolved'):
        http_session.begin(build_target('GET', f'http://{host}/v1/models', {}), b'', 2)


def test_unix_socket_that_is_not_there_names_no_path(tmp_path, http_session):
    with pytest.raises(UpstreamConnectError, match='Cannot connect to the llmhost host process: no such file') as caught:
        http_session.begin(unix_target('GET', str(tmp_path / 'host.sock'), '/health'), b'', 2)
    assert str(tmp_path) not in str(caught.value)


# proxies


@pytest.mark.parametrize('variable', ['HTTP_PROXY', 'http_proxy', 'ALL_PROXY'])
def test_proxy_of_the_environment_is_asked_for_a_tunnel(variable, monkeypatch, upstream, http_session):
    with Proxy() as proxy:
        monkeypatch.setenv(variable, f'http://127.0.0.1:{proxy.port}')
        assert http_session.get(upstream.url + PATH, {}, 2).status == 200
        http_session.close()
    assert proxy.heads[0].startswith(f'CONNECT 127.0.0.1:{upstream.port} HTTP/1.1\r\n')
    assert upstream.requests[0].path == PATH


def test_tls_goes_through_a_proxy(monkeypatch, tls_server, certificate):
    http_session = UpstreamSession(str(certificate[0]))
    with Proxy() as proxy:
        monkeypatch.setenv('HTTPS_PROXY', f'127.0.0.1:{proxy.port}')
        assert http_session.get(tls_server.url + PATH, {}, 2).body == b'ok'
        http_session.close()
    assert len(proxy.heads) == 1


def test_proxy_gets_its_user_and_password_and_the_server_does_not(monkeypatch, upstream, http_session):
    with Proxy() as proxy:
        monkeypatch.setenv('HTTP_PROXY', f'http://ann:p%40ss@127.0.0.1:{proxy.port}')
        http_session.get(upstream.url + PATH, {}, 2)
        http_session.close()
    assert f'Proxy-Authorization: Basic {base64.b64encode(b"ann:p@ss").decode()}\r\n' in proxy.heads[0]
    assert 'proxy-authorization' not in upstream.requests[0].headers


@pytest.mark.parametrize('no_proxy', ['127.0.0.1', '127.0.0.0/8', '*'])
def test_no_proxy_is_honoured(no_proxy, monkeypatch, upstream, http_session):
    monkeypatch.setenv('HTTP_PROXY', 'http://127.0.0.1:9')
    monkeypatch.setenv('NO_PROXY', no_proxy)
    assert http_session.get(upstream.url + PATH, {}, 2).status == 200


@pytest.mark.parametrize(('answer', 'reason'), [
    (b'HTTP/1.1 407 Proxy Authentication Required\r\n\r\n', 'the proxy refused the connection with status 407'),
    (b'HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n', 'the proxy refused the connection with status 502'),
    (b'HTTP/1.1 200', 'the proxy closed the connection'),
], ids=['407', '502', 'closed'])
def test_proxy_that_does_not_connect_is_told_in_words(answer, reason, monkeypatch, upstream, http_session):
    with Proxy(answer) as proxy:
        monkeypatch.setenv('HTTP_PROXY', f'http://127.0.0.1:{proxy.port}')
        with pytest.raises(UpstreamConnectError, match=reason):
            http_session.get(upstream.url + PATH, {}, 2)


def test_proxy_that_is_down_is_a_connect_error(monkeypatch, http_session):
    with FakeUpstream() as upstream:
        monkeypatch.setenv('HTTP_PROXY', upstream.url)
        upstream.refuse()
        with pytest.raises(UpstreamConnectError, match='connection refused'):
            http_session.get('http://127.0.0.1:9/v1/models', {}, 2)
