"""Check documents and streams against OpenAI's published description of its API.

openapi/openai.json is OpenAI's file (MIT, beside it) cut down to the schemas in `NAMES` and what they refer to, without
descriptions and examples: github.com/openai/openai-openapi, version 2.3.0. It is OpenAPI 3.1 with leftovers of 3.0
(`nullable`) and a few fields stricter than OpenAI's own traffic; both are mended when it is loaded. With the mends all
recorded OpenAI chat traffic validates. Unknown keys are not faults.
"""
import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

NAMES = (
    'CreateChatCompletionRequest', 'CreateChatCompletionResponse', 'CreateChatCompletionStreamResponse',
    'CreateCompletionRequest', 'CreateCompletionResponse', 'CreateEmbeddingRequest', 'CreateEmbeddingResponse',
    'ErrorResponse', 'ListModelsResponse', 'Model',
)


def check(name: str, document: Any) -> None:
    """AssertionError with the path of each fault, unless `document` fits the schema `name`."""
    faults = [f'{fault.json_path}: {fault.message[:200]}' for fault in load_validator(name).iter_errors(document)]
    assert not faults, f'not a {name}:\n' + '\n'.join(faults)


def check_stream(name: str, text: str | bytes) -> list[Any]:
    """Check each event of a stream: against `name`, an error event against ErrorResponse; and that `data: [DONE]` or an
    error ends it, with nothing but comments after. The documents, in order."""
    *events, rest = (text.decode() if isinstance(text, bytes) else text).replace('\r\n', '\n').split('\n\n')
    assert not rest, f'the stream ends inside an event: {rest[:200]!r}'
    payloads = [data for data in map(parse_event, events) if data]
    ended = payloads[-1:] == ['[DONE]']
    documents = [json.loads(data) for data in (payloads[:-1] if ended else payloads)]
    for document in documents:
        check('ErrorResponse' if is_error(document) else name, document)
    assert ended or documents and is_error(documents[-1]), f'the stream ends without [DONE] or error: {payloads[-1:]}'
    return documents


def parse_event(event: str) -> str:
    """The data of one event; empty for a comment."""
    lines = [line.removeprefix('data:').removeprefix(' ') for line in event.split('\n') if line.startswith('data:')]
    return '\n'.join(lines)


def is_error(document: Any) -> bool:
    return isinstance(document, dict) and 'error' in document


@cache
def load_validator(name: str) -> Draft202012Validator:
    assert name in NAMES, f'no schema {name}'
    return Draft202012Validator({
        '$schema': 'https://json-schema.org/draft/2020-12/schema',
        'components': load_components(),
        '$ref': f'#/components/schemas/{name}',
    })


@cache
def load_components() -> dict[str, Any]:
    """The components of the description, mended to accept what OpenAI really sends."""
    published = json.loads((Path(__file__).parent / 'openapi' / 'openai.json').read_text())
    components = mend_nullable(published['components'])
    schemas = components['schemas']
    for name in ('CreateChatCompletionResponse', 'CreateChatCompletionStreamResponse'):
        allow_null(schemas[name]['properties'], 'system_fingerprint', 'usage', 'service_tier')
    make_optional(schemas['CreateChatCompletionResponse']['properties']['choices']['items'], 'logprobs')
    make_optional(schemas['ChatCompletionResponseMessage'], 'refusal')
    embedding = schemas['Embedding']['properties']
    embedding['embedding'] = {'anyOf': [embedding['embedding'], {'type': 'string', 'contentEncoding': 'base64'}]}
    allow_null(schemas['CreateCompletionResponse']['properties']['choices']['items']['properties'], 'finish_reason')
    return components


def mend_nullable(node: Any) -> Any:
    if isinstance(node, list):
        return [mend_nullable(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: mend_nullable(value) for key, value in node.items()}
    if not node.pop('nullable', None):
        return node
    if 'enum' in node:
        node['enum'] = node['enum'] + [None]
    if isinstance(node.get('type'), str):
        node['type'] = [node['type'], 'null']
    elif node.keys() & {'$ref', 'oneOf', 'anyOf', 'allOf'}:
        node = {'anyOf': [node, {'type': 'null'}]}
    return node


def allow_null(properties: dict[str, Any], *names: str) -> None:
    for name in names:
        if name in properties:
            properties[name] = {'anyOf': [properties[name], {'type': 'null'}]}


def make_optional(schema: dict[str, Any], name: str) -> None:
    schema['required'] = [item for item in schema['required'] if item != name]
