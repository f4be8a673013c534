"""The bytes of a request body, as a payload."""

from typing import Any

import orjson

from llmhost.errors import BadRequestError
from llmhost.schemas.faults import TYPE_WORDS

NOT_JSON = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
    'correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON. {reason}.)'
)


def decode_body(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`. Raises BadRequestError for anything else; its message holds nothing of the content."""
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequestError(NOT_JSON.format(reason=_reason(body, error))) from None
    if type(payload) is not dict:
        got = TYPE_WORDS[type(payload)]
        raise BadRequestError(f'The body of your request must be a JSON object, but it is {got}.')
    return payload


def _reason(body: bytes, error: orjson.JSONDecodeError) -> str:
    if not body:
        return 'The body was empty'
    return f'The parser says: {error.msg}, at line {error.lineno} column {error.colno}'
