"""Cohere: chat and embeddings by its OpenAI-compatible paths, rerank and the model list by its own.

https://docs.cohere.com/docs/compatibility-api and https://docs.cohere.com/reference/rerank
"""

from collections.abc import Mapping
from typing import Any

from llmhost.errors import UpstreamBrokenError
from llmhost.providers.base import CHAT, EMBEDDINGS, NATIVE, RERANK, Document, Provider


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

    def parse_models(self, document: Any) -> list[Document]:
        entries = document.get('models') if isinstance(document, dict) else None
        if not isinstance(entries, list):
            raise UpstreamBrokenError('The model list has no array "models".')
        named = [entry for entry in entries if isinstance(entry, dict) and entry.get('name')]
        return [self.parse_model({**entry, 'id': entry['name']}) for entry in named]
