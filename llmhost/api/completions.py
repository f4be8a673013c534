"""`/v1/chat/completions`, `/v1/completions` and `/v1/embeddings`: https://platform.openai.com/docs/api-reference"""

from typing import Any

from flask import Blueprint, Response

from llmhost.api.answering import answer
from llmhost.api.event_stream import Events
from llmhost.schemas import validate
from llmhost.services import Call, Order, Services

blueprint = Blueprint('completions', __name__)


def produce(parts: Services, call: Call, payload: dict[str, Any], body: bytes) -> bytes | Events:
    """The whole answer, or its events where the client asks for a stream."""
    validate(call.task, payload)
    order = Order(call, payload, body)
    if payload.get('stream') and call.task != 'embeddings':
        return parts.completions.stream(order)
    return parts.completions.complete(order)


@blueprint.post('/v1/chat/completions')
def create_chat_completion() -> Response:
    return answer('chat', produce)


@blueprint.post('/v1/completions')
def create_completion() -> Response:
    return answer('completions', produce)


@blueprint.post('/v1/embeddings')
def create_embeddings() -> Response:
    return answer('embeddings', produce)
