"""A conversation with a model of a running llmhost, as the console holds it."""

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from llmhost.errors import ConsoleError, UpstreamBrokenError
from llmhost.gateway.image_file import data_url_of
from llmhost.gateway.running import RunningGateway
from llmhost.providers.faults import read_fault

TICK = 0.25
CHAT_PATH = '/v1/chat/completions'
REASONING = ('reasoning_content', 'reasoning')
NO_MODEL = 'There is no model yet. Add a server: flask servers add NAME URL'

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text of an answer, or of the model's reasoning."""

    text: str
    is_reasoning: bool = False


@dataclass(slots=True)
class Pace:
    """How fast an answer came. Times in seconds; `tokens` is what the server counted, where it did."""

    began: float
    first: float | None = None
    ended: float | None = None
    tokens: int | None = None

    @property
    def seconds(self) -> float:
        return (self.ended or time.monotonic()) - self.began

    @property
    def tokens_per_second(self) -> float | None:
        """Without the wait for the first one."""
        if not self.tokens or self.tokens < 2 or self.first is None or self.ended is None:
            return None
        return (self.tokens - 1) / max(self.ended - self.first, 1e-3)


class Dialogue:
    """What was said so far. `say` and `retry` are the verbs; `pace` tells of the last answer."""

    def __init__(self, gateway: RunningGateway, model: str | None, system: str | None = None) -> None:
        self.system = system
        self.pace = Pace(time.monotonic())
        self._gateway = gateway
        self._model = model
        self._images: list[str] = []
        self._messages: list[Message] = []
        self._asked: Message | None = None

    @property
    def url(self) -> str:
        return self._gateway.url

    @property
    def model(self) -> str:
        """Whom is talked with: where nobody was named, the first that chats. Raises LLMHostError."""
        if self._model is None:
            self._model = next(iter(self.models()), None)
        if self._model is None:
            raise ConsoleError(NO_MODEL)
        return self._model

    def models(self) -> list[str]:
        """The ids of the models that chat, as far as is known."""
        entries = self._gateway.get_document('/v1/models').get('data') or []
        return [entry['id'] for entry in entries if 'chat' in (entry.get('capabilities') or ('chat',))]

    def use(self, model: str) -> None:
        """Talk with another model from here on. Raises LLMHostError where there is none of that name."""
        self._gateway.get(f'/v1/models/{quote(model)}')
        self._model = model

    def attach(self, path: Path) -> None:
        """Put an image into the next message. Raises ConsoleError."""
        self._images.append(data_url_of(path))

    def clear(self) -> None:
        """Begin anew; model and system prompt stay."""
        self._messages, self._images, self._asked = [], [], None

    def say(self, text: str) -> Generator[Piece | None, None, None]:
        """The answer as it comes, None while nothing does; closing it stops the model. Raises LLMHostError.

        What had come when it was stopped or broke off stays in the conversation.
        """
        images = [{'type': 'image_url', 'image_url': {'url': url}} for url in self._images]
        self._images = []
        return self._iter_answer({'role': 'user', 'content': [{'type': 'text', 'text': text}, *images] if images else text})

    def retry(self) -> Generator[Piece | None, None, None]:
        """Another answer to the last message, in place of the one there was."""
        if self._asked is None:
            raise ConsoleError('Nothing was asked yet.')
        if self._messages and self._messages[-2] is self._asked:
            del self._messages[-2:]
        return self._iter_answer(self._asked)

    def _iter_answer(self, message: Message) -> Generator[Piece | None, None, None]:
        self._asked = message
        self.pace = pace = Pace(time.monotonic())
        said: list[str] = []
        try:
            with closing(self._iter_pieces(message)) as pieces:
                for piece in pieces:
                    if piece is not None and not piece.is_reasoning:
                        said.append(piece.text)
                    yield piece
        finally:
            pace.ended = time.monotonic()
            if said:
                self._messages += [message, {'role': 'assistant', 'content': ''.join(said)}]

    def _iter_pieces(self, message: Message) -> Generator[Piece | None, None, None]:
        system = [{'role': 'system', 'content': self.system}] if self.system else []
        messages = [*system, *self._messages, message]
        payload = {'model': self.model, 'messages': messages, 'stream': True, 'stream_options': {'include_usage': True}}
        with closing(self._gateway.iter_events(CHAT_PATH, payload, TICK)) as events:
            for event in events:
                if event is None:
                    yield None
                    continue
                chunk = read_chunk(event)
                self._count(chunk.get('usage'))
                for piece in pieces_of(chunk):
                    self.pace.first = self.pace.first or time.monotonic()
                    yield piece

    def _count(self, usage: Any) -> None:
        if isinstance(usage, dict) and isinstance(usage.get('completion_tokens'), int):
            self.pace.tokens = usage['completion_tokens']


def read_chunk(event: bytes) -> dict[str, Any]:
    """A chunk. Raises UpstreamStatusError where the event is an error, UpstreamBrokenError where it is neither."""
    try:
        chunk = orjson.loads(event)
    except orjson.JSONDecodeError as error:
        raise UpstreamBrokenError('The answer holds an event that is not JSON.') from error
    if not isinstance(chunk, dict):
        raise UpstreamBrokenError('The answer holds an event that is no object.')
    if chunk.get('error'):
        raise read_fault(200, {}, event)
    return chunk


def pieces_of(chunk: dict[str, Any]) -> Iterator[Piece]:
    """The text of a chunk. Reasoning comes under two names at once; it is taken once."""
    for choice in chunk.get('choices') or ():
        delta = choice.get('delta') or {}
        reasoning = next((delta[name] for name in REASONING if delta.get(name)), None)
        if isinstance(reasoning, str):
            yield Piece(reasoning, is_reasoning=True)
        if isinstance(delta.get('content'), str) and delta['content']:
            yield Piece(delta['content'])
