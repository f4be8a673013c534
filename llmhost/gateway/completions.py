"""Completions and embeddings, whole and streamed."""

import logging
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import orjson

from llmhost.config import Config
from llmhost.errors import UpstreamBrokenError, UpstreamStatusError
from llmhost.gateway.attempts import Ask, Attempts, Turn, Waiting, drain
from llmhost.gateway.call import Call
from llmhost.gateway.context import ContextCheck
from llmhost.gateway.images import able_to_fetch
from llmhost.gateway.presets import models_named, payload_for, resolve
from llmhost.gateway.routing import Candidate
from llmhost.providers import CHAT, EMBEDDINGS
from llmhost.providers.base import client_wants_usage
from llmhost.upstream.sse import EventDecoder
from llmhost.upstream.transport import Exchange, silent_too_long

DONE = b'[DONE]'
UNREADABLE = (TypeError, ValueError, KeyError, AttributeError)
SETTLE_SECONDS = 0.02
DONE_EVENT = b'data: [DONE]\n\n'

Document = dict[str, Any]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Order:
    """A validated request: `payload` is `body` parsed."""

    call: Call
    payload: Document
    body: bytes


class Completions:
    """Answers for the tasks whose requests and answers are passed on: chat, completions, embeddings."""

    def __init__(self, attempts: Attempts, context: ContextCheck, config: Config) -> None:
        self._attempts = attempts
        self._context = context
        self._config = config

    def complete(self, order: Order) -> bytes:
        """The answer's body. Raises LLMHostError."""
        return drain(self._iter_complete(order, self._config.read_timeout))

    def ask(self, call: Call, turn: Turn, body: bytes, task: str) -> tuple[Document, bytes]:
        """One request within a turn: its answer parsed, and its bytes. Raises UpstreamError."""
        return drain(self._iter_answer(Ask(call, task, lambda _: body, self._config.read_timeout), turn))

    def stream(self, order: Order) -> Generator[bytes | None, None, object]:
        """The answer's events as bytes to send, or None after each `keepalive_interval` of silence.

        Raises LLMHostError while `order.call.answering` is false. Close it, and all it holds is given back.
        """
        return self._iter_stream(order, self._config.keepalive_interval)

    def _candidates(self, order: Order) -> list[Candidate]:
        candidates = resolve(self._attempts.router, order.call, models_named(order.payload))
        return able_to_fetch(candidates, order.payload) if order.call.task == CHAT else candidates

    def _fitting(self, order: Order) -> list[Candidate]:
        return self._context.fitting(order.call.task, order.payload, order.body, self._candidates(order))

    def _ask(self, order: Order, tick: float) -> Ask:
        def build(candidate: Candidate) -> bytes:
            payload = payload_for(candidate, order.payload, order.call.task)
            body = order.body if payload is order.payload else None
            return candidate.route.provider.build_body(payload, body, candidate.model)
        return Ask(order.call, order.call.task, build, tick)

    def _iter_complete(self, order: Order, tick: float) -> Generator[bytes | None, None, bytes]:
        ask = self._ask(order, tick)

        def attempt(turn: Turn) -> Waiting[bytes]:
            document, body = yield from self._iter_answer(ask, turn)
            order.call.count_usage(document.get('usage'))
            mended = mend(order.call.task, document, turn.candidate)
            return encode(document, order.call.task, turn.candidate) if mended else body
        return (yield from self._attempts.iter_first(order.call, self._fitting(order), attempt, tick))

    def _iter_answer(self, ask: Ask, turn: Turn) -> Waiting[tuple[Document, bytes]]:
        exchange = yield from self._attempts.iter_open(ask, turn)
        began = time.perf_counter()
        try:
            body = exchange.read_all(self._attempts.read_timeout(turn.candidate))
        finally:
            exchange.close()
            ask.call.upstream += time.perf_counter() - began
        return read_document(body, turn.candidate), body

    def _iter_stream(self, order: Order, tick: float) -> Generator[bytes | None, None, bytes]:
        ask = self._ask(order, tick)

        def attempt(turn: Turn) -> Generator[bytes | None, None, bytes]:
            exchange = yield from self._attempts.iter_open(ask, turn)
            stream = StreamReader(order, turn.candidate)
            try:
                yield from self._iter_events(order, stream, exchange, tick, self._attempts.read_timeout(turn.candidate))
            finally:
                exchange.close()
                order.call.count_usage(stream.usage)
            return b''
        return (yield from self._attempts.iter_first(order.call, self._fitting(order), attempt, tick))

    def _iter_events(
        self, order: Order, stream: 'StreamReader', exchange: Exchange, tick: float, limit: float,
    ) -> Generator[bytes | None, None, None]:
        if 'application/json' in exchange.headers.get('content-type', ''):
            yield stream.read_plain(exchange.read_all(limit))
            return
        heard = sent = time.monotonic()
        while not stream.ended:
            asked = time.monotonic()
            data = self._read(exchange, stream, min(tick, limit))
            now = time.monotonic()
            order.call.upstream += now - asked
            if data:
                heard = now
                events = stream.feed(data)
            elif data is None and now - heard >= limit:
                raise silent_too_long(exchange.origin, limit)
            else:
                events = stream.finish() if data is not None else b''
            if events:
                order.call.answering = True
                sent = now
                yield events
                stream.raise_fault()
            elif now - sent >= tick:
                sent = now
                yield None
        exchange.settle(SETTLE_SECONDS)

    @staticmethod
    def _read(exchange: Exchange, stream: 'StreamReader', tick: float) -> bytes | None:
        """As `exchange.read`; a connection cut after the last chunk is an end like another."""
        try:
            return exchange.read(tick)
        except UpstreamBrokenError:
            if stream.finished:
                return b''
            raise


