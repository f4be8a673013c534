"""LM Studio: OpenAI's dialect, and a native list that tells what is loaded and how.

https://lmstudio.ai/docs/developer/openai-compat: it answers 200 with `{"error": "…"}` to what it does not serve.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from llmhost.providers.base import NONE, Document, Provider
from llmhost.providers.facts import capabilities_of, known, part_of, rows_of, whole_of, words_of

TEXT = ('chat', 'completions')


class LMStudioProvider(Provider):
    name = 'lmstudio'
    default_url = 'http://127.0.0.1:1234/v1'
    rerank = NONE
    has_fixed_context = False

    def model_details(self, url: str) -> tuple[tuple[str, ...], ...]:
        """The native list: v1 since LM Studio 0.4.0, before that v0."""
        root = self.root_url(url)
        return (f'{root}/api/v1/models', f'{root}/api/v0/models'),

    def merge_details(self, models: Sequence[Document], details: Sequence[Any]) -> list[Document]:
        facts = dict([*_iter_v0(details[0]), *_iter_v1(details[0])])
        return [{**model, **facts.get(model['id'], {})} for model in models]


def _iter_v1(document: Any) -> Iterator[tuple[str, Document]]:
    """Facts by id: https://lmstudio.ai/docs/developer/rest/list. `max_context_length` is what the model could be loaded with.

    A model is asked for by its key, by its selected variant, or by the id of a loaded instance, each of which has a context
    of its own; by the key, the instance of that id answers if there is one.
    """
    for entry in rows_of(document, 'models'):
        contexts = {
            str(instance.get('id')): whole_of(part_of(instance, 'config').get('context_length'))
            for instance in rows_of(entry, 'loaded_instances')
        }
        key = str(entry.get('key'))
        facts = {'loaded': bool(contexts), 'capabilities': _capabilities_v1(entry)}
        shared = contexts.get(key) or min((context for context in contexts.values() if context), default=None)
        for name in (key, str(entry.get('selected_variant'))):
            yield name, known({**facts, 'context_length': shared})
        for name, context in contexts.items():
            yield name, known({**facts, 'context_length': context})


def _capabilities_v1(entry: Document) -> list[str]:
    if entry.get('type') == 'embedding':
        return capabilities_of(['embeddings'])
    flags = part_of(entry, 'capabilities')
    told = {'vision': flags.get('vision'), 'tools': flags.get('trained_for_tool_use')}
    return capabilities_of([*TEXT, *(word for word, has in told.items() if has is True)])


def _iter_v0(document: Any) -> Iterator[tuple[str, Document]]:
    """https://lmstudio.ai/docs/developer/rest/endpoints: `type` is llm, vlm or embeddings, `state` loaded or not-loaded."""
    for entry in rows_of(document, 'data'):
        words = {'llm': TEXT, 'vlm': (*TEXT, 'vision'), 'embeddings': ('embeddings',)}.get(str(entry.get('type')), ())
        loaded = entry.get('state') == 'loaded'
        yield str(entry.get('id')), known({
            'loaded': loaded if 'state' in entry else None,
            'context_length': whole_of(entry.get('loaded_context_length')) if loaded else None,
            'capabilities': capabilities_of([*words, *words_of(entry, 'capabilities')]),
        })
