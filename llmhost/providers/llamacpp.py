"""llama.cpp's server: OpenAI's dialect, with integer codes, 503 while it loads, and raw rerank logits.

https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
"""

from collections.abc import Sequence
from typing import Any

import orjson

from llmhost.providers.base import CHAT, COMPLETIONS, Document, Provider
from llmhost.providers.facts import capabilities_of, known, part_of, whole_of

PROMPT_FIELDS = frozenset({'messages', 'tools', 'tool_choice', 'parallel_tool_calls', 'response_format', 'reasoning_effort',
                           'chat_template_kwargs', 'add_generation_prompt', 'reasoning_format'})
WORDPIECE = 3
"""`meta.vocab_type` of models that embed or rank and cannot chat (LLAMA_VOCAB_TYPE_WPM in llama.h)."""


class LlamaCppProvider(Provider):
    name = 'llamacpp'
    default_url = 'http://127.0.0.1:8080/v1'

    def parse_model(self, entry: Document) -> Document:
        """As recorded of b11549: `meta.n_ctx` is what one slot has, and each model calls itself capable of "completion",
        rerankers included; only a vocabulary of word pieces tells that a model does not write."""
        meta = part_of(entry, 'meta')
        model = {**({'loaded': True} if 'n_ctx' in meta else {}), **super().parse_model(entry)}
        kind = meta.get('vocab_type')
        words = ['chat', 'completions'] if kind is not None and kind != WORDPIECE else []
        inputs = part_of(entry, 'architecture').get('input_modalities')
        sees = isinstance(inputs, list) and 'image' in inputs
        return {**model, **known({'capabilities': capabilities_of([*words, *(['vision'] if sees and words else [])])})}

    def model_details(self, url: str) -> tuple[tuple[str, ...], ...]:
        return (f'{self.root_url(url)}/props',),

    def merge_details(self, models: Sequence[Document], details: Sequence[Any]) -> list[Document]:
        """README "GET /props": the context of one slot, the modalities, and what the chat template can say.

        They are the one model's; a router (several models) tells nothing of them without loading one.
        """
        if len(models) != 1 or not isinstance(details[0], dict):
            return list(models)
        props, model = details[0], dict(models[0])
        words = model.get('capabilities', [])
        if 'chat' in words:
            words = [*words, *(['vision'] if part_of(props, 'modalities').get('vision') is True else []),
                     *(['tools'] if part_of(props, 'chat_template_caps').get('supports_tools') is True else [])]
        context = whole_of(part_of(props, 'default_generation_settings').get('n_ctx'))
        return [{**model, **known({'context_length': context, 'capabilities': capabilities_of(words)})}]

    def build_count(self, url: str, task: str, payload: Document, model: str) -> tuple[str, bytes] | None:
        """README "POST /v1/chat/completions/input_tokens" and "POST /tokenize"."""
        if task == CHAT:
            prompt = {name: value for name, value in payload.items() if name in PROMPT_FIELDS}
            return f'{self.base_url(url)}/chat/completions/input_tokens', orjson.dumps({**prompt, 'model': model})
        if task == COMPLETIONS and isinstance(payload.get('prompt'), str):
            content = {'content': payload['prompt'], 'add_special': True, 'model': model}
            return f'{self.root_url(url)}/tokenize', orjson.dumps(content)
        return None

    def parse_count(self, document: Any) -> tuple[int | None, int | None]:
        if isinstance(document, dict) and isinstance(document.get('tokens'), list):
            return len(document['tokens']), None
        return (whole_of(document.get('input_tokens')), None) if isinstance(document, dict) else (None, None)
