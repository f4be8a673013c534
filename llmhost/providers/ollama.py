"""Ollama: OpenAI's dialect under `/v1`; what its models can do and which are loaded stands in its own lists.

https://docs.ollama.com/openai: every streamed tool call has index 0; images as base64 only.
"""

from collections.abc import Sequence
from typing import Any

from llmhost.providers.base import NONE, Document, Provider
from llmhost.providers.facts import capabilities_of, known, rows_of, whole_of, words_of


class OllamaProvider(Provider):
    name = 'ollama'
    default_url = 'http://127.0.0.1:11434/v1'
    rerank = NONE
    has_fixed_context = False

    def model_details(self, url: str) -> tuple[tuple[str, ...], ...]:
        root = self.root_url(url)
        return (f'{root}/api/tags',), (f'{root}/api/ps',)

    def merge_details(self, models: Sequence[Document], details: Sequence[Any]) -> list[Document]:
        """https://docs.ollama.com/api/tags and https://docs.ollama.com/api/ps, whose `context_length` is that of the running
        model, and the only place that states it. A model with a `remote_host` runs elsewhere and is never among them."""
        tags, running = details
        installed = {str(row.get('name')): row for row in rows_of(tags, 'models')}
        told = isinstance(running, dict) and isinstance(running.get('models'), list)
        loaded = {str(row.get('name')): row for row in rows_of(running, 'models')} if told else None
        return [{**model, **_facts(model['id'], installed.get(model['id'], {}), loaded)} for model in models]


def _facts(name: str, entry: Document, loaded: dict[str, Document] | None) -> Document:
    words = words_of(entry, 'capabilities')
    facts: Document = {'capabilities': capabilities_of(['chat', 'completions', *words] if 'completion' in words else words)}
    if loaded is not None and not entry.get('remote_host'):
        facts['loaded'] = name in loaded
        facts['context_length'] = whole_of(loaded.get(name, {}).get('context_length'))
    return known(facts)
