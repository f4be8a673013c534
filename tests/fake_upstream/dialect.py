"""What the fake upstream answers unasked: a small, deterministic model server in OpenAI's dialect.

Sources of the wire forms: https://platform.openai.com/docs/api-reference and, for rerank,
https://docs.cohere.com/reference/rerank.
"""
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from .replies import Reply, Request
from .vectors import count_tokens, embed, encode_base64, rank

CREATED = 1760000000
KEY_HELP = 'You can find your API key at https://platform.openai.com/account/api-keys.'


@dataclass(frozen=True)
class Dialect:
    """models         the ids listed; any other is answered too, unless `strict_models` (then 404 model_not_found)
    text           what every chat and text completion says, a word a chunk
    tokens         words in an answer: `text` repeated or cut to fit (None: as it is); max_tokens cuts further
    gap, delay     seconds between the chunks of a stream, and before every completion
    api_key        asked for as a bearer token, when set
    """
    models: tuple[str, ...] | list[str] = ('fake-small', 'fake-large')
    strict_models: bool = False
    text: str = 'Hello from the fake model: naïve café, 你好 👋.'
    tokens: int | None = None
    gap: float = 0.0
    delay: float = 0.0
    api_key: str | None = None
    dimensions: int = 64

    def answer(self, request: Request) -> Reply:
        """The reply to any request. Paths count from their end: /v1/x, /api/v1/x, /compatibility/v1/x are the same."""
        if self.api_key and request.headers.get('authorization') != f'Bearer {self.api_key}':
            return Reply.error(401, f'Incorrect API key provided. {KEY_HELP}', 'invalid_api_key')
        if request.method in ('GET', 'HEAD'):
            return self._answer_get(request)
        for path, answer in self._posts().items():
            if request.method == 'POST' and request.path.endswith(path):
                return self._answer_post(request, answer)
        return unknown_url(request)

    def _answer_get(self, request: Request) -> Reply:
        if request.path == '/health':
            return Reply.json({'status': 'ok'})
        if request.path.endswith('/models'):
            return Reply.json({'object': 'list', 'data': [build_model(name) for name in self.models]})
        if '/models/' in request.path:
            name = request.path.partition('/models/')[2].replace('%2F', '/').replace('%2f', '/')
            return Reply.json(build_model(name)) if name in self.models else model_not_found(name)
        return unknown_url(request)

    def _posts(self) -> dict[str, Any]:
        return {'/chat/completions': self._chat, '/completions': self._completion, '/embeddings': self._embeddings,
                '/rerank': self._rerank}

    def _answer_post(self, request: Request, answer: Any) -> Reply:
        try:
            payload = request.json
            model = payload.get('model', '')
            if self.strict_models and model not in self.models:
                return model_not_found(model)
            return answer(payload, request)
        except ValueError:
            return Reply.error(400, 'We could not parse the JSON body of your request.')
        except KeyError as error:
            name = error.args[0]
            return Reply.error(400, f"Missing required parameter: '{name}'.", 'missing_required_parameter', name)
        except IndexError:
            return Reply.error(400, "Invalid 'messages': empty array.", 'empty_array', 'messages')

    def _chat(self, payload: dict[str, Any], request: Request) -> Reply:
        calls = choose_calls(payload)
        words = [] if calls else self._words(payload, tool_answer(payload) or self.text)
        usage = build_usage(payload['messages'], len(words) + len(calls))
        base = {'id': f'chatcmpl-fake-{request.number}', 'created': CREATED, 'model': payload['model']}
        finish = 'tool_calls' if calls else 'length' if self._is_cut(payload, words) else 'stop'
        if payload.get('stream'):
            chunks = build_chunks(base, words, calls, finish, usage if asks_usage(payload) else None)
            return Reply.events(*chunks, delay=self.delay, gap=self.gap)
        content = None if calls else ''.join(words)
        message = {'role': 'assistant', 'content': content, 'refusal': None, 'annotations': []}
        if calls:
            message['tool_calls'] = calls
        choice = {'index': 0, 'message': message, 'logprobs': None, 'finish_reason': finish}
        document = {**base, 'object': 'chat.completion', 'choices': [choice], 'usage': usage}
        return Reply.json(document, delay=self.delay + self.gap * len(words))

    def _completion(self, payload: dict[str, Any], request: Request) -> Reply:
        words = self._words(payload, self.text)
        usage = build_usage(payload['prompt'], len(words))
        base = {'id': f'cmpl-fake-{request.number}', 'object': 'text_completion', 'created': CREATED,
                'model': payload['model']}
        finish = 'length' if self._is_cut(payload, words) else 'stop'
        if not payload.get('stream'):
            document = {**base, 'choices': [text_choice(''.join(words), finish)], 'usage': usage}
            return Reply.json(document, delay=self.delay + self.gap * len(words))
        choices = [*(text_choice(word) for word in words), text_choice('', finish)]
        chunks = [{**base, 'choices': [choice]} for choice in choices]
        if asks_usage(payload):
            chunks.append({**base, 'choices': [], 'usage': usage})
        return Reply.events(*chunks, delay=self.delay, gap=self.gap)

    def _embeddings(self, payload: dict[str, Any], _: Request) -> Reply:
        given = payload['input']
        inputs = [given] if isinstance(given, str) or given and isinstance(given[0], int) else given
        if not inputs or '' in inputs:
            return Reply.error(400, "'$.input' is invalid. Please check the API reference: "
                                    'https://platform.openai.com/docs/api-reference.', param='input')
        vectors = [embed(item, payload.get('dimensions') or self.dimensions) for item in inputs]
        if payload.get('encoding_format') == 'base64':
            vectors = [encode_base64(vector) for vector in vectors]
        count = sum(count_tokens(item) for item in inputs)
        return Reply.json({
            'object': 'list', 'model': payload['model'], 'usage': {'prompt_tokens': count, 'total_tokens': count},
            'data': [{'object': 'embedding', 'index': index, 'embedding': item} for index, item in enumerate(vectors)],
        }, delay=self.delay)

    def _rerank(self, payload: dict[str, Any], request: Request) -> Reply:
        """Cohere's form on /v2/rerank, Jina's on the others, and text-embeddings-inference's for `texts`."""
        if 'texts' in payload:
            ranked = rank(payload['query'], payload['texts'])
            return Reply.json([{'index': index, 'score': score} for index, score in ranked], delay=self.delay)
        documents = [item if isinstance(item, str) else item['text'] for item in payload['documents']]
        ranked = rank(payload['query'], documents)[:payload.get('top_n') or None]
        results = [{'index': index, 'relevance_score': score} for index, score in ranked]
        if request.path.endswith('/v2/rerank'):
            return Reply.json({'id': f'rerank-fake-{request.number}', 'results': results,
                               'meta': {'api_version': {'version': '2'}, 'billed_units': {'search_units': 1}}},
                              delay=self.delay)
        if payload.get('return_documents'):
            results = [{**result, 'document': {'text': documents[result['index']]}} for result in results]
        count = sum(count_tokens(item) for item in [payload['query'], *documents])
        usage = {'prompt_tokens': count, 'total_tokens': count}
        return Reply.json({'model': payload.get('model'), 'usage': usage, 'results': results}, delay=self.delay)

    def _words(self, payload: dict[str, Any], text: str) -> list[str]:
        words = re.findall(r'\s*\S+', text)
        if self.tokens and text is self.text:
            spaced = cycle([f' {word.strip()}' for word in words])
            words = [word if index else word.strip() for index, word in enumerate(islice(spaced, self.tokens))]
        return words[:max_tokens(payload)]

    def _is_cut(self, payload: dict[str, Any], words: list[str]) -> bool:
        return max_tokens(payload) == len(words)


