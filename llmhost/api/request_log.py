"""One line a request. It names who, what and how long; never a secret, never a word of a message."""

import logging

from flask import Flask, Response, request

from llmhost.api.request_id import HEADER, request_id
from llmhost.services import Call, Services

log = logging.getLogger('llmhost.request')

NAME_LIMIT = 200


def register(app: Flask) -> None:
    """An id and a line for requests that are no calls of a model. Probes that succeed come by the second: no line."""
    @app.after_request
    def log_other(response: Response) -> Response:
        if HEADER not in response.headers:
            response.headers[HEADER] = request_id()
            if response.status_code >= 400 or request.blueprint != 'health':
                fields = {'method': request.method, 'path': request.path[:NAME_LIMIT], 'status': response.status_code}
                log.info('', extra={'fields': {**fields, 'request_id': response.headers[HEADER]}})
        return response


def finish(parts: Services, call: Call, status: int, fault: int | None = None) -> None:
    """Log and count a request whose answer is complete. `fault` is the status of an error told within an answer of 200."""
    metrics = parts.metrics
    metrics.count_request(call.task, call.server, fault or status, call.elapsed(), call.queued)
    if call.prompt_tokens or call.completion_tokens:
        metrics.count_tokens(call.server, call.prompt_tokens, call.completion_tokens)
    if log.isEnabledFor(logging.INFO):
        log.info('', extra={'fields': describe(call, status)})


def describe(call: Call, status: int) -> dict[str, str | int | float | None]:
    """What the line says. Times in milliseconds."""
    total = call.elapsed()
    return {
        'method': call.line[0],
        'path': call.line[1],
        'status': status,
        'error': call.error,
        'request_id': call.request_id,
        'key': call.key_name,
        'model': call.model[:NAME_LIMIT],
        'server': call.server,
        'attempts': call.attempts,
        'prompt_tokens': call.prompt_tokens,
        'completion_tokens': call.completion_tokens,
        'queue_ms': round(call.queued * 1000, 2),
        'upstream_ms': round(call.upstream * 1000, 2),
        'overhead_ms': round(max(0.0, total - call.queued - call.upstream) * 1000, 2),
        'total_ms': round(total * 1000, 2),
    }
