"""What the fake upstream was sent and what it answers, as values. No socket here."""
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

SAMPLES = Path(__file__).parent.parent / 'samples'
TYPES = {'.json': 'application/json', '.ndjson': 'application/x-ndjson', '.html': 'text/html'}


@dataclass(eq=False)
class Request:
    """One request as it came in. `headers` has lower-case names; `connection` counts accepted connections from 1,
    so that two requests with the same number came over one kept-alive connection."""
    method: str
    target: str
    version: str
    headers: dict[str, str]
    body: bytes
    connection: int
    number: int = 0
    gone_at: float | None = None
    """When the client was seen to leave before the answer was complete (time.monotonic), or None."""

    @property
    def path(self) -> str:
        return self.target.partition('?')[0]

    @property
    def query(self) -> str:
        return self.target.partition('?')[2]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Raw:
    """Bytes put on the wire as they are, outside the chunked framing: garbage to an HTTP parser."""
    data: bytes


Piece = bytes | Raw | float


@dataclass(frozen=True)
class Reply:
    """One answer. `body` is bytes (sent with Content-Length) or pieces (sent chunked, one write each; a number is a
    pause in seconds, `math.inf` a silence until the client leaves).

    delay       seconds before the head; `hang=True` never answers
    gap         seconds after each piece
    cut_after   close the connection after that many pieces (of bytes: that many bytes), without the end of the body
    drop        close the connection instead of answering
    reset       cut and drop with a TCP reset rather than an orderly close
    close_idle  close the kept-alive connection right after a complete answer, without having announced it
    """
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | tuple[Piece, ...] = b''
    delay: float = 0.0
    gap: float = 0.0
    hang: bool = False
    cut_after: int | None = None
    drop: bool = False
    reset: bool = False
    close_idle: bool = False

    @classmethod
    def json(cls, document: Any, status: int = 200, **options: Any) -> 'Reply':
        return cls.text(json.dumps(document), status, 'application/json', **options)

    @classmethod
    def text(cls, body: str | bytes, status: int = 200, content_type: str = 'text/html', **options: Any) -> 'Reply':
        body = body.encode() if isinstance(body, str) else body
        return cls(status, {'content-type': content_type, **options.pop('headers', {})}, body, **options)

    @classmethod
    def error(cls, status: int, message: str, code: str | None = None, param: str | None = None, *,
              type: str = 'invalid_request_error', **options: Any) -> 'Reply':
        """An error in OpenAI's envelope."""
        return cls.json({'error': {'message': message, 'type': type, 'param': param, 'code': code}}, status, **options)

    @classmethod
    def events(cls, *items: Any, done: bool = True, newline: str = '\n', segment: int | None = None,
               **options: Any) -> 'Reply':
        """A stream of server-sent events. Each item is a JSON document (one event), text or bytes (as they are:
        comments, garbage, half events), a number (a pause) or a `Raw`.

        `segment` cuts the stream anew into writes of that many bytes, wherever that falls, events and characters
        included (`sys.maxsize`: all in one write); TCP may join writes again unless `gap` keeps them apart.
        """
        pieces: Iterable[Piece] = [encode_event(item, newline) for item in (*items, *(['data: [DONE]\n\n'] * done))]
        if segment:
            pieces = resegment(pieces, segment)
        headers = {'content-type': 'text/event-stream', **options.pop('headers', {})}
        return cls(options.pop('status', 200), headers, tuple(pieces), **options)

    @classmethod
    def sample(cls, name: str, **options: Any) -> 'Reply':
        """The recorded answer in samples/`name`, such as 'vllm/stream_error.txt'; a stream is sent an event a write.

        The status is in the name of the file (error_503.json); error_context.json is 400.
        """
        data = read_sample(name)
        found = re.search(r'_(\d{3})', name)
        status = options.pop('status', int(found[1]) if found else 400 if 'error_context.json' in name else 200)
        if name.endswith('.txt'):
            return cls.events(*re.findall(rb'.+?\r?\n\r?\n|.+', data, re.DOTALL), done=False, status=status, **options)
        return cls.text(data, status, TYPES[Path(name).suffix], **options)

    def with_(self, **changes: Any) -> 'Reply':
        """The same answer with other options: `reply.with_(delay=1.0)`."""
        return replace(self, **changes)


def encode_event(item: Any, newline: str = '\n') -> Piece:
    """The bytes of one item of `Reply.events`; pauses and `Raw` stay as they are."""
    if isinstance(item, (Raw, int, float)):
        return item
    if isinstance(item, bytes):
        return item
    text = item if isinstance(item, str) else f'data: {json.dumps(item, ensure_ascii=False, separators=(",", ":"))}\n\n'
    return text.replace('\n', newline).encode()


def split(data: bytes, *positions: int) -> list[bytes]:
    """`data` cut at these byte positions (negative: from its end), for pieces that break where it hurts."""
    edges = [0, *sorted(position % len(data) for position in positions), len(data)]
    return [data[start:end] for start, end in zip(edges, edges[1:])]


def resegment(pieces: Iterable[Piece], size: int) -> Iterator[Piece]:
    """The same bytes in writes of `size`; pauses and `Raw` pieces stay where they were."""
    waiting = b''
    for piece in [*pieces, math.nan]:
        if isinstance(piece, bytes):
            waiting += piece
            continue
        yield from (waiting[start:start + size] for start in range(0, len(waiting), size))
        waiting = b''
        if isinstance(piece, Raw) or not math.isnan(piece):
            yield piece


def read_sample(name: str) -> bytes:
    """The bytes of tests/samples/`name`."""
    return (SAMPLES / name).read_bytes()
