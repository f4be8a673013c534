"""A server of one file at a time that does what file servers do: stop in the middle, ignore ranges, redirect, refuse, drip."""

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

BLOCK = 1 << 20


@dataclass
class Offer:
    """How the next requests are answered. `cuts` are the bytes sent before each break, one for each request in turn; with
    `hold`, all but the first `drip` bytes waits for it.
    """

    content: bytes = b''
    etag: str | None = '"one"'
    ranges: bool = True
    length: bool = True
    cuts: list[int] = field(default_factory=list)
    drip: int = 0
    pause: float = 0.02
    hold: threading.Event | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class FileServer:
    """`offers` are answered in turn, a request each; the last stays. `requests` holds (path, headers by names in lower case)."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.offers = [Offer()]
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def do_GET(self) -> None:
                server.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                server.answer(self, server.offers.pop(0) if len(server.offers) > 1 else server.offers[0])

            def log_message(self, *_: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """Clients that leave are what some tests are about."""

        self._server = Quiet(('127.0.0.1', 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self._server.server_address[1]}'

    def offer(self, *contents: bytes | Offer, **behaviour: object) -> None:
        self.offers = [Offer(content, **behaviour) if isinstance(content, bytes) else content for content in contents]

    def ranges(self) -> list[str | None]:
        """What each request asked for."""
        return [headers.get('range') for _, headers in self.requests]

    def answer(self, handler: BaseHTTPRequestHandler, offer: Offer) -> None:
        start = self._start_of(handler, offer)
        if start >= len(offer.content) > 0:
            offer = Offer(status=416, headers={'Content-Range': f'bytes */{len(offer.content)}'})
            start = 0
        body = offer.content[start:]
        handler.send_response(206 if start else offer.status)
        if start:
            handler.send_header('Content-Range', f'bytes {start}-{len(offer.content) - 1}/{len(offer.content)}')
        if offer.length and 'Content-Length' not in offer.headers:
            handler.send_header('Content-Length', str(len(body)))
        if offer.etag:
            handler.send_header('ETag', offer.etag)
        for name, value in offer.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        cut = offer.cuts.pop(0) if offer.cuts else None
        self._send(handler, body[:cut], offer)
        if cut is not None or not offer.length:
            handler.close_connection = True

    def _start_of(self, handler: BaseHTTPRequestHandler, offer: Offer) -> int:
        wanted = re.fullmatch(r'bytes=(\d+)-', handler.headers.get('Range', ''))
        condition = handler.headers.get('If-Range', offer.etag)
        return int(wanted[1]) if wanted and offer.ranges and condition == offer.etag else 0

    def _send(self, handler: BaseHTTPRequestHandler, body: bytes, offer: Offer) -> None:
        step = offer.drip or BLOCK
        for position in range(0, len(body), step):
            handler.wfile.write(body[position:position + step])
            if offer.hold:
                offer.hold.wait(20)
            elif offer.drip:
                time.sleep(offer.pause)
