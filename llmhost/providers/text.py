"""Legacy text completions, whole and streamed, and embeddings, mended into OpenAI's form.

Wire formats: https://platform.openai.com/docs/api-reference/completions/object and .../embeddings/object
"""

from typing import Any

import orjson

from llmhost.providers.chat import fill_in, finish_reason_of, mend_usage

Document = dict[str, Any]


def mend_text(document: Document) -> bool:
    """Mend a text completion in place; True when something was changed. Raises UpstreamBrokenError when it is none."""
    changed = fill_in(document, 'text_completion', 'cmpl') | mend_usage(document.get('usage'))
    for position, choice in enumerate(document['choices']):
        changed |= _mend_choice(choice, position)
        reason = finish_reason_of(choice.get('finish_reason') or 'stop', False)
        if reason != choice.get('finish_reason'):
            choice['finish_reason'], changed = reason, True
    return changed


def _mend_choice(choice: Document, position: int) -> bool:
    defaults = {'index': position, 'text': '', 'logprobs': None, 'finish_reason': None}
    missing = defaults.keys() - choice.keys()
    choice.update({name: defaults[name] for name in missing})
    return bool(missing)


def mend_embeddings(document: Document, model: str) -> bool:
    """Mend an embeddings answer in place; True when something was changed."""
    stated = document.get('usage')
    usage = stated if isinstance(stated, dict) else {}
    tokens = usage.get('prompt_tokens', usage.get('total_tokens', 0))  # Jina states the total alone
    whole_usage = {'prompt_tokens': tokens, 'total_tokens': tokens, **usage}
    defaults = {'object': 'list', 'model': model, 'usage': whole_usage}
    missing = {name for name in defaults if not document.get(name)}
    if not isinstance(stated, dict) or usage.keys() < whole_usage.keys():
        missing.add('usage')
    document.update({name: defaults[name] for name in missing})
    for position, row in enumerate(document['data']):
        if 'index' not in row or row.get('object') != 'embedding':
            row.setdefault('index', position)
            row['object'] = 'embedding'
            missing.add('data')
    return bool(missing)


class TextReader:
    """Mends the chunks of one streamed text completion in place; remembers whether it finished, and its usage."""

    __slots__ = ('usage', '_begun', '_finished', '_envelope')

    def __init__(self) -> None:
        self._begun: set[int] = set()
        self._finished: set[int] = set()
        self.usage: Document | None = None
        self._envelope: Document = {}

    @property
    def finished(self) -> bool:
        """Whether every choice that was begun came to its finish reason."""
        return bool(self._finished) and self._begun <= self._finished

    def read(self, chunk: Document) -> bool:
        """Mend `chunk`; True when something was changed."""
        self.usage = chunk.get('usage') or self.usage
        changed = self._fill_in(chunk)
        for position, choice in enumerate(chunk['choices']):
            changed |= _mend_choice(choice, position)
            self._begun.add(choice['index'])
            reason = choice['finish_reason']
            if reason:
                self._finished.add(choice['index'])
                choice['finish_reason'] = finish_reason_of(reason, False)
                changed |= choice['finish_reason'] != reason
        return changed

    def chunk_of(self, completion: Document) -> bytes:
        """A whole completion as the events of a stream: one chunk."""
        mend_text(completion)
        return b'data: %b\n\n' % orjson.dumps(completion)

    def _fill_in(self, chunk: Document) -> bool:
        if not self._envelope:
            fill_in(envelope := {'choices': [], **chunk}, 'text_completion', 'cmpl')
            self._envelope = {name: envelope[name] for name in ('object', 'id', 'created', 'model')}
        missing = {name: value for name, value in self._envelope.items() if not chunk.get(name)}
        if chunk.get('object') != 'text_completion' or 'choices' not in chunk:
            missing = {**missing, 'object': 'text_completion', 'choices': chunk.get('choices') or []}
        chunk.update(missing)
        return bool(missing)
