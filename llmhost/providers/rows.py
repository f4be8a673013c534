"""The providers that speak OpenAI's dialect at another address: rows of data."""

from collections.abc import Mapping

from llmhost.providers.base import EMBEDDINGS, NATIVE, NONE, RERANK, Provider


class OpenAIProvider(Provider):
    """https://platform.openai.com/docs/api-reference"""

    name = 'openai'
    default_url = 'https://api.openai.com/v1'
    key_env = 'OPENAI_API_KEY'
    rerank = NONE


class JinaProvider(Provider):
    """https://jina.ai/reranker and https://jina.ai/embeddings"""

    name = 'jina'
    default_url = 'https://api.jina.ai/v1'
    key_env = 'JINA_API_KEY'
    rerank = NATIVE
    paths: Mapping[str, str] = {EMBEDDINGS: '/embeddings', RERANK: '/rerank'}
