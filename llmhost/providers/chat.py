"""Chat completions and their chunks, mended into OpenAI's form where a server strays from it.

Wire format: https://platform.openai.com/docs/api-reference/chat/object and .../chat/streaming. What is mended, and where it
was seen: tool calls all of index 0 (Ollama), finish_reason "stop" after tool calls (Ollama, vLLM), arguments as an object
(Ollama, some templates), `reasoning` or `reasoning_content` alone (both are emitted), missing id, object, created or index
(small servers), null where OpenAI leaves out (vLLM).
"""

import secrets
import time
from typing import Any

import orjson

from llmhost.errors import UpstreamBrokenError
from llmhost.providers.faults import read_fault

Document = dict[str, Any]

FINISH_REASONS = frozenset({'stop', 'length', 'tool_calls', 'content_filter', 'function_call'})
NEVER_NULL = ('annotations', 'function_call', 'tool_calls')
USAGE_DETAILS = ('prompt_tokens_details', 'completion_tokens_details')
FINISH_ALIASES = {
    'max_tokens': 'length',
    'max_length': 'length',
    'model_length': 'length',
    'tool_call': 'tool_calls',
    'tool_use': 'tool_calls',
    'safety': 'content_filter',
}


def finish_reason_of(reason: Any, calls_tools: bool) -> str:
    """OpenAI's word for an upstream's finish reason; `stop` with tool calls means `tool_calls`."""
    word = str(reason).lower()
    if word not in FINISH_REASONS:
        word = FINISH_ALIASES.get(word, 'stop')
    return 'tool_calls' if word == 'stop' and calls_tools else word


def raise_failed(choice: Document, reason: Any) -> None:
    """Raise UpstreamStatusError for a choice that says its generation failed (OpenRouter: finish_reason "error")."""
    if reason == 'error':
        raise read_fault(200, {}, orjson.dumps({'error': choice.get('error') or 'The generation failed.'}))


def mend_completion(document: Document) -> bool:
    """Mend a chat completion in place; True when something was changed. Raises UpstreamBrokenError when it is none."""
    changed = fill_in(document, 'chat.completion', 'chatcmpl') | mend_usage(document.get('usage'))
    for position, choice in enumerate(document['choices']):
        changed |= _mend_choice(choice, position)
    return changed


def fill_in(document: Document, kind: str, prefix: str) -> bool:
    """The envelope all answers share: object, id, created, model. Raises UpstreamBrokenError where there is no choice."""
    if not isinstance(document.get('choices'), list):
        raise UpstreamBrokenError('The model server answered with something that is no completion: it has no choices.')
    changed = False
    if document.get('object') != kind:
        document['object'], changed = kind, True
    if not isinstance(document.get('id'), str):
        document['id'], changed = f'{prefix}-{secrets.token_hex(12)}', True
    if not isinstance(document.get('created'), int):
        document['created'], changed = int(time.time()), True
    if not isinstance(document.get('model'), str):
        document['model'], changed = '', True
    return changed


def _mend_choice(choice: Document, position: int) -> bool:
    changed = False
    if not isinstance(choice.get('index'), int):
        choice['index'], changed = position, True
    message = choice.get('message')
    if not isinstance(message, dict):
        message = choice['message'] = {'role': 'assistant', 'content': None}
        changed = True
    if message.get('role') != 'assistant' or 'content' not in message:
        message['role'], changed = 'assistant', True
        message.setdefault('content', None)
    raise_failed(choice, choice.get('finish_reason'))
    changed |= mirror_reasoning(message) | drop_nulls(message, NEVER_NULL)
    calls = message.get('tool_calls')
    if isinstance(calls, list):
        changed |= _mend_calls(message, calls)
    reason = finish_reason_of(choice.get('finish_reason') or 'stop', bool(calls))
    if reason != choice.get('finish_reason'):
        choice['finish_reason'], changed = reason, True
    return changed


def _mend_calls(message: Document, calls: list[Any]) -> bool:
    if not calls:
        del message['tool_calls']
        return True
    changed = False
    for call in calls:
        changed |= mend_arguments(call)
        if 'index' in call:
            del call['index']
            changed = True
        if not isinstance(call.get('id'), str) or not call['id']:
            call['id'], changed = new_call_id(), True
        if 'type' not in call:
            call['type'], changed = 'function', True
    return changed


def mend_usage(usage: Any) -> bool:
    """Mend a usage object in place, if it is one; True when something was changed."""
    return isinstance(usage, dict) and drop_nulls(usage, USAGE_DETAILS)


def drop_nulls(part: Document, names: tuple[str, ...]) -> bool:
    nulls = [name for name in names if name in part and part[name] is None]
    for name in nulls:
        del part[name]
    return bool(nulls)


def mirror_reasoning(part: Document) -> bool:
    """Emit the reasoning under both names (`reasoning`: vLLM, OpenRouter; `reasoning_content`: DeepSeek, llama.cpp)."""
    if 'reasoning_content' in part:
        if 'reasoning' not in part:
            part['reasoning'] = part['reasoning_content']
            return True
    elif isinstance(part.get('reasoning'), str):
        part['reasoning_content'] = part['reasoning']
        return True
    return False


def mend_arguments(call: Document) -> bool:
    """A call's arguments are always a string."""
    function = call.get('function')
    if not isinstance(function, dict) or isinstance(function.get('arguments'), str):
        return False
    arguments = function.get('arguments')
    function['arguments'] = '' if arguments is None else orjson.dumps(arguments).decode()
    return True


def new_call_id() -> str:
    return f'call_{secrets.token_hex(12)}'
