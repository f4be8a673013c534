"""Server-sent events: bytes → events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from collections.abc import Iterator

from llmhost.errors import UpstreamBrokenError

EVENT_LIMIT = 64 * 1024 * 1024


class EventDecoder:
    """Fed with bytes cut anywhere; gives the `data` of each whole event. Comments and other fields are left out."""

    __slots__ = ('_parts', '_size', '_half_line_end')

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._half_line_end = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The data of the events that `data` completes. Raises UpstreamBrokenError when one event exceeds 64 MiB."""
        if self._half_line_end or b'\r' in data:
            data = self._with_plain_line_ends(data)
        if self._parts and not self._completes(data):
            self._keep(data)
            return iter(())
        blocks = b''.join([*self._parts, data]).split(b'\n\n')
        self._parts, self._size = [], 0
        self._keep(blocks.pop())
        return (event for block in blocks if (event := event_data(block)) is not None)

    def finish(self) -> bytes | None:
        """The data of an event that the end of the stream left without its empty line."""
        rest, self._parts, self._size = b''.join(self._parts), [], 0
        return event_data(rest.strip(b'\n'))

    def _completes(self, data: bytes) -> bool:
        """Whether an event ends in `data`, or where it joins what is kept: what is kept is not searched again."""
        return b'\n\n' in data or (data.startswith(b'\n') and self._parts[-1].endswith(b'\n'))

    def _keep(self, rest: bytes) -> None:
        if rest:
            self._parts.append(rest)
            self._size += len(rest)
        if self._size > EVENT_LIMIT:
            raise UpstreamBrokenError('The model server sent an event of more than 64 MiB.')

    def _with_plain_line_ends(self, data: bytes) -> bytes:
        """CRLF and CR as LF. A last CR is held back: it may be half of a CRLF."""
        if self._half_line_end:
            data = b'\r' + data
        self._half_line_end = data.endswith(b'\r')
        if self._half_line_end:
            data = data[:-1]
        return data.replace(b'\r\n', b'\n').replace(b'\r', b'\n')


def event_data(block: bytes) -> bytes | None:
    """The data of one event's lines, or None when it has none."""
    if block.startswith(b'data: ') and b'\n' not in block:
        return block[6:]
    lines = [line[5:].removeprefix(b' ') for line in block.split(b'\n') if line.startswith(b'data:')]
    return b'\n'.join(lines) if lines else None
