"""The check of a payload, by task."""

from typing import Any

from llmhost.schemas.chat import ChatSchema
from llmhost.schemas.completions import CompletionsSchema
from llmhost.schemas.embeddings import EmbeddingsSchema
from llmhost.schemas.payload import load_payload

SCHEMAS = {'chat': ChatSchema(), 'completions': CompletionsSchema(), 'embeddings': EmbeddingsSchema()}


def validate(task: str, payload: dict[str, Any]) -> None:
    """Check `payload` for the task `chat`, `completions` or `embeddings`; it is left as it is.

    Raises InvalidRequestError for the first fault, with OpenAI's wording, code and `param` path.
    """
    load_payload(SCHEMAS[task], payload)
