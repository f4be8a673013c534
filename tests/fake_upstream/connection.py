"""One accepted connection: bytes to requests, replies to bytes, and a watch on the client in between."""
import http
import math
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress

from .replies import Raw, Reply, Request

CHUNKED_END = b'0\r\n\r\n'
PIPELINED_WAIT = 0.005


class ClientGone(Exception):
    """The client closed its end while its request was under way."""


class Connection:
    """Not thread-safe, but for `abort`."""

    def __init__(self, sock: socket.socket, number: int):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number = number
        self.aborted = False
        self._socket = sock
        self._received = b''
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def read_request(self) -> Request | None:
        """The next request, or None once the client has closed the connection."""
        try:
            head = self._read_until(b'\r\n\r\n').decode('latin-1')
            first, *lines = head[:-4].split('\r\n')
            method, target, version = first.split(' ')
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(':') for line in lines)}
            return Request(method, target, version, headers, self._read_body(headers), self.number)
        except (ClientGone, OSError):
            return None

    def _read_body(self, headers: dict[str, str]) -> bytes:
        if headers.get('expect', '').lower() == '100-continue':
            self._socket.sendall(b'HTTP/1.1 100 Continue\r\n\r\n')
        if headers.get('transfer-encoding', '').lower() == 'chunked':
            return b''.join(self._iter_chunks())
        return self._read_exactly(int(headers.get('content-length', 0)))

    def _iter_chunks(self) -> Iterator[bytes]:
        while size := int(self._read_until(b'\r\n').split(b';')[0], 16):
            yield self._read_exactly(size + 2)[:-2]
        while self._read_until(b'\r\n') != b'\r\n':
            pass

    def _read_until(self, mark: bytes) -> bytes:
        while mark not in self._received:
            self._receive()
        found, mark, self._received = self._received.partition(mark)
        return found + mark

    def _read_exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            self._receive()
        found, self._received = self._received[:size], self._received[size:]
        return found

    def _receive(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise ClientGone
        self._received += data

    def send_reply(self, request: Request, reply: Reply) -> bool:
        """Answer; True when the connection may carry another request.

        Raises ClientGone as soon as the client closes its end, also while nothing is being sent.
        """
        self.pause(math.inf if reply.hang else reply.delay)
        if reply.drop:
            self._hang_up(reply.reset)
            return False
        keep = request.version == 'HTTP/1.1' and request.headers.get('connection', '').lower() != 'close'
        if not self._send_answer(request, reply, keep):
            self._hang_up(reply.reset)
            return False
        return keep and not reply.close_idle

    def _send_answer(self, request: Request, reply: Reply, keep: bool) -> bool:
        chunked = (not isinstance(reply.body, bytes) and request.version == 'HTTP/1.1'
                   and 'content-length' not in reply.headers)
        head = build_head(reply, chunked, keep)
        if isinstance(reply.body, bytes):
            body = b'' if request.method == 'HEAD' else reply.body
            self._send(head + (body if reply.cut_after is None else body[:reply.cut_after]))
            return reply.cut_after is None
        self._send(head)
        return self._send_pieces(reply, chunked)

    def _send_pieces(self, reply: Reply, chunked: bool) -> bool:
        sent = 0
        for piece in reply.body:
            if isinstance(piece, (int, float)):
                self.pause(piece)
                continue
            if sent == reply.cut_after:
                return False
            self._send(frame(piece, chunked))
            self.pause(reply.gap)
            sent += 1
        if reply.cut_after is None and chunked:
            self._send(CHUNKED_END)
        return reply.cut_after is None

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise ClientGone from error

    def pause(self, seconds: float) -> None:
        """Wait, watching the client: ClientGone is raised within milliseconds of its leaving."""
        end = time.monotonic() + seconds
        while True:
            left = max(end - time.monotonic(), 0.0)
            if self._poll.poll(None if left == math.inf else left * 1000):
                if not self._peek():
                    raise ClientGone
                time.sleep(min(left, PIPELINED_WAIT))
            if not left:
                return

    def _peek(self) -> bytes:
        try:
            return self._socket.recv(1, socket.MSG_PEEK)
        except OSError:
            return b''

    def _hang_up(self, reset: bool) -> None:
        if reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.close()

    def abort(self) -> None:
        """From another thread: wake whatever this connection is waiting for, and end it."""
        self.aborted = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()


def build_head(reply: Reply, chunked: bool, keep: bool) -> bytes:
    """Status line and headers; Content-Length unless the reply has its own, `Connection: close` where it is the end."""
    headers = {name.lower(): value for name, value in reply.headers.items()}
    if chunked:
        headers['transfer-encoding'] = 'chunked'
    elif isinstance(reply.body, bytes):
        headers.setdefault('content-length', str(len(reply.body)))
    if not keep:
        headers.setdefault('connection', 'close')
    reason = http.HTTPStatus(reply.status).phrase if reply.status in set(http.HTTPStatus) else 'Unknown'
    lines = [f'HTTP/1.1 {reply.status} {reason}', *(f'{name}: {value}' for name, value in headers.items())]
    return '\r\n'.join([*lines, '', '']).encode('latin-1')


def frame(piece: bytes | Raw, chunked: bool) -> bytes:
    if isinstance(piece, Raw):
        return piece.data
    return b'%x\r\n%b\r\n' % (len(piece), piece) if chunked else piece
