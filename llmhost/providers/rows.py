"""The providers that speak OpenAI's dialect at another address: rows of data."""

from collections.abc import Mapping

from llmhost.providers.base import EMBEDDINGS, NATIVE, NONE, RERANK, Provider


class OpenAIProvider(Provider):
    """https://platform.openai.com/docs/api-reference"""

    name = 'openai'
    default_url = 'https://api.openai.com/v1'
    key_env = 'OPENAI_API_KEY'
    rerank = NONE


class LMStudioProvider(Provider):
    """https://lmstudio.ai/docs/developer/openai-compat: answers 200 with `{"error": "…"}` to what it does not serve."""

    name = 'lmstudio'
    default_url = 'http://127.0.0.1:1234/v1'
    rerank = NONE


class OpenRouterProvider(Provider):
    """https://openrouter.ai/docs/api/reference/overview: errors with integer codes, also inside a chunk or a 200."""

    name = 'openrouter'
    root = '/api/v1'
    default_url = 'https://openrouter.ai/api/v1'
    key_env = 'OPENROUTER_API_KEY'
    rerank = NONE


class OllamaProvider(Provider):
    """https://docs.ollama.com/openai: every streamed tool call has index 0; images as base64 only."""

    name = 'ollama'
    default_url = 'http://127.0.0.1:11434/v1'
    rerank = NONE


class LlamaCppProvider(Provider):
    """https://github.com/ggml-org/llama.cpp/tree/master/tools/server: integer codes, 503 while it loads, raw rerank logits."""

    name = 'llamacpp'
    default_url = 'http://127.0.0.1:8080/v1'


class VllmProvider(Provider):
    """https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html: an error event is followed by `[DONE]`."""

    name = 'vllm'
    default_url = 'http://127.0.0.1:8000/v1'


class JinaProvider(Provider):
    """https://jina.ai/reranker and https://jina.ai/embeddings"""

    name = 'jina'
    default_url = 'https://api.jina.ai/v1'
    key_env = 'JINA_API_KEY'
    rerank = NATIVE
    paths: Mapping[str, str] = {EMBEDDINGS: '/embeddings', RERANK: '/rerank'}
