"""Reads HTTP/1.1 answers from bytes as they come: enough for a load client, and cheap."""


class HTTPResponseError(Exception):
    """What came is no answer this reader knows, or the connection ended in the middle of it."""


class HTTPResponse:
    """One answer. `feed` takes bytes and gives back the part of them that is body; `complete` says when it ended."""

    def __init__(self) -> None:
        self.status = 0
        self.complete = False
        self.keeps_alive = True
        self._buffer = b''
        self._chunked = False
        self._left: int | None = None

    def feed(self, data: bytes) -> bytes:
        self._buffer += data
        if not self.status and not self._read_head():
            return b''
        return self._read_chunks() if self._chunked else self._read_plain()

    def close(self) -> None:
        """The peer closed: the end of an answer without a length, a fault in any other."""
        if not self.complete and (not self.status or self._chunked or self._left is not None):
            raise HTTPResponseError('the connection was closed in the middle of an answer')
        self.complete = True

    def _read_head(self) -> bool:
        head, end, rest = self._buffer.partition(b'\r\n\r\n')
        if not end:
            return False
        first, *lines = head.decode('latin-1').split('\r\n')
        headers = {name.lower(): value.strip().lower() for name, _, value in (line.partition(':') for line in lines)}
        self.status = int(first.split()[1])
        self._buffer = rest
        self._chunked = 'chunked' in headers.get('transfer-encoding', '')
        if 'content-length' in headers:
            self._left = int(headers['content-length'])
        self.keeps_alive = headers.get('connection') != 'close' and (self._chunked or self._left is not None)
        return True

    def _read_plain(self) -> bytes:
        body, self._buffer = self._buffer, b''
        if self._left is not None:
            self._left -= len(body)
            self.complete = self._left <= 0
        return body

    def _read_chunks(self) -> bytes:
        pieces = []
        while not self.complete:
            size_line, end, rest = self._buffer.partition(b'\r\n')
            if not end:
                break
            size = int(size_line.split(b';')[0], 16)
            if len(rest) < size + 2:
                break
            pieces.append(rest[:size])
            self._buffer = rest[size + 2:]
            self.complete = size == 0
        return b''.join(pieces)
