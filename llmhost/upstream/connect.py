"""New connections: plain, TLS, Unix socket, and through an HTTP proxy where the environment names one."""

import base64
import os
import socket
import ssl
from urllib.parse import unquote, urlsplit

import certifi
from requests.utils import get_environ_proxies, select_proxy

from llmhost.upstream.origin import DEFAULT_PORTS, Origin

PROXY_ANSWER_LIMIT = 16384


class Connector:
    """Opens sockets. Certificates are checked against `REQUESTS_CA_BUNDLE` or `SSL_CERT_FILE`, else certifi's."""

    def __init__(self, ca_file: str | None = None) -> None:
        self._ca_file = ca_file
        self._tls: ssl.SSLContext | None = None

    def __call__(self, origin: Origin, timeout: float) -> socket.socket:
        """A connected socket. Raises OSError."""
        if origin.scheme == 'unix':
            return _connect_unix(origin.host, timeout)
        connection = self._connect_tcp(origin, timeout)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if origin.scheme == 'https':
                return self._context().wrap_socket(connection, server_hostname=origin.host)
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect_tcp(self, origin: Origin, timeout: float) -> socket.socket:
        proxy = proxy_of(origin)
        if proxy is None:
            return _connect(origin.host, origin.port, timeout)
        parts = urlsplit(proxy if '://' in proxy else f'http://{proxy}')
        connection = _connect(parts.hostname or '', parts.port or DEFAULT_PORTS['http'], timeout)
        try:
            _open_tunnel(connection, origin, parts.username, parts.password)
        except BaseException:
            connection.close()
            raise
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            ca_file = self._ca_file or os.fspath(certifi.where())
            folder = os.path.isdir(ca_file)
            self._tls = ssl.create_default_context(capath=ca_file if folder else None, cafile=None if folder else ca_file)
        return self._tls


def proxy_of(origin: Origin) -> str | None:
    """The proxy that requests would use for `origin` (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, less `NO_PROXY`)."""
    proxies = get_environ_proxies(str(origin))
    return select_proxy(str(origin), proxies) if proxies else None


def _connect(host: str, port: int, timeout: float) -> socket.socket:
    try:
        return socket.create_connection((host, port), timeout)
    except UnicodeError as error:  # no resolver is asked for a name with a label that is empty or too long
        raise socket.gaierror(socket.EAI_NONAME, 'not a name') from error


def _connect_unix(path: str, timeout: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection


def _open_tunnel(connection: socket.socket, origin: Origin, user: str | None, password: str | None) -> None:
    """CONNECT through a proxy (RFC 9110 §9.3.6), for plain HTTP too: one way for both."""
    host = f'[{origin.host}]' if ':' in origin.host else origin.host
    lines = [f'CONNECT {host}:{origin.port} HTTP/1.1', f'Host: {host}:{origin.port}']
    if user:
        secret = f'{unquote(user)}:{unquote(password or "")}'.encode()
        lines.append(f'Proxy-Authorization: Basic {base64.b64encode(secret).decode()}')
    connection.sendall('\r\n'.join([*lines, '', '']).encode())
    answer = b''
    while b'\r\n\r\n' not in answer and len(answer) < PROXY_ANSWER_LIMIT:
        part = connection.recv(1024)
        if not part:
            raise OSError('the proxy closed the connection')
        answer += part
    status = answer.split(b' ', 2)[1:2]
    if status != [b'200']:
        raise OSError(f'the proxy refused the connection with status {b"".join(status).decode("latin-1")}')
