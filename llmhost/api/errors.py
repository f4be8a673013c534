"""Errors at the edge: one table from codes to statuses, and OpenAI's error object.

https://platform.openai.com/docs/guides/error-codes: `{"error": {"message", "type", "param", "code"}}`, all four keys.
"""

import logging
import math
from typing import Any

import orjson
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge
from werkzeug.routing import RequestRedirect
from werkzeug.wrappers import Response as BaseResponse

from llmhost import errors
from llmhost.errors import LLMHostError

STATUSES: dict[type[LLMHostError], int] = {
    errors.BadRequestError: 400,
    errors.RequestTooLargeError: 413,
    errors.MethodNotAllowedError: 405,
    errors.NotFoundError: 404,
    errors.AuthenticationError: 401,
    errors.PermissionDeniedError: 403,
    errors.RateLimitError: 429,
    errors.UnavailableError: 503,
    errors.UpstreamError: 502,
    errors.UpstreamTimeoutError: 504,
    errors.ConsoleError: 500,
    LLMHostError: 500,
}
OVERLOADED = 529
RETRY_AFTER_LIMIT = 86400
INTERNAL = LLMHostError('The server had an error while processing your request. Its log has the cause.', code='internal_error')

log = logging.getLogger(__name__)


def status_of(error: LLMHostError) -> int:
    """The HTTP status of an error: an upstream's own, or that of its nearest class in the table."""
    if isinstance(error, errors.UpstreamStatusError):
        return 503 if error.status == OVERLOADED else error.status
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def document_of(error: LLMHostError) -> dict[str, Any]:
    """OpenAI's error object."""
    return {'error': {'message': error.message, 'type': error.type, 'param': error.param, 'code': error.code}}


def error_response(error: LLMHostError) -> Response:
    """The answer to a request that failed."""
    response = Response(orjson.dumps(document_of(error)), status_of(error), content_type='application/json')
    if error.retry_after is not None and math.isfinite(error.retry_after):
        response.headers['Retry-After'] = str(max(1, min(RETRY_AFTER_LIMIT, math.ceil(error.retry_after))))
    return response


def error_event(error: LLMHostError) -> bytes:
    """The event that ends a stream which cannot be completed."""
    return b'data: %b\n\n' % orjson.dumps(document_of(error))


def from_http(error: HTTPException) -> LLMHostError:
    """What Flask found wrong before a view did."""
    if isinstance(error, NotFound):
        return errors.UnknownURLError(f'Invalid URL ({request.method} {request.path[:200]})')
    if isinstance(error, MethodNotAllowed):
        allowed = ', '.join(sorted(error.valid_methods or ()))
        return errors.MethodNotAllowedError(f'Not allowed to {request.method} on {request.path[:200]}. Allowed: {allowed}.')
    if isinstance(error, RequestEntityTooLarge):
        return errors.RequestTooLargeError('The request body exceeds what LLMHOST_MAX_BODY_BYTES allows.')
    return errors.BadRequestError(error.description or error.name)


def register(app: Flask) -> None:
    """Every error leaves as OpenAI's error object. The last handler is for defects: it logs the traceback."""
    @app.errorhandler(LLMHostError)
    def on_error(error: LLMHostError) -> Response:
        return error_response(error)

    @app.errorhandler(HTTPException)
    def on_http_error(error: HTTPException) -> BaseResponse:
        if isinstance(error, RequestRedirect):  # slashes doubled where a base URL and a path were joined
            return error.get_response()
        response = error_response(from_http(error))
        if isinstance(error, MethodNotAllowed) and error.valid_methods:
            response.headers['Allow'] = ', '.join(sorted(error.valid_methods))
        response.status_code = error.code or 500
        return response

    @app.errorhandler(Exception)
    def on_defect(error: Exception) -> Response:
        log.exception('A defect, answered with 500.')
        return error_response(INTERNAL)
