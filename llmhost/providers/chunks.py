"""The chunks of a streamed chat completion, mended as they pass.

Wire format: https://platform.openai.com/docs/api-reference/chat-streaming
"""

import secrets
import time
from typing import Any, TypeVar

import orjson

from llmhost.providers.chat import (
    finish_reason_of,
    mend_arguments,
    mend_completion,
    mend_usage,
    mirror_reasoning,
    new_call_id,
    raise_failed,
)

Document = dict[str, Any]
T = TypeVar('T')


class ChunkReader:
    """Mends the chunks of one stream in place and remembers its tool calls, whether it finished, and its usage."""

    __slots__ = ('usage', '_begun', '_finished', '_id', '_created', '_calls')

    def __init__(self) -> None:
        self.usage: Document | None = None
        self._begun: set[int] = set()
        self._finished: set[int] = set()
        self._id: str | None = None
        self._created = 0
        self._calls: dict[int, _ToolCalls] = {}

    @property
    def finished(self) -> bool:
        """Whether every choice that was begun came to its finish reason."""
        return bool(self._finished) and self._begun <= self._finished

    def read(self, chunk: Document) -> bool:
        """Mend `chunk`; True when something was changed."""
        changed = self._fill_in(chunk)
        usage = chunk.get('usage')
        if usage:
            self.usage = usage
            changed |= mend_usage(usage)
        for position, choice in enumerate(chunk['choices']):
            if self._read_choice(choice, position):
                changed = True
        return changed

    def chunk_of(self, completion: Document) -> bytes:
        """A whole completion as the events of a stream: one chunk."""
        mend_completion(completion)
        choices = [_streamed(choice) for choice in completion['choices']]
        return b'data: %b\n\n' % orjson.dumps({**completion, 'object': 'chat.completion.chunk', 'choices': choices})

    def _fill_in(self, chunk: Document) -> bool:
        """The envelope: the same id and time in all chunks."""
        if (
            chunk.get('object') == 'chat.completion.chunk' and type(chunk.get('id')) is str
            and type(chunk.get('created')) is int and type(chunk.get('model')) is str and type(chunk.get('choices')) is list
        ):
            return False
        if self._id is None:
            self._id, self._created = _own(chunk, 'id', f'chatcmpl-{secrets.token_hex(12)}'), int(time.time())
        chunk['id'] = _own(chunk, 'id', self._id)
        chunk['created'] = _own(chunk, 'created', self._created)
        chunk['model'] = _own(chunk, 'model', '')
        chunk['choices'] = _own(chunk, 'choices', [])
        chunk['object'] = 'chat.completion.chunk'
        return True

    def _read_choice(self, choice: Document, position: int) -> bool:
        changed = False
        if 'index' not in choice:
            choice['index'], changed = position, True
        delta = choice.get('delta')
        if delta is None:
            delta = choice['delta'] = {}
            changed = True
        if ('reasoning' in delta or 'reasoning_content' in delta) and mirror_reasoning(delta):
            changed = True
        if 'tool_calls' in delta and self._read_calls(choice['index'], delta):
            changed = True
        self._begun.add(choice['index'])
        reason = choice.get('finish_reason')
        if reason:
            raise_failed(choice, reason)
            self._finished.add(choice['index'])
            if (mended := finish_reason_of(reason, choice['index'] in self._calls)) != reason:
                choice['finish_reason'], changed = mended, True
        elif reason is None and 'finish_reason' not in choice or reason == '':
            choice['finish_reason'], changed = None, True
        return changed

    def _read_calls(self, index: int, delta: Document) -> bool:
        if not isinstance(delta['tool_calls'], list) or not delta['tool_calls']:
            del delta['tool_calls']
            return True
        calls = self._calls.setdefault(index, _ToolCalls())
        changed = False
        for call in delta['tool_calls']:
            changed |= mend_arguments(call)
            changed |= calls.place(call)
        return changed


def _own(chunk: Document, name: str, other: T) -> T:
    """The chunk's own field where it has the type of `other`, else that."""
    value = chunk.get(name)
    return value if type(value) is type(other) else other


def _streamed(choice: Document) -> Document:
    """A whole choice as one delta."""
    delta = dict(choice['message'])
    if delta.get('tool_calls'):
        delta['tool_calls'] = [{'index': index, **call} for index, call in enumerate(delta['tool_calls'])]
    others = {name: value for name, value in choice.items() if name != 'message'}
    return {**others, 'delta': delta}


class _ToolCall:
    """A call that was begun: its name, and the parts of its arguments so far."""

    __slots__ = ('_name', '_arguments')

    def __init__(self, name: str | None) -> None:
        self._name = name
        self._arguments: list[str] = []

    def take(self, function: Document, goes_on: bool) -> bool:
        """Note one more part. A name that is told again is taken out, since clients join what comes; True when it was."""
        self._arguments.append(function['arguments'])
        if not goes_on or not self._name or function.get('name') != self._name:
            self._name = self._name or function.get('name')
            return False
        del function['name']
        return True

    def goes_on(self, function: Document) -> bool:
        """Whether `function`, which came without an id, belongs to it: a second call of its name comes when it is whole."""
        if not function.get('name'):
            return True
        return function['name'] == self._name and not (function['arguments'] and self._is_whole())

    def _is_whole(self) -> bool:
        try:
            orjson.loads(''.join(self._arguments))
        except orjson.JSONDecodeError:
            return False
        return True


class _ToolCalls:
    """One choice's tool calls: an index for each call, by its id."""

    __slots__ = ('_by_id', '_by_upstream_index', '_calls')

    def __init__(self) -> None:
        self._by_id: dict[str, int] = {}
        self._by_upstream_index: dict[int, int] = {}
        self._calls: list[_ToolCall] = []

    def place(self, call: Document) -> bool:
        """Give `call` its index; a call that starts without an id or type gets them. True when something was changed."""
        before, begun = (call.get('index'), call.get('id'), call.get('type')), len(self._calls)
        function = call.get('function')
        index = call['index'] = self._index_of(call, call.get('index'))
        if call.get('id') and not call.get('type'):
            call['type'] = 'function'
        shortened = isinstance(function, dict) and self._calls[index].take(function, index < begun)
        return shortened or before != (call['index'], call.get('id'), call.get('type'))

    def _index_of(self, call: Document, upstream_index: int | None) -> int:
        call_id, function = call.get('id'), call.get('function') or {}
        if call_id and call_id in self._by_id:
            return self._by_id[call_id]
        if call_id:
            return self._start(call, upstream_index)
        known = None if upstream_index is None else self._by_upstream_index.get(upstream_index)
        if known is not None and self._calls[known].goes_on(function):
            return known
        if not function.get('name') and self._calls:
            return len(self._calls) - 1
        return self._start(call, upstream_index)

    def _start(self, call: Document, upstream_index: int | None) -> int:
        index = len(self._calls)
        self._calls.append(_ToolCall((call.get('function') or {}).get('name')))
        if upstream_index is not None:
            self._by_upstream_index[upstream_index] = index
        call['id'] = call.get('id') or new_call_id()
        self._by_id[call['id']] = index
        return index
