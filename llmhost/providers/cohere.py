"""Cohere: chat and embeddings by its OpenAI-compatible paths, rerank and the model list by its own.

https://docs.cohere.com/docs/compatibility-api and https://docs.cohere.com/reference/rerank
"""

from collections.abc import Mapping
from typing import Any

import orjson

from llmhost.errors import UpstreamBrokenError, UpstreamStatusError
from llmhost.providers.base import CHAT, EMBEDDINGS, NATIVE, RERANK, Document, Provider
from llmhost.providers.facts import capabilities_of, known, words_of


class CohereProvider(Provider):
    name = 'cohere'
    root = ''
    default_url = 'https://api.cohere.com'
    key_env = 'CO_API_KEY'
    rerank = NATIVE
    paths: Mapping[str, str] = {
        CHAT: '/compatibility/v1/chat/completions',
        EMBEDDINGS: '/compatibility/v1/embeddings',
        RERANK: '/v2/rerank',
    }
    models_path = '/v1/models?page_size=1000'

    def hidden_error(self, document: Any) -> UpstreamStatusError | None:
        """A failing stream ends in an error object of Cohere's own: `{"id", "message"}`."""
        if isinstance(document, dict) and isinstance(document.get('message'), str) and 'choices' not in document:
            return self.parse_error(200, {}, orjson.dumps(document))
        return super().hidden_error(document)

    def parse_models(self, document: Any) -> list[Document]:
        entries = document.get('models') if isinstance(document, dict) else None
        if not isinstance(entries, list):
            raise UpstreamBrokenError('The model list has no array "models".')
        named = [entry for entry in entries if isinstance(entry, dict) and entry.get('name')]
        return [self.parse_model({**entry, 'id': entry['name']}) for entry in named]

    def parse_model(self, entry: Document) -> Document:
        """https://docs.cohere.com/reference/list-models: `endpoints` it answers at, `features` such as tools and vision."""
        words = [*words_of(entry, 'endpoints'), *words_of(entry, 'features')]
        return {**super().parse_model(entry), **known({'capabilities': capabilities_of(words)})}