class StreamReader:
    """One upstream stream on its way to the client: its events mended, watched for errors and for a proper end."""

    def __init__(self, order: Order, candidate: Candidate) -> None:
        self.ended = False
        self._fault: UpstreamStatusError | None = None
        self._told = False
        self._call = order.call
        self._candidate = candidate
        self._withholds_usage = not client_wants_usage(order.payload)
        self._decoder = EventDecoder()
        self._reader = candidate.route.provider.stream_reader(order.call.task)

    @property
    def finished(self) -> bool:
        """Whether a finish reason came."""
        return self._reader.finished

    @property
    def usage(self) -> Document | None:
        """The tokens, as far as the upstream told them."""
        return self._reader.usage

    def feed(self, data: bytes) -> bytes:
        """The events to send on for the bytes that came.

        Raises UpstreamStatusError for an error among them; where events came before it, `raise_fault` does.
        """
        events: list[bytes] = []
        for event in self._decoder.feed(data):
            if event.startswith(DONE):
                events.append(self._end())
                break
            try:
                events.append(self._pass_on(event))
            except UpstreamStatusError as error:
                if not any(events):
                    raise
                self._fault = error
                break
        return b''.join(events)

    def raise_fault(self) -> None:
        """Raise the error that came right behind events which had to be sent on first."""
        if self._fault is not None:
            raise self._fault

    def finish(self) -> bytes:
        """The upstream closed: the proper end if its answer was complete. Raises UpstreamBrokenError if not."""
        rest = self._decoder.finish()
        last = self._pass_on(rest) if rest and not rest.startswith(DONE) else b''
        if not self._reader.finished and not (rest or b'').startswith(DONE):
            raise UpstreamBrokenError(f"The server '{self._candidate.name}' broke off in the middle of its answer.")
        return last + self._end()

    def read_plain(self, body: bytes) -> bytes:
        """A whole completion where a stream was asked for: an error in it is raised, an answer sent as one chunk."""
        document = read_document(body, self._candidate)
        try:
            chunk = self._reader.chunk_of(document)
        except UNREADABLE as error:
            raise unlike(self._call.task, self._candidate) from error
        self._call.count_usage(document.get('usage'))
        self._call.answering = True
        return chunk + self._end()

    def _pass_on(self, event: bytes) -> bytes:
        try:
            chunk = orjson.loads(event)
            if chunk.get('error') or 'choices' not in chunk:
                fault = self._candidate.route.provider.hidden_error(chunk)
                if fault is not None:
                    raise fault
            if self._reader.read(chunk) or b'\n' in event:
                event = orjson.dumps(chunk)
        except UNREADABLE:
            self._tell_unreadable()
            return b''  # one malformed chunk does not end a stream
        if self._withholds_usage and not chunk['choices'] and chunk.get('usage'):
            return b''
        return b'data: %b\n\n' % event

    def _tell_unreadable(self) -> None:
        if not self._told:
            self._told = True
            log.warning("The server '%s' sent a chunk that cannot be read (request %s).",
                        self._candidate.name, self._call.request_id)

    def _end(self) -> bytes:
        self.ended = True
        return DONE_EVENT


def read_document(body: bytes, candidate: Candidate) -> Document:
    """As `read_json`, for an answer that has to be an object."""
    document = read_json(body, candidate)
    if not isinstance(document, dict):
        raise UpstreamBrokenError(f"The server '{candidate.name}' answered with JSON that is not an object.")
    return document


def read_json(body: bytes, candidate: Candidate) -> Any:
    """A whole answer. Raises UpstreamBrokenError for what is not JSON, UpstreamStatusError for an error hidden in it."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UpstreamBrokenError(f"The server '{candidate.name}' answered with something that is not JSON.") from error
    hidden = candidate.route.provider.hidden_error(document)
    if hidden is not None:
        raise hidden
    return document


def mend(task: str, document: Document, candidate: Candidate) -> bool:
    """Bring a whole answer into OpenAI's form; True when something was changed. Raises UpstreamBrokenError."""
    provider = candidate.route.provider
    try:
        if task == EMBEDDINGS:
            return provider.parse_embeddings(document, candidate.model)
        return provider.parse_completion(document, task)
    except UNREADABLE as error:
        raise unlike(task, candidate) from error


def encode(document: Document, task: str, candidate: Candidate) -> bytes:
    """A mended answer. What can be read is not always fit to be written: orjson stops at 254 levels."""
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError as error:
        raise unlike(task, candidate) from error


def unlike(task: str, candidate: Candidate) -> UpstreamBrokenError:
    return UpstreamBrokenError(f"The server '{candidate.name}' answered with something that is no {task}.")
