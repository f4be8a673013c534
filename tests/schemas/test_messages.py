import copy

import pytest

CALL = {'id': 'call_1', 'type': 'function', 'function': {'name': 'f', 'arguments': '{}'}}
PNG = 'data:image/png;base64,iVBORw0KGgo='


def image(url):
    return {'role': 'user', 'content': [{'type': 'image_url', 'image_url': {'url': url}}]}


def part(**fields):
    return {'role': 'user', 'content': [{'type': 'text', 'text': 'a'}, fields]}


def calling(**fields):
    return {'role': 'assistant', 'tool_calls': [CALL | fields]}


@pytest.mark.parametrize(
    'message',
    [
        {'role': 'developer', 'content': 'be brief'},
        {'role': 'system', 'content': [{'type': 'text', 'text': 'be brief'}], 'name': 'boss'},
        {'role': 'user', 'content': ''},
        {'role': 'user', 'content': []},
        {'role': 'user', 'content': 'hi', 'name': None, 'x_cache': {'ttl': 5}},
        image(PNG),
        image('data:image/svg+xml;charset=utf-8;base64,AAAA'),
        image('https://example.org/a.png'),
        part(type='image_url', image_url={'url': PNG, 'detail': 'ultra'}),
        part(type='input_audio', input_audio={'data': 'AAAA', 'format': 'wav'}),
        part(type='file', file={'file_id': 'file-1'}),
        part(type='video_url', video_url=5),
        {'role': 'assistant', 'content': None, 'tool_calls': [CALL], 'refusal': None, 'function_call': None},
        {'role': 'assistant', 'tool_calls': [{'id': 'c', 'type': 'custom', 'custom': {'name': 'f', 'input': 'x'}}]},
        {'role': 'assistant', 'tool_calls': [{'type': 'computer_call', 'action': {}}]},
        {'role': 'assistant'},
        {'role': 'assistant', 'content': [{'type': 'refusal', 'refusal': 'no'}], 'reasoning_content': 'hm'},
        {'role': 'tool', 'tool_call_id': 'call_1', 'content': 'done'},
        {'role': 'function', 'name': 'f', 'content': None},
    ],
    ids=lambda message: message['role'],
)
def test_message_of_a_form_openai_takes_passes_untouched(accept, message):
    before = copy.deepcopy(message)
    accept('chat', messages=[message])
    assert message == before


@pytest.mark.parametrize(
    'message, param, text, code',
    [
        (
            'hi',
            'messages[1]',
            "Invalid type for 'messages[1]': expected an object, but got a string instead.",
            'invalid_type',
        ),
        (
            {'content': 'hi'},
            'messages[1].role',
            "Missing required parameter: 'messages[1].role'.",
            'missing_required_parameter',
        ),
        (
            {'role': 'foo', 'content': 'hi'},
            'messages[1].role',
            "Invalid value: 'foo'. Supported values are: "
            "'system', 'assistant', 'user', 'function', 'tool', and 'developer'.",
            'invalid_value',
        ),
        (
            {'role': ['user'], 'content': 'hi'},
            'messages[1].role',
            "Invalid type for 'messages[1].role': expected a string, but got an array instead.",
            'invalid_type',
        ),
        (
            {'role': 'user'},
            'messages[1].content',
            "Missing required parameter: 'messages[1].content'.",
            'missing_required_parameter',
        ),
        (
            {'role': 'user', 'content': None},
            'messages[1].content',
            "Invalid type for 'messages[1].content': "
            'expected one of a string or array of objects, but got null instead.',
            'invalid_type',
        ),
        (
            {'role': 'tool', 'content': 'done'},
            'messages[1].tool_call_id',
            "Missing required parameter: 'messages[1].tool_call_id'.",
            'missing_required_parameter',
        ),
        (
            part(text='b'),
            'messages[1].content[1].type',
            "Missing required parameter: 'messages[1].content[1].type'.",
            'missing_required_parameter',
        ),
        (
            part(type='text', text=5),
            'messages[1].content[1].text',
            "Invalid type for 'messages[1].content[1].text': expected a string, but got an integer instead.",
            'invalid_type',
        ),
        (
            image(5),
            'messages[1].content[0].image_url.url',
            "Invalid type for 'messages[1].content[0].image_url.url': expected a string, but got an integer instead.",
            'invalid_type',
        ),
        (
            part(type='image_url', image_url=PNG),
            'messages[1].content[1].image_url',
            "Invalid type for 'messages[1].content[1].image_url': expected an object, but got a string instead.",
            'invalid_type',
        ),
        (
            calling(function={'name': 'f', 'arguments': {}}),
            'messages[1].tool_calls[0].function.arguments',
            "Invalid type for 'messages[1].tool_calls[0].function.arguments': "
            'expected a string, but got an object instead.',
            'invalid_type',
        ),
        (
            calling(id=None),
            'messages[1].tool_calls[0].id',
            "Invalid type for 'messages[1].tool_calls[0].id': expected a string, but got null instead.",
            'invalid_type',
        ),
    ],
)
def test_message_at_fault_is_told_with_its_path(fault, message, param, text, code):
    assert fault('chat', messages=[{'role': 'user', 'content': 'hi'}, message]) == (text, param, code)


@pytest.mark.parametrize('url', ['data:image/png,abc', 'DATA:;base64,AAAA', 'data:image/png;base64,', 'data:'])
def test_image_url_when_a_data_url_without_base64_is_refused(fault, url):
    message, param, code = fault('chat', messages=[image(url)])
    assert message.startswith(f"Invalid image URL: '{param}'. Expected a base64-encoded data URL")
    assert (param, code) == ('messages[0].content[0].image_url.url', 'invalid_value')


def test_image_url_when_empty_is_refused(fault):
    assert fault('chat', messages=[image('')])[1:] == ('messages[0].content[0].image_url.url', 'empty_string')


@pytest.mark.parametrize(
    'messages, text, code',
    [
        (
            [],
            "Invalid 'messages': empty array. "
            'Expected an array with minimum length 1, but got an empty array instead.',
            'empty_array',
        ),
        (None, "Invalid type for 'messages': expected an array of objects, but got null instead.", 'invalid_type'),
        ('hi', "Invalid type for 'messages': expected an array of objects, but got a string instead.", 'invalid_type'),
    ],
)
def test_messages_when_not_a_filled_array_are_refused(fault, messages, text, code):
    assert fault('chat', messages=messages) == (text, 'messages', code)
