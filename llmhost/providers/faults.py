"""Errors of upstreams, whatever their form, in OpenAI's four keys: message, type, param, code (string or null)."""

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from llmhost.errors import UpstreamStatusError

QUOTE_LIMIT = 2000
BROKEN = 502
RETRY_LIMIT = 86400.0
TYPES = {400: 'invalid_request_error', 401: 'invalid_request_error', 403: 'invalid_request_error',
         404: 'invalid_request_error', 409: 'invalid_request_error', 413: 'invalid_request_error',
         422: 'invalid_request_error', 429: 'requests'}
CONTEXT_CODE = 'context_length_exceeded'
CONTEXT_WORDS = frozenset({CONTEXT_CODE, 'exceed_context_size_error', 'model_context_window_exceeded'})
CONTEXT_STATUSES = frozenset({400, 413, 422, 500})
CONTEXT_PHRASES = (
    r"(maximum|model's|available|configured) context (length|size|window)",  # OpenAI, vLLM, SGLang, OpenRouter, llama.cpp
    r'(exceeds?|exceeded|greater than|longer than|too (long|large) for) (the|its|this|your|our)[\w\s\'-]{0,30} context',
    r'context (length|size|window) (has been |is |was |limit )?exceed',  # llama.cpp, in the middle of an answer
    r'context length of only|context the overflows|context overflow',  # LM Studio
    r'input length exceeds|prompt too long; exceeded',  # Ollama
    r'(prompt|input|request|conversation) (is|are) too long',  # Anthropic, Bedrock, transformers
    r'too (many tokens|large for model)|too many input tokens',  # Cohere, Mistral, Bedrock
    r'exceed(s|ed)? (the )?(maximum|max|model) (number of tokens|token limit|prompt length|input length|length)',  # Gemini, Kimi
    r'maximum prompt length is|prompt exceeds max|tokens in request more than max',  # xAI, z.ai
    r'token count[^.]{0,40} exceeds|exceeds? context limit|range of input length should be',  # Copilot, Anthropic, DashScope
    r'reduce the length of (the|your) (messages|input|prompt)',  # Groq
    r'must have less than \d+ tokens',  # TEI
    r'too large to process\. increase the physical batch size',  # llama.cpp, of a text to embed
)
says_context = re.compile('|'.join(CONTEXT_PHRASES), re.IGNORECASE).search
says_rate = re.compile(r'per (minute|hour|day)|rate.?limit|\b[TR]PM\b|quota', re.IGNORECASE).search
is_word = re.compile(r'[A-Za-z0-9_.:-]{1,64}').fullmatch
"""What a type or a code may be: they are logged, so what is longer or freer is left out."""


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
    if _is_context(fault, status, message):
        return UpstreamStatusError(message, status=400, type=TYPES[400], param='messages', code=CONTEXT_CODE)
    return UpstreamStatusError(
        message,
        status=status,
        type=_type(fault, status),
        param=_printable(fault.get('param')),
        code=_word(fault.get('code')),
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
    return BROKEN


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
    if stated:
        return stated
    return TYPES.get(status, 'invalid_request_error' if 400 <= status < 500 else 'server_error')


def _is_context(fault: Mapping[str, Any], status: int, message: str) -> bool:
    """Whether a prompt was too long, which has OpenAI's code, by which agents know to shorten it.

    Most servers say so in words alone; OpenRouter quotes its provider's in `metadata.raw`. Tokens a minute are another matter.
    """
    if CONTEXT_WORDS & {_word(fault.get('type')), _word(fault.get('code'))}:
        return True
    metadata = fault.get('metadata')
    quoted = str(metadata.get('raw') or '')[:QUOTE_LIMIT] if isinstance(metadata, dict) else ''
    words = f'{message} {quoted}'
    told = status in CONTEXT_STATUSES or status == BROKEN
    return told and says_context(words) is not None and not says_rate(f'{words} {fault.get("code")}')


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and is_word(value) else None


def _printable(value: Any) -> str | None:
    return ''.join(filter(str.isprintable, value)) or None if isinstance(value, str) else None
