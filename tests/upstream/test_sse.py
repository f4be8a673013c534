import pytest
from fake_upstream import split

from llmhost.errors import UpstreamBrokenError
from llmhost.upstream import sse
from llmhost.upstream.sse import EventDecoder

STREAMS = {
    'plain': (b'data: {"a": 1}\n\ndata: {"b": 2}\n\ndata: [DONE]\n\n', [b'{"a": 1}', b'{"b": 2}', b'[DONE]']),
    'crlf': (b'data: a\r\n\r\ndata: b\r\n\r\n', [b'a', b'b']),
    'cr': (b'data: a\r\rdata: b\r\rdata: c\r\r', [b'a', b'b', b'c']),
    'mixed line ends': (b'data: a\r\n\ndata: b\n\r\ndata: c\r\r\n', [b'a', b'b', b'c']),
    'no space': (b'data:a\n\ndata:  b\n\n', [b'a', b' b']),
    'comments': (b': hello\n\n: PROCESSING\ndata: a\n\n:\n\ndata: b\n: bye\n\n', [b'a', b'b']),
    'several lines': (b'data: {"a":\ndata: 1}\n\n', [b'{"a":\n1}']),
    'several lines with crlf': (b'data: {"a":\r\ndata: 1}\r\n\r\n', [b'{"a":\n1}']),
    'other fields': (b'event: error\nid: 7\nretry: 10\ndata: a\n\nevent: ping\n\n', [b'a']),
    'empty lines between': (b'\n\n\ndata: a\n\n\n\n\ndata: b\n\n', [b'a', b'b']),
    'characters of several bytes': ('data: naïve 你好 👋\n\ndata: é\n\n'.encode(), ['naïve 你好 👋'.encode(), 'é'.encode()]),
    'empty data': (b'data:\n\ndata: a\n\n', [b'', b'a']),
    'no empty line at the end': (b'data: a\n\ndata: b\n', [b'a', b'b']),
    'no line end at the end': (b'data: a\r\n\r\ndata: b', [b'a', b'b']),
    'nothing': (b'', []),
    'only a comment': (b': hello', []),
    'field names that begin alike': (b'database: a\ndata: b\n\n', [b'b']),
}


def decode(*parts: bytes) -> list[bytes]:
    """The data of all events, fed in these parts."""
    decoder = EventDecoder()
    events = [event for part in parts for event in decoder.feed(part)]
    rest = decoder.finish()
    return events if rest is None else [*events, rest]


@pytest.mark.parametrize(('text', 'events'), STREAMS.values(), ids=STREAMS)
def test_events_are_the_same_wherever_the_bytes_are_cut(text, events):
    assert decode(text) == events
    assert decode(*(text[position:position + 1] for position in range(len(text)))) == events
    for position in range(1, len(text)):
        assert decode(*split(text, position)) == events, position


@pytest.mark.parametrize(('text', 'events'), STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize('size', [2, 3, 5, 7])
def test_events_are_the_same_in_small_pieces(text, events, size):
    assert decode(*(text[start:start + size] for start in range(0, len(text), size))) == events


@pytest.mark.parametrize('newline', [b'\n', b'\r\n'])
def test_event_comes_as_soon_as_its_empty_line_did(newline):
    decoder = EventDecoder()
    assert list(decoder.feed(b'data: a' + newline)) == []
    assert list(decoder.feed(newline)) == [b'a']
    assert list(decoder.feed(b'data: b' + 2 * newline)) == [b'b']


def test_event_without_end_is_refused_before_memory_is(monkeypatch):
    monkeypatch.setattr(sse, 'EVENT_LIMIT', 1000)
    decoder = EventDecoder()
    with pytest.raises(UpstreamBrokenError, match='more than'):
        for _ in range(20):
            list(decoder.feed(b'x' * 100))
