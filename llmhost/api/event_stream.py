"""The body of a streamed answer."""

import logging
from collections.abc import Generator

from llmhost.api.departures import ClientGoneError, Watch
from llmhost.api.errors import INTERNAL, error_event, status_of
from llmhost.api.request_log import finish
from llmhost.errors import LLMHostError, UnavailableError
from llmhost.services import Call, Services

KEEP_ALIVE = b': keep-alive\n\n'
CLIENT_CLOSED_REQUEST = 499

Events = Generator[bytes | None, None, object]
"""Bytes to send on, or None after a silence."""

log = logging.getLogger(__name__)


class EventStream:
    """What WSGI iterates, and closes on every exit. `first` is the first of `events`, taken already."""

    def __init__(self, parts: Services, call: Call, first: bytes | None, events: Events, watch: Watch) -> None:
        self._parts = parts
        self._call = call
        self._first: bytes | None = KEEP_ALIVE if first is None else first
        self._events = events
        self._watch = watch
        self._status = CLIENT_CLOSED_REQUEST  # unless the end is reached
        self._fault: int | None = None
        self._ended = False
        self._closed = False
        parts.metrics.stream_opened()
        parts.metrics.count_first_event(call.task, call.elapsed())

    def __iter__(self) -> 'EventStream':
        return self

    def __next__(self) -> bytes:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        if self._ended:
            raise StopIteration
        try:
            with self._watch:
                event = next(self._events)
        except StopIteration:
            self._end()
            raise
        except ClientGoneError:
            self._ended = True
            raise StopIteration from None
        except LLMHostError as error:
            return self._fail(error)
        except self._watch.stopped:
            return self._fail(UnavailableError('llmhost is being stopped.'))
        except Exception:  # the tail of a started stream: all that is left to say is an event
            log.exception('A defect in a stream (request %s).', self._call.request_id)
            return self._fail(INTERNAL)
        return KEEP_ALIVE if event is None else event

    def close(self) -> None:
        """Give back what the stream holds, however it ended."""
        if self._closed:
            return
        self._closed = True
        self._watch.close()
        self._events.close()
        self._parts.metrics.stream_closed()
        if self._status == CLIENT_CLOSED_REQUEST:
            self._parts.metrics.count_client_gone(self._call.task)
        finish(self._parts, self._call, self._status, self._fault)

    def _end(self) -> None:
        self._ended = True
        self._status = 200

    def _fail(self, error: LLMHostError) -> bytes:
        self._end()
        self._fault = status_of(error)
        self._call.error = error.code or error.type
        return error_event(error)
