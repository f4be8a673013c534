"""Hugging Face's text-embeddings-inference: OpenAI's embeddings path, a rerank of its own, one model a server.

https://huggingface.github.io/text-embeddings-inference/
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from llmhost.errors import UpstreamBrokenError
from llmhost.providers.base import EMBEDDINGS, NATIVE, RERANK, Document, Provider


class TeiProvider(Provider):
    name = 'tei'
    root = ''
    rerank = NATIVE
    paths: Mapping[str, str] = {EMBEDDINGS: '/v1/embeddings', RERANK: '/rerank'}
    models_path = '/info'

    def base_url(self, url: str) -> str:
        """The server's root: its rerank lies beside `/v1`, not under it."""
        return super().base_url(url).removesuffix('/v1')

    def build_rerank(self, model: str, query: str, documents: Sequence[str], extra: Mapping[str, Any]) -> bytes:
        return orjson.dumps({**extra, 'query': query, 'texts': documents})

    def parse_models(self, document: Any) -> list[Document]:
        model = document.get('model_id') if isinstance(document, dict) else None
        if not isinstance(model, str):
            raise UpstreamBrokenError('The answer of /info has no "model_id".')
        return [{**self.parse_model({'id': model}), 'context_length': document.get('max_input_length')}]
