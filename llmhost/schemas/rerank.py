"""The payload of `/v1/rerank`, in the dialects of Cohere, Jina, Voyage, vLLM, llama.cpp and TEI.

Voyage says `top_k` for `top_n`; TEI says `texts` for `documents` and `return_text` for `return_documents`; Cohere's
first version takes objects as documents, and `rank_fields` to say which of their fields count.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmhost.schemas import faults
from llmhost.schemas.checks import (
    Check,
    array,
    boolean,
    either,
    fallback_models,
    filled_string,
    integer_from,
    json_object,
    shape,
    string,
)
from llmhost.schemas.payload import Checked, PayloadSchema, load_payload

EXPECTED = 'an array of strings or objects'
EXPECTED_ITEM = 'one of a string or object with text'
texts_or_objects = array(either(EXPECTED_ITEM, {str: string, dict: json_object}), EXPECTED, minimum=1)


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """What to rank. `top_n` None means all, `return_documents` None that the client did not say; `models` is the fallback list.

    `extra` is every field that has no meaning here, to be passed on.
    """

    model: str
    query: str
    documents: list[str]
    top_n: int | None
    return_documents: bool | None
    extra: dict[str, Any]
    models: Sequence[str] = ()


class RerankSchema(PayloadSchema):
    model = Checked(filled_string, required=True)
    models = Checked(fallback_models)
    query = Checked(string, required=True)
    documents = Checked(texts_or_objects)
    texts = Checked(texts_or_objects)
    rank_fields = Checked(array(string, 'an array of strings'))
    top_n = Checked(integer_from(0))
    top_k = Checked(integer_from(0))
    return_documents = Checked(boolean)
    return_text = Checked(boolean)

    def load(self, data: Any, **kwargs: Any) -> RerankRequest:
        super().load(data)
        return RerankRequest(
            model=data['model'],
            query=data['query'],
            documents=_texts(data),
            top_n=_first(data, 'top_n', 'top_k') or None,
            return_documents=_first(data, 'return_documents', 'return_text'),
            extra={key: value for key, value in data.items() if key not in self.load_fields},
            models=data.get('models') or (),
        )


def load_rerank(payload: dict[str, Any]) -> RerankRequest:
    """The request in `payload`, whichever dialect it is in.

    Raises InvalidRequestError for the first fault, with OpenAI's wording, code and `param` path.
    """
    request: RerankRequest = load_payload(SCHEMA, payload)
    return request


def _first(payload: dict[str, Any], *names: str) -> Any:
    return next((payload[name] for name in names if payload.get(name) is not None), None)


def _texts(payload: dict[str, Any]) -> list[str]:
    """The texts of the documents. Raises Fault where an object has none of the fields that count."""
    key = 'texts' if payload.get('documents') is None and 'texts' in payload else 'documents'
    rank_fields = payload.get('rank_fields') or ['text']
    shape({key: array(_document_with(rank_fields), EXPECTED, minimum=1)})(payload)
    return [_text(document, rank_fields) for document in payload[key]]


def _document_with(rank_fields: list[str]) -> Check:
    def check(document: Any) -> None:
        if type(document) is not str and not _fields(document, rank_fields):
            raise faults.wrong_type(EXPECTED_ITEM, document)

    return check


def _text(document: str | dict[str, Any], rank_fields: list[str]) -> str:
    if isinstance(document, str):
        return document
    return '\n'.join(_fields(document, rank_fields))


def _fields(document: dict[str, Any], rank_fields: list[str]) -> list[str]:
    return [document[field] for field in rank_fields if type(document.get(field)) is str]


SCHEMA = RerankSchema()