def max_tokens(payload: dict[str, Any]) -> int | None:
    return payload.get('max_completion_tokens') or payload.get('max_tokens')


def asks_usage(payload: dict[str, Any]) -> bool:
    return bool((payload.get('stream_options') or {}).get('include_usage'))


def text_of(message: dict[str, Any]) -> str:
    content = message.get('content') or ''
    return content if isinstance(content, str) else ' '.join(part.get('text', '') for part in content)


def tool_answer(payload: dict[str, Any]) -> str | None:
    """Once tools have answered, the model says what they said."""
    results = []
    for message in reversed(payload['messages']):
        if message['role'] != 'tool':
            break
        results.insert(0, text_of(message))
    return 'The tools say: ' + ' | '.join(results) if results else None


def choose_calls(payload: dict[str, Any]) -> list[dict[str, Any]]:
    """The tool calls of the answer. A model of few wits: each line `call NAME {JSON}` of the last user message calls
    that tool, if it is offered; where a call is required, the named or first tool is called with that message."""
    offered = [tool['function'] for tool in payload.get('tools') or [] if tool['type'] == 'function']
    choice = payload.get('tool_choice') or 'auto'
    last = payload['messages'][-1]
    if not offered or choice == 'none' or last['role'] == 'tool' and choice == 'auto':
        return []
    text = text_of(last)
    names = {function['name'] for function in offered}
    asked = [found for found in re.findall(r'^call (\S+) (\{.*\})\s*$', text, re.MULTILINE) if found[0] in names]
    if not asked and choice != 'auto':
        named = choice['function']['name'] if isinstance(choice, dict) and 'function' in choice else None
        function = next((item for item in offered if item['name'] == named), offered[0])
        required = function.get('parameters', {}).get('required', [])
        asked = [(function['name'], json.dumps({name: text for name in required}))]
    return [{'id': f'call_{index}', 'type': 'function', 'function': {'name': name, 'arguments': arguments}}
            for index, (name, arguments) in enumerate(asked)]


