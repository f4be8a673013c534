"""vLLM: OpenAI's dialect; an error event is followed by `[DONE]`.

https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
"""

from typing import Any

import orjson

from llmhost.providers.base import CHAT, COMPLETIONS, Document, Provider
from llmhost.providers.facts import rows_of, whole_of

PROMPT_FIELDS = frozenset({'messages', 'tools', 'add_generation_prompt', 'continue_final_message', 'add_special_tokens',
                           'chat_template', 'chat_template_kwargs', 'mm_processor_kwargs'})


class VllmProvider(Provider):
    name = 'vllm'
    default_url = 'http://127.0.0.1:8000/v1'

    def parse_models(self, document: Any) -> list[Document]:
        """What it lists is loaded. A LoRA adapter names its base as `parent` and shares that one's `max_model_len`."""
        models = super().parse_models(document)
        contexts = {model['id']: model['context_length'] for model in models if 'context_length' in model}
        parents = {str(row.get('id')): str(row.get('parent')) for row in rows_of(document, 'data')}
        for model in models:
            model['loaded'] = True
            shared = contexts.get(parents[model['id']])
            if shared is not None:
                model.setdefault('context_length', shared)
        return models

    def build_count(self, url: str, task: str, payload: Document, model: str) -> tuple[str, bytes] | None:
        """`POST /tokenize` takes a prompt, or messages with what their template may use:
        https://github.com/vllm-project/vllm/blob/main/vllm/entrypoints/serve/tokenize/protocol.py"""
        address = f'{self.root_url(url)}/tokenize'
        if task == CHAT:
            unused = {'tools'} if payload.get('tool_choice') == 'none' else set()  # a server may be told to leave them out
            prompt = {name: value for name, value in payload.items() if name in PROMPT_FIELDS - unused}
            return address, orjson.dumps({**prompt, 'model': model})
        if task == COMPLETIONS and isinstance(payload.get('prompt'), str):
            return address, orjson.dumps({'prompt': payload['prompt'], 'model': model})
        return None

    def parse_count(self, document: Any) -> tuple[int | None, int | None]:
        if not isinstance(document, dict):
            return None, None
        return whole_of(document.get('count')), whole_of(document.get('max_model_len'))
