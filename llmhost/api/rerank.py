"""`/v1/rerank`, `/v2/rerank` and `/rerank`: one answer for the clients of Cohere, Jina, Voyage, vLLM and LiteLLM."""

from functools import partial
from typing import Any

from flask import Blueprint, Response

from llmhost.api.answering import answer
from llmhost.schemas import load_rerank
from llmhost.services import Call, Services

blueprint = Blueprint('rerank', __name__)


def produce(parts: Services, call: Call, payload: dict[str, Any], body: bytes, *, with_documents: bool) -> bytes:
    """The ranking. `with_documents` is what holds where the client does not say whether it wants its documents back."""
    asked = load_rerank(payload)
    wanted = with_documents if asked.return_documents is None else asked.return_documents
    return parts.reranker.rerank(call, asked, wanted)


@blueprint.post('/rerank')
@blueprint.post('/v1/rerank')
def rerank() -> Response:
    """Documents come back unless refused, as vLLM's clients expect."""
    return answer('rerank', partial(produce, with_documents=True))


@blueprint.post('/v2/rerank')
def rerank_v2() -> Response:
    """Cohere's second version never returns documents unasked."""
    return answer('rerank', partial(produce, with_documents=False))