def build_chunks(base: dict[str, Any], words: list[str], calls: list[dict[str, Any]], finish: str,
                 usage: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The chunks of a streamed chat completion, the usage chunk last when `usage` is given."""
    base = {**base, 'object': 'chat.completion.chunk', **({'usage': None} if usage else {})}
    yield {**base, 'choices': [delta_choice({'role': 'assistant', 'content': None if calls else '', 'refusal': None})]}
    for word in words:
        yield {**base, 'choices': [delta_choice({'content': word})]}
    for index, call in enumerate(calls):
        start = {**call, 'index': index, 'function': {'name': call['function']['name'], 'arguments': ''}}
        arguments = call['function']['arguments']
        middle = len(arguments) // 2
        yield {**base, 'choices': [delta_choice({'tool_calls': [start]})]}
        for part in (arguments[:middle], arguments[middle:]):
            fragment = {'index': index, 'function': {'arguments': part}}
            yield {**base, 'choices': [delta_choice({'tool_calls': [fragment]})]}
    yield {**base, 'choices': [delta_choice({}, finish)]}
    if usage:
        yield {**base, 'choices': [], 'usage': usage}


def delta_choice(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {'index': 0, 'delta': delta, 'logprobs': None, 'finish_reason': finish}


def text_choice(text: str, finish: str | None = None) -> dict[str, Any]:
    return {'index': 0, 'text': text, 'logprobs': None, 'finish_reason': finish}


def build_usage(prompt: Any, completion_tokens: int) -> dict[str, Any]:
    count = count_tokens(json.dumps(prompt))
    return {'prompt_tokens': count, 'completion_tokens': completion_tokens, 'total_tokens': count + completion_tokens,
            'prompt_tokens_details': {'cached_tokens': 0}, 'completion_tokens_details': {'reasoning_tokens': 0}}


def build_model(name: str) -> dict[str, Any]:
    return {'id': name, 'object': 'model', 'created': CREATED, 'owned_by': 'fake'}


def model_not_found(name: str) -> Reply:
    return Reply.error(404, f'The model `{name}` does not exist or you do not have access to it.', 'model_not_found')


def unknown_url(request: Request) -> Reply:
    return Reply.error(404, f'Invalid URL ({request.method} {request.path})', 'unknown_url')
