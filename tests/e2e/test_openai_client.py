"""The official openai client, against a real llama.cpp server, straight to gunicorn and through nginx."""
import base64
import json
import math
import struct
import zlib
from collections.abc import Iterator

import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from .conftest import StartGateway
from .gateway import Gateway
from .llama import TEXT_WIDTH, Llama
from .recorded_client import RecordedClient

pytestmark = pytest.mark.e2e

KEY = 'sk-llmhost-test-0123456789'
MODEL = 'smollm2'
HELLO = [{'role': 'user', 'content': 'Say hello.'}]
QUESTION = [{'role': 'user', 'content': 'What is the weather in Paris in celsius?'}]
WEATHER = {
    'type': 'function',
    'function': {
        'name': 'get_weather',
        'description': 'Get the current weather of a city',
        'parameters': {
            'type': 'object',
            'properties': {'city': {'type': 'string'}, 'unit': {'type': 'string', 'enum': ['celsius', 'fahrenheit']}},
            'required': ['city', 'unit'],
        },
    },
}
PERSON = {
    'type': 'object',
    'properties': {'name': {'type': 'string'}, 'age': {'type': 'integer'}},
    'required': ['name', 'age'],
    'additionalProperties': False,
}


@pytest.fixture(scope='module')
def gateway(start_gateway: StartGateway, llama: Llama) -> Gateway:
    gateway = start_gateway(LLMHOST_API_KEY=KEY)
    gateway.flask('servers', 'add', 'box', llama.url, '--provider', 'llamacpp')
    return gateway


@pytest.fixture
def client(url: str) -> Iterator[RecordedClient]:
    """Every answer it got is checked against OpenAI's schemas at the end."""
    with RecordedClient(url, KEY) as client:
        yield client
        client.check_exchanges()


def test_completion_has_text_finish_reason_and_usage(client: RecordedClient) -> None:
    completion = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=8, temperature=0)
    assert completion.choices[0].message.content
    assert completion.choices[0].finish_reason in ('stop', 'length')
    assert 0 < completion.usage.completion_tokens <= 8
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens


def test_completion_when_model_is_named_with_its_server_is_the_same(client: RecordedClient) -> None:
    answers = [client.chat.completions.create(model=model, messages=HELLO, max_tokens=8, temperature=0, seed=1)
               for model in (MODEL, f'box/{MODEL}')]
    assert answers[0].choices[0].message.content == answers[1].choices[0].message.content


def test_stream_says_the_same_as_the_completion(client: RecordedClient) -> None:
    asked = {'model': MODEL, 'messages': HELLO, 'max_tokens': 12, 'temperature': 0, 'seed': 1}
    whole = client.chat.completions.create(**asked).choices[0]
    chunks = list(client.chat.completions.create(**asked, stream=True))
    assert text_of(chunks) == whole.message.content
    assert finish_reasons_of(chunks) == [whole.finish_reason]


def test_stream_without_include_usage_has_no_usage(client: RecordedClient) -> None:
    chunks = list(client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=4, stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


def test_stream_with_include_usage_ends_in_one_usage_chunk(client: RecordedClient) -> None:
    chunks = list(client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=4, stream=True,
                                                 stream_options={'include_usage': True}))
    assert [bool(chunk.usage) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens <= 4


def test_tool_is_called_and_its_result_answered(client: RecordedClient) -> None:
    asked = {'model': MODEL, 'tools': [WEATHER], 'max_tokens': 64, 'temperature': 0}
    first = client.chat.completions.create(messages=QUESTION, **asked).choices[0]
    assert first.finish_reason == 'tool_calls'
    call = first.message.tool_calls[0]
    assert call.function.name == 'get_weather'
    assert json.loads(call.function.arguments)['city'] == 'Paris'
    result = {'role': 'tool', 'tool_call_id': call.id, 'content': '{"temperature": 18, "sky": "clear"}'}
    last = client.chat.completions.create(messages=[*QUESTION, first.message, result], **asked).choices[0]
    assert last.message.content


def test_streamed_tool_call_adds_up(client: RecordedClient) -> None:
    stream = client.chat.completions.create(model=MODEL, messages=QUESTION, tools=[WEATHER], max_tokens=64,
                                            temperature=0, stream=True)
    chunks = list(stream)
    deltas = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or []]
    assert {delta.index for delta in deltas} == {0}
    assert [delta.function.name for delta in deltas if delta.function.name] == ['get_weather']
    assert len([delta for delta in deltas if delta.id]) == 1
    assert json.loads(''.join(delta.function.arguments or '' for delta in deltas))['city'] == 'Paris'
    assert finish_reasons_of(chunks) == ['tool_calls']


