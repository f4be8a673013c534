"""What the entries of model lists tell beyond the id: `context_length` (tokens, as loaded), `capabilities` and `loaded`.

A fact that is not told is left out, never guessed. Ways of saying it, with where they are documented:

context_length   OpenRouter https://openrouter.ai/docs/api-reference/list-available-models and Cohere, by this name;
                 `max_model_len` of vLLM and SGLang https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html;
                 `meta.n_ctx` of llama.cpp (of one slot; `n_ctx_train` is the training's)
                 https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md;
                 `context_window` of Groq https://console.groq.com/docs/models
capabilities     a list of words, or an object of flags (Mistral https://docs.mistral.ai/api/endpoint/models)
loaded           a flag; `status.value` of llama.cpp's router (its README, "Using multiple models")
"""

from collections.abc import Iterable, Mapping
from typing import Any

Document = dict[str, Any]

CONTEXT_KEYS = ('context_length', 'max_model_len', 'context_window')
CAPABILITIES = ('chat', 'completions', 'embeddings', 'rerank', 'tools', 'vision')
"""What `capabilities` may hold, in the order they are listed."""
WORDS = {
    **{word: word for word in CAPABILITIES},
    'chat_completion': 'chat', 'chat_completions': 'chat', 'completion_chat': 'chat',
    'embed': 'embeddings', 'embedding': 'embeddings',
    'reranker': 'rerank', 'reranking': 'rerank',
    'function_calling': 'tools', 'tool_calling': 'tools', 'tool_use': 'tools',
    'image': 'vision', 'images': 'vision', 'multimodal': 'vision',
}


def read_facts(entry: Mapping[str, Any]) -> Document:
    """The facts in an entry of any OpenAI-like model list."""
    contexts = [entry.get(key) for key in CONTEXT_KEYS] + [part_of(entry, 'meta').get('n_ctx')]
    facts: Document = {'context_length': next((whole for value in contexts if (whole := whole_of(value))), None)}
    told = entry.get('capabilities')
    words = [word for word, has in told.items() if has is True] if isinstance(told, dict) else told
    if isinstance(words, list):
        facts['capabilities'] = capabilities_of(words)
    loaded = entry.get('loaded', {'loaded': True, 'unloaded': False}.get(str(part_of(entry, 'status').get('value'))))
    facts['loaded'] = loaded if isinstance(loaded, bool) else None
    return known(facts)


def capabilities_of(words: Iterable[Any]) -> list[str]:
    """The capabilities that a server's own words mean; words that mean none are left out."""
    meant = {WORDS.get(word) for word in words if isinstance(word, str)}
    return [name for name in CAPABILITIES if name in meant]


def known(facts: Mapping[str, Any]) -> Document:
    """The facts that are facts: neither None nor an empty list."""
    return {name: value for name, value in facts.items() if value is not None and value != []}


def whole_of(value: Any) -> int | None:
    """A whole number above zero."""
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 1 else None


def part_of(document: Any, key: str) -> Mapping[str, Any]:
    """The object under `key`; an empty one where there is none."""
    part = document.get(key) if isinstance(document, Mapping) else None
    return part if isinstance(part, Mapping) else {}


def rows_of(document: Any, key: str) -> list[Document]:
    """The objects in the array under `key`."""
    rows = document.get(key) if isinstance(document, Mapping) else None
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def words_of(document: Any, key: str) -> list[str]:
    """The strings in the array under `key`."""
    words = document.get(key) if isinstance(document, Mapping) else None
    return [word for word in words if isinstance(word, str)] if isinstance(words, list) else []
