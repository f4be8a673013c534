"""The dialects, by name. A provider's name is compared in this package alone."""

from urllib.parse import urlsplit

from llmhost.errors import RegistryError
from llmhost.providers.base import CHAT, COMPLETIONS, EMBEDDINGS, MAYBE, NATIVE, NONE, RERANK, Provider
from llmhost.providers.cohere import CohereProvider
from llmhost.providers.llamacpp import LlamaCppProvider
from llmhost.providers.lmstudio import LMStudioProvider
from llmhost.providers.ollama import OllamaProvider
from llmhost.providers.openrouter import OpenRouterProvider
from llmhost.providers.rows import JinaProvider, OpenAIProvider
from llmhost.providers.tei import TeiProvider
from llmhost.providers.vllm import VllmProvider

__all__ = [
    'CHAT', 'COMPLETIONS', 'EMBEDDINGS', 'MAYBE', 'MANAGED', 'NATIVE', 'NONE', 'PROVIDERS', 'RERANK', 'Provider',
    'guess_provider', 'provider_named',
]

PROVIDERS: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        Provider(),
        OpenAIProvider(),
        LMStudioProvider(),
        OpenRouterProvider(),
        OllamaProvider(),
        LlamaCppProvider(),
        VllmProvider(),
        TeiProvider(),
        CohereProvider(),
        JinaProvider(),
    )
}
MANAGED = LlamaCppProvider.name
"""The dialect of the servers llmhost starts from a GGUF file."""


def provider_named(name: str) -> Provider:
    """Raises RegistryError, naming those that exist."""
    if name not in PROVIDERS:
        raise RegistryError(f"There is no provider '{name}'. Known: {', '.join(sorted(PROVIDERS))}.")
    return PROVIDERS[name]


def guess_provider(url: str) -> Provider:
    """The provider whose usual host or port the URL has; generic otherwise."""
    parts = urlsplit(url)
    for provider in PROVIDERS.values():
        usual = urlsplit(provider.default_url or '')
        if usual.hostname and usual.hostname == parts.hostname and usual.port == parts.port:
            return provider
    ports = {urlsplit(row.default_url or '').port: row for row in (LMStudioProvider, OllamaProvider)}
    return PROVIDERS[ports[parts.port].name] if parts.port in ports and parts.port else PROVIDERS['generic']