def test_image_as_data_url_is_seen_by_the_server(client: RecordedClient) -> None:
    text = {'type': 'text', 'text': 'What is this?'}
    image = {'type': 'image_url', 'image_url': {'url': data_url(build_png())}}
    tokens = [client.chat.completions.create(model=MODEL, messages=[{'role': 'user', 'content': content}],
                                             max_tokens=4).usage.prompt_tokens
              for content in ([text], [text, image])]
    assert tokens[1] >= tokens[0] + 4


def test_image_that_is_none_is_refused_by_the_server(client: RecordedClient) -> None:
    image = {'type': 'image_url', 'image_url': {'url': data_url(b'not an image')}}
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model=MODEL, messages=[{'role': 'user', 'content': [image]}], max_tokens=4)
    assert caught.value.status_code in (400, 422, 500, 502)


def test_answer_follows_the_json_schema(client: RecordedClient) -> None:
    schema = {'name': 'person', 'strict': True, 'schema': PERSON}
    completion = client.chat.completions.create(model=MODEL, messages=[{'role': 'user', 'content': 'Invent a person.'}],
                                                response_format={'type': 'json_schema', 'json_schema': schema},
                                                max_tokens=100, temperature=0)
    person = json.loads(completion.choices[0].message.content)
    assert isinstance(person['name'], str) and isinstance(person['age'], int)


def test_embeddings_as_base64_and_as_floats_are_the_same(client: RecordedClient) -> None:
    asked = {'model': MODEL, 'input': ['a cat', 'a dog']}
    encoded = client.embeddings.create(**asked)  # the client asks for base64, and decodes it
    floats = client.embeddings.create(**asked, encoding_format='float')
    assert [item.index for item in encoded.data] == [0, 1]
    for ours, theirs in zip(encoded.data, floats.data, strict=True):
        assert len(ours.embedding) == TEXT_WIDTH
        assert all(math.isclose(a, b, abs_tol=1e-3) for a, b in zip(ours.embedding, theirs.embedding, strict=True))
    bodies = [json.loads(exchange.body) for exchange in client.transport.exchanges]
    assert [type(body['data'][0]['embedding']) for body in bodies] == [str, list]


def test_models_are_listed(client: RecordedClient) -> None:
    assert MODEL in [model.id for model in client.models.list()]


@pytest.mark.parametrize('name', [MODEL, f'box/{MODEL}', f'box%2F{MODEL}'])
def test_model_is_retrieved_by_its_name(url: str, name: str) -> None:
    with RecordedClient(url, KEY) as client:
        model = client.get(f'/models/{name}', cast_to=openai.types.Model)
        client.check_exchanges()
    assert model.id in (MODEL, f'box/{MODEL}')


def test_model_is_retrieved_by_the_client(client: RecordedClient) -> None:
    assert client.models.retrieve(f'box/{MODEL}').object == 'model'


def test_legacy_completion_goes_on_with_the_prompt(client: RecordedClient) -> None:
    completion = client.completions.create(model=MODEL, prompt='The capital of France is', max_tokens=4, temperature=0)
    assert 'Paris' in completion.choices[0].text


def test_legacy_completion_streams(client: RecordedClient) -> None:
    chunks = list(client.completions.create(model=MODEL, prompt='The capital of France is', max_tokens=4,
                                            temperature=0, stream=True))
    assert 'Paris' in ''.join(choice.text for chunk in chunks for choice in chunk.choices)


@pytest.mark.parametrize('stream', [False, True])
def test_unknown_model_is_not_found(client: RecordedClient, stream: bool) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model='gpt-unknown', messages=HELLO, stream=stream)
    assert caught.value.code == 'model_not_found'


def test_unknown_model_is_not_retrieved(client: RecordedClient) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve('gpt-unknown')
    assert caught.value.code == 'model_not_found'


def test_wrong_key_is_refused(url: str) -> None:
    with RecordedClient(url, 'sk-wrong') as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            client.chat.completions.create(model=MODEL, messages=HELLO)
        client.check_exchanges()
    assert caught.value.code == 'invalid_api_key'
    assert KEY not in str(caught.value)


def test_missing_messages_are_named(client: RecordedClient) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.post('/chat/completions', body={'model': MODEL}, cast_to=object)
    assert (caught.value.code, caught.value.param) == ('missing_required_parameter', 'messages')


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    return ''.join(choice.delta.content or '' for chunk in chunks for choice in chunk.choices)


def finish_reasons_of(chunks: list[ChatCompletionChunk]) -> list[str]:
    return [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]


def data_url(data: bytes) -> str:
    return 'data:image/png;base64,' + base64.b64encode(data).decode()


def build_png(size: int = 64) -> bytes:
    """A grey square."""
    rows = (b'\0' + b'\x80' * size) * size
    header = struct.pack('>IIBBBBB', size, size, 8, 0, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        for kind, data in ((b'IHDR', header), (b'IDAT', zlib.compress(rows)), (b'IEND', b''))
    )
