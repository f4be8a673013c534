"""Hugging Face's text-embeddings-inference: OpenAI's embeddings path, a rerank of its own, one model a server.

https://huggingface.github.io/text-embeddings-inference/
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from llmhost.errors import UpstreamBrokenError
from llmhost.providers.base import EMBEDDINGS, NATIVE, RERANK, Document, Provider
from llmhost.providers.facts import capabilities_of, known, part_of, whole_of


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
        """The one model of /info, whose `model_type` is an object with the type as its key:
        https://github.com/huggingface/text-embeddings-inference/blob/main/docs/openapi.json (Info, ModelType)"""
        model = document.get('model_id') if isinstance(document, dict) else None
        if not isinstance(model, str):
            raise UpstreamBrokenError('The answer of /info has no "model_id".')
        facts = {
            'context_length': whole_of(document.get('max_input_length')),
            'capabilities': capabilities_of(part_of(document, 'model_type')),
            'loaded': True,
        }
        return [{**self.parse_model({'id': model}), **known(facts)}]
