"""Errors of upstreams, whatever their form, in OpenAI's four keys: message, type, param, code (string or null)."""

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from llmhost.errors import UpstreamStatusError

RETRY_LIMIT = 86400.0
TYPES = {400: 'invalid_request_error', 401: 'invalid_request_error', 403: 'invalid_request_error',
         404: 'invalid_request_error', 409: 'invalid_request_error', 413: 'invalid_request_error',
         422: 'invalid_request_error', 429: 'requests'}
CONTEXT_TYPES = frozenset({'exceed_context_size_error', 'context_length_exceeded'})
CONTEXT_CODE = 'context_length_exceeded'
CONTEXT_STATUSES = frozenset({400, 413, 422})
is_word = re.compile(r'[A-Za-z0-9_.:-]{1,64}').fullmatch
"""What a type or a code may be: they are logged, so what is longer or freer is left out."""
says_context = re.compile(r'context (length|size|window)|input length exceeds|too many tokens', re.IGNORECASE).search


def read_fault(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamStatusError:
    """The error of an answer.

    Forms known: OpenAI's `{"error": {…}}`; the same with an integer code (vLLM, llama.cpp, OpenRouter); `{"error": "text"}`
    (Ollama, LM Studio); `{"error": "text", "error_type": …}` (TEI); `{"message": …}` (Cohere); `{"detail": …}` (FastAPI,
    Jina, Voyage); anything else, such as a proxy's HTML page, is named by its status alone. Message and param are whole:
    `redaction.hide` shortens them, once the secrets are out (half a secret would not be found).
    """
    document = _parse(body)
    fault = document.get('error', document)
    if isinstance(fault, str):
        fault = {'message': fault, 'type': document.get('error_type')}
    if not isinstance(fault, dict):
        fault = {}
    status = _status(status, fault)
    message = _message(fault, status)
    return UpstreamStatusError(
        message,
        status=status,
        type=_type(fault, status),
        param=_printable(fault.get('param')),
        code=_code(fault, status, message),
        retry_after=retry_after_of(headers),
    )


def retry_after_of(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `Retry-After` (seconds or an HTTP date, RFC 9110 §10.2.3) or OpenAI's `retry-after-ms`.

    A day at most: what is longer, or no number at all, is a mistake.
    """
    try:
        seconds = _stated_pause(headers)
    except (ValueError, TypeError, OverflowError):
        return None
    return None if seconds is None else min(max(0.0, seconds), RETRY_LIMIT)


def _stated_pause(headers: Mapping[str, str]) -> float | None:
    if 'retry-after-ms' in headers:
        return float(headers['retry-after-ms']) / 1000
    value = headers.get('retry-after')
    if value is None:
        return None
    if value.strip().replace('.', '', 1).isdigit():
        return float(value)
    return parsedate_to_datetime(value).timestamp() - time.time()


def _parse(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {'detail': document}


def _status(status: int, fault: Mapping[str, Any]) -> int:
    """The status meant: an error under 200 says it in its integer code (OpenRouter), or else is a broken answer."""
    if status >= 400:
        return status
    code = fault.get('code', fault.get('status'))
    if isinstance(code, int) and 400 <= code < 600:
        return code
    return 400 if says_context(_message(fault, status)) else 502


def _message(fault: Mapping[str, Any], status: int) -> str:
    for key in ('message', 'detail', 'error'):
        value = fault.get(key)
        if isinstance(value, str) and value:
            return value
        if value:
            with suppress(orjson.JSONEncodeError):  # nested too deeply to be written again
                return orjson.dumps(value).decode()
    return f'The model server answered with status {status} and no message.'


def _type(fault: Mapping[str, Any], status: int) -> str:
    stated = _word(fault.get('type'))
    if stated and stated not in CONTEXT_TYPES:
        return stated
    return TYPES.get(status, 'invalid_request_error' if 400 <= status < 500 else 'server_error')


def _code(fault: Mapping[str, Any], status: int, message: str) -> str | None:
    """A string or null. An integer repeats the HTTP status and says nothing more.

    A prompt that is too long has OpenAI's code, by which agents know to shorten it; most servers say so in words alone.
    """
    stated = _word(fault.get('code'))
    if _word(fault.get('type')) in CONTEXT_TYPES:
        return CONTEXT_CODE
    return CONTEXT_CODE if status in CONTEXT_STATUSES and stated is None and says_context(message) else stated


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and is_word(value) else None


def _printable(value: Any) -> str | None:
    return ''.join(filter(str.isprintable, value)) or None if isinstance(value, str) else None
