"""From a request to its answer, the same for every task: authenticate, read, validate, ask, answer, log."""

import logging
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from flask import Response, current_app, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from llmhost.api.departures import ClientGoneError, Departures, Watch
from llmhost.api.errors import INTERNAL, error_response, from_http
from llmhost.api.event_stream import Events, EventStream
from llmhost.api.request_id import HEADER, request_id
from llmhost.api.request_log import finish
from llmhost.api.unread import READ
from llmhost.errors import InvalidRequestError, LLMHostError, UnavailableError
from llmhost.schemas import decode_body
from llmhost.services import Call, Key, Services, may_use, models_named, unknown_model

log = logging.getLogger(__name__)

CLIENT_CLOSED_REQUEST = 499
RETRY_AFTER = 2.0
NAME_LIMIT = 200
MODEL_FIELDS = ('model', 'models')
STREAM_HEADERS = (('Cache-Control', 'no-cache'), ('X-Accel-Buffering', 'no'))

Payload = dict[str, Any]
Produce = Callable[[Services, Call, Payload, bytes], bytes | Events]


def services() -> Services:
    """The services of the application that serves this request."""
    found: Services = current_app.extensions['llmhost']
    return found


def identify() -> Key | None:
    """Whose request this is. Raises AuthenticationError, or PermissionDeniedError for a web page of elsewhere."""
    environ = request.environ
    return services().access.identify(_presented_key(), environ.get('HTTP_HOST', ''), environ.get('HTTP_ORIGIN'))


def answer(task: str, produce: Produce) -> Response:
    """Answer a request for `task`: `produce` gives a body, or the events of a stream. Errors become OpenAI's object."""
    parts = services()
    departures: Departures = current_app.extensions['llmhost.departures']
    watch = departures.watch(request.environ)
    call = Call(request_id(), task, line=(request.method, request.path))
    streams = False
    try:
        response = _answer(parts, call, produce, watch)
        streams = isinstance(response.response, EventStream)
    finally:
        if not streams:
            watch.close()
    if not streams:
        finish(parts, call, response.status_code)
    return _described(response, call)


def _answer(parts: Services, call: Call, produce: Produce, watch: Watch) -> Response:
    try:
        with watch:
            produced = produce(parts, call, *_read(call))
            if not isinstance(produced, bytes):
                return _open_stream(parts, call, produced, watch)
            return Response(produced, 200, content_type='application/json')
    except ClientGoneError:
        parts.metrics.count_client_gone(call.task)
        return Response(status=CLIENT_CLOSED_REQUEST)
    except (LLMHostError, HTTPException) as error:
        return _refuse(call, error)
    except watch.stopped:
        return _refuse(call, UnavailableError('llmhost is being stopped.', retry_after=RETRY_AFTER))
    except Exception:  # the last resort: a defect must not take the connection down with it
        log.exception('A defect, answered with 500 (request %s).', call.request_id)
        return _refuse(call, INTERNAL)


def _refuse(call: Call, error: LLMHostError | HTTPException) -> Response:
    fault = from_http(error) if isinstance(error, HTTPException) else error
    call.error = fault.code or fault.type
    return error_response(fault)


def _read(call: Call) -> tuple[Payload, bytes]:
    """The request's body, parsed; its key is checked before it is read."""
    key = identify()
    call.key_name = key.name if key else None
    body = _read_body()
    request.environ[READ] = True
    payload = decode_body(body)
    names = models_named(payload)
    if names:
        call.model, call.allowed = names[0], key.models if key else ()
    _check_models(key, payload, names)
    return payload, body


def _check_models(key: Key | None, payload: Payload, names: Sequence[str]) -> None:
    """The key must allow every model named. Names that some servers take for `model` all the same are refused.

    Raises UnknownModelError, InvalidRequestError.
    """
    for name in payload:
        if len(name) in (5, 6) and name not in MODEL_FIELDS and name.casefold() in MODEL_FIELDS:
            raise InvalidRequestError(f"Unknown parameter: '{name}'.", param=name, code='unknown_parameter')
    for model in names:
        if not may_use(key, model):
            raise unknown_model(model)


def _read_body() -> bytes:
    """Raises RequestEntityTooLarge. Of a chunked body one byte more is asked for: werkzeug cuts it off in silence."""
    if request.content_length is not None:
        return request.get_data(cache=False)
    limit = services().config.max_body_bytes
    request.max_content_length = limit + 1
    body = request.get_data(cache=False)
    if len(body) > limit:
        raise RequestEntityTooLarge
    return body


def _presented_key() -> str | None:
    """The key of `Authorization: Bearer`, or of `x-api-key` as Anthropic's clients send it."""
    scheme, _, token = request.headers.get('Authorization', '').partition(' ')
    if scheme.lower() == 'bearer' and token.strip():
        return token.strip()
    return request.headers.get('X-Api-Key')


def _described(response: Response, call: Call) -> Response:
    """The answer with the headers that tell how it came about."""
    headers = response.headers
    headers[HEADER] = call.request_id
    if call.server:
        headers['X-Llmhost-Server'] = call.server
        if call.upstream_model:
            headers['X-Llmhost-Model'] = header_text(call.upstream_model)
        headers['X-Llmhost-Attempts'] = str(call.attempts)
        headers['X-Llmhost-Queue-Ms'] = f'{call.queued * 1000:.2f}'
        headers['X-Llmhost-Overhead-Ms'] = f'{call.overhead() * 1000:.2f}'
    return response


def header_text(text: str) -> str:
    """What a header can carry of a model's id, whatever a client made of it: percent-encoded where it has to be."""
    return text[:NAME_LIMIT] if text.isascii() and text.isprintable() else quote(text[:NAME_LIMIT])


def _open_stream(parts: Services, call: Call, events: Events, watch: Watch) -> Response:
    """Wait for the first event, or for a first silence, before answering 200: until then an error has its own status."""
    try:
        first = next(events)
    except StopIteration:
        raise UnavailableError('The model server sent an empty stream.') from None
    stream = EventStream(parts, call, first, events, watch)
    return Response(
        stream, 200, STREAM_HEADERS, content_type='text/event-stream; charset=utf-8', direct_passthrough=True)
