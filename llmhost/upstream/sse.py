"""Server-sent events: bytes → events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from collections.abc import Iterator

from llmhost.errors import UpstreamBrokenError

EVENT_LIMIT = 64 * 1024 * 1024


class EventDecoder:
    """Fed with bytes cut anywhere; gives the `data` of each whole event. Comments and other fields are left out."""

    __slots__ = ('_rest',)

    def __init__(self) -> None:
        self._rest = b''

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The data of the events that `data` completes. Raises UpstreamBrokenError when one event exceeds 64 MiB."""
        text = self._rest + data if self._rest else data
        if b'\r' in text:
            text, held = _hold_back(text)
            text = text.replace(b'\r\n', b'\n').replace(b'\r', b'\n')
        else:
            held = b''
        blocks = text.split(b'\n\n')
        self._rest = blocks.pop() + held
        if len(self._rest) > EVENT_LIMIT:
            raise UpstreamBrokenError('The model server sent an event of more than 64 MiB.')
        return (event for block in blocks if (event := event_data(block)) is not None)

    def finish(self) -> bytes | None:
        """The data of an event that the end of the stream left without its empty line."""
        rest, self._rest = self._rest, b''
        return event_data(rest.strip(b'\r\n'))


def _hold_back(text: bytes) -> tuple[bytes, bytes]:
    """Keep a last CR back: it may be half of a CRLF."""
    return (text[:-1], text[-1:]) if text.endswith(b'\r') else (text, b'')


def event_data(block: bytes) -> bytes | None:
    """The data of one event's lines, or None when it has none."""
    if block.startswith(b'data: ') and b'\n' not in block:
        return block[6:]
    lines = [line[5:].removeprefix(b' ') for line in block.split(b'\n') if line.startswith(b'data:')]
    return b'\n'.join(lines) if lines else None
