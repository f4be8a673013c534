import pytest

from llmhost.errors import InvalidRequestError
from llmhost.schemas import decode_body, validate

FUNCTION = {'type': 'function', 'function': {'name': 'get_weather', 'parameters': {'type': 'object'}, 'strict': None}}


def function(name):
    return [FUNCTION, {'type': 'function', 'function': {'name': name}}]


@pytest.mark.parametrize('task', ['chat', 'completions', 'embeddings'])
def test_validate_leaves_a_payload_and_its_unknown_fields_as_they_are(task, accept):
    accept(task, top_k=-5, guided_json={'type': 'object'}, user=None)


@pytest.mark.parametrize('task', ['chat', 'completions', 'embeddings'])
@pytest.mark.parametrize('payload', [{}, {'model': None}, {'model': ''}])
def test_validate_when_no_model_is_named_says_so_in_openais_words(task, payload):
    with pytest.raises(InvalidRequestError) as caught:
        validate(task, payload)
    error = caught.value
    assert (error.message, error.param, error.code) == ('you must provide a model parameter', None, None)


@pytest.mark.parametrize('task, name', [('chat', 'messages'), ('completions', 'prompt'), ('embeddings', 'input')])
def test_validate_when_the_input_is_missing_names_it(task, name):
    with pytest.raises(InvalidRequestError) as caught:
        validate(task, {'model': 'm', 'user': 5})
    error = caught.value
    assert error.message == f"Missing required parameter: '{name}'."
    assert (error.param, error.code) == (name, 'missing_required_parameter')


@pytest.mark.parametrize(
    'fields',
    [
        {'temperature': 0, 'top_p': 1, 'presence_penalty': -2, 'frequency_penalty': 2.0, 'n': 128, 'seed': -1},
        {'max_tokens': -1, 'max_completion_tokens': None, 'stop': 'END', 'logit_bias': {'50256': -100}},
        {'stop': ['a', 'b', 'c', 'd'], 'stream': True, 'stream_options': {'include_usage': True, 'x': 1}},
        {'temperature': None, 'stop': None, 'n': None, 'tools': None, 'tool_choice': None, 'response_format': None},
        {'tools': [FUNCTION, {'type': 'custom', 'custom': {'name': 'sql'}}], 'tool_choice': 'required'},
        {'tools': [{'type': 'mcp', 'server_label': 'x'}, {'type': 'web_search'}]},
        {'tools': [], 'tool_choice': {'type': 'function', 'function': {'name': 'f'}}},
        {'tool_choice': {'type': 'allowed_tools', 'allowed_tools': {'mode': 'auto', 'tools': [{'type': 'mcp'}]}}},
        {'response_format': {'type': 'json_schema', 'json_schema': {'name': 's', 'schema': {}, 'strict': True}}},
        {'response_format': {'type': 'structural_tag', 'structures': []}},
        {'reasoning_effort': 'turbo', 'service_tier': 'night', 'verbosity': 'chatty'},
        {'metadata': {'k' * 64: 'v' * 512}, 'safety_identifier': 's' * 128, 'models': ['a', 'b']},
        {'modalities': ['text', 'image'], 'audio': {'voice': {'id': 'v'}, 'format': 'opus'}},
        {'prediction': {'type': 'content', 'content': [{'type': 'text', 'text': 'a'}]}},
        {'functions': [{'name': 'f'}], 'function_call': {'name': 'f'}},
    ],
)
def test_validate_chat_accepts(accept, fields):
    accept('chat', **fields)


@pytest.mark.parametrize(
    'fields, param, code, fault_text, wanted, got',
    [
        ({'top_p': -1}, 'top_p', 'decimal_below_min_value', 'decimal below minimum value', 'value >= 0', '-1'),
        ({'top_p': 1.5}, 'top_p', 'decimal_above_max_value', 'decimal above maximum value', 'value <= 1', '1.5'),
        ({'n': 0}, 'n', 'integer_below_min_value', 'integer below minimum value', 'value >= 1', '0'),
        ({'n': 129}, 'n', 'integer_above_max_value', 'integer above maximum value', 'value <= 128', '129'),
    ],
)
def test_validate_chat_when_out_of_range_says_the_bound(fault, fields, param, code, fault_text, wanted, got):
    message = f"Invalid '{param}': {fault_text}. Expected a {wanted}, but got {got} instead."
    assert fault('chat', **fields) == (message, param, code)


@pytest.mark.parametrize(
    'fields, param, code, fault_text, wanted, got',
    [
        ({'stop': []}, 'stop', 'empty_array', 'empty array', 'an array with minimum length 1', 'an empty array'),
        (
            {'stop': list('abcde')},
            'stop',
            'array_above_max_length',
            'array too long',
            'an array with maximum length 4',
            'an array with length 5',
        ),
        (
            {'metadata': {'k': 'v' * 513}},
            'metadata.k',
            'string_above_max_length',
            'string too long',
            'a string with maximum length 512',
            'a string with length 513',
        ),
        (
            {'metadata': {str(n): '' for n in range(17)}},
            'metadata',
            'object_above_max_properties',
            'too many properties',
            'an object with at most 16 properties',
            'an object with 17 properties',
        ),
        (
            {'tools': function('f' * 65)},
            'tools[1].function.name',
            'string_above_max_length',
            'string too long',
            'a string with maximum length 64',
            'a string with length 65',
        ),
        (
            {'tools': function('')},
            'tools[1].function.name',
            'empty_string',
            'empty string',
            'a string with minimum length 1',
            'an empty string',
        ),
    ],
)
def test_validate_chat_when_of_the_wrong_length_says_the_bound(fault, fields, param, code, fault_text, wanted, got):
    message = f"Invalid '{param}': {fault_text}. Expected {wanted}, but got {got} instead."
    assert fault('chat', **fields) == (message, param, code)


@pytest.mark.parametrize('name', ['get weather', 'a.b', 'caf\u00e9', 'f\n'])
def test_validate_chat_when_a_tools_name_has_other_characters_says_the_pattern(fault, name):
    param = 'tools[1].function.name'
    wanted = "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
    message = f"Invalid '{param}': string does not match pattern. {wanted}"
    assert fault('chat', tools=function(name)) == (message, param, 'invalid_value')


def test_validate_chat_when_a_metadata_key_is_too_long_is_refused(fault):
    assert fault('chat', metadata={'k' * 65: ''})[1:] == ('metadata', 'string_above_max_length')


@pytest.mark.parametrize(
    'fields, param, expected, got',
    [
        ({'model': 5}, 'model', 'a string', 'an integer'),
        ({'temperature': '0.7'}, 'temperature', 'a decimal', 'a string'),
        ({'temperature': True}, 'temperature', 'a decimal', 'a boolean'),
        ({'n': True}, 'n', 'an integer', 'a boolean'),
        ({'n': 1.0}, 'n', 'an integer', 'a decimal number'),
        ({'max_tokens': '100'}, 'max_tokens', 'an integer', 'a string'),
        ({'stream': 'true'}, 'stream', 'a boolean', 'a string'),
        ({'stream_options': True}, 'stream_options', 'an object', 'a boolean'),
        ({'stream_options': {'include_usage': 1}}, 'stream_options.include_usage', 'a boolean', 'an integer'),
        ({'stop': ['a', None]}, 'stop[1]', 'a string', 'null'),
        ({'stop': 5}, 'stop', 'one of a string or array of strings', 'an integer'),
        ({'logit_bias': {'5': 'x'}}, 'logit_bias.5', 'a decimal', 'a string'),
        ({'tools': {}}, 'tools', 'an array of objects', 'an object'),
        ({'tools': [FUNCTION, 'f']}, 'tools[1]', 'an object', 'a string'),
        ({'tools': [{'type': 5}]}, 'tools[0].type', 'a string', 'an integer'),
        ({'tool_choice': 5}, 'tool_choice', 'one of a string or object', 'an integer'),
        ({'response_format': 'json'}, 'response_format', 'an object', 'a string'),
        ({'reasoning_effort': 5}, 'reasoning_effort', 'a string', 'an integer'),
        ({'metadata': {'k': 1}}, 'metadata.k', 'a string', 'an integer'),
        ({'models': 'a'}, 'models', 'an array of strings', 'a string'),
    ],
)
def test_validate_chat_when_of_the_wrong_type_says_both(fault, fields, param, expected, got):
    message = f"Invalid type for '{param}': expected {expected}, but got {got} instead."
    assert fault('chat', **fields) == (message, param, 'invalid_type')


def test_validate_when_an_integer_is_beyond_64_bits_refuses_it(fault):
    payload = decode_body(b'{"seed": 18446744073709551616}')
    assert fault('chat', **payload)[1:] == ('seed', 'invalid_type')


@pytest.mark.parametrize(
    'fields, param',
    [
        ({'tools': [{'type': 'function', 'name': 'flat'}]}, 'tools[0].function'),
        ({'tools': [{'type': 'function', 'function': {}}]}, 'tools[0].function.name'),
        ({'tools': [{'function': {'name': 'f'}}]}, 'tools[0].type'),
        ({'tool_choice': {'type': 'function'}}, 'tool_choice.function'),
        ({'response_format': {}}, 'response_format.type'),
        ({'response_format': {'type': 'json_schema'}}, 'response_format.json_schema'),
    ],
)
def test_validate_chat_when_a_part_is_missing_names_it(fault, fields, param):
    message = f"Missing required parameter: '{param}'."
    assert fault('chat', **fields) == (message, param, 'missing_required_parameter')


def test_validate_when_a_word_is_not_supported_lists_those_that_are(fault):
    message = "Invalid value: 'any'. Supported values are: 'none', 'auto', and 'required'."
    assert fault('chat', tool_choice='any') == (message, 'tool_choice', 'invalid_value')
    message = "Invalid value: 'int8'. Supported values are: 'float' and 'base64'."
    assert fault('embeddings', encoding_format='int8') == (message, 'encoding_format', 'invalid_value')


def test_validate_when_much_is_wrong_tells_the_first_in_field_order(fault):
    assert fault('chat', tools=5, temperature=5, messages=[{}])[1] == 'messages[0].role'
    assert fault('chat', tools=5, temperature=5)[1] == 'temperature'


def test_validate_when_a_value_is_long_echoes_little_of_it(fault):
    message, param, _ = fault('chat', tool_choice='x' * 9999, metadata={})
    assert len(message) < 200 and param == 'tool_choice'
    assert len(fault('chat', metadata={'k' * 9999: 5})[1]) < 100


@pytest.mark.parametrize('prompt', ['', 'a', ['a', ''], [1, 2], [[1], [2, 3]]])
def test_validate_completions_accepts_prompts_of_texts_and_tokens(accept, prompt):
    accept('completions', prompt=prompt, best_of=20, logprobs=5, echo=True, suffix='x', max_tokens=0)


@pytest.mark.parametrize('input', ['a', ['a'] * 2048, [1] * 8192, [[1, 2], [3]]])
def test_validate_embeddings_accepts_inputs_of_texts_and_tokens(accept, input):
    accept('embeddings', input=input, encoding_format='base64', dimensions=1)


@pytest.mark.parametrize(
    'input, param, code',
    [
        ('', 'input', 'empty_string'),
        ([], 'input', 'empty_array'),
        (['a', ''], 'input[1]', 'empty_string'),
        ([[1], []], 'input[1]', 'empty_array'),
        (['a'] * 2049, 'input', 'array_above_max_length'),
        (['a', 5], 'input[1]', 'invalid_type'),
        ([1, True], 'input[1]', 'invalid_type'),
        ([[1], [1, 'a']], 'input[1][1]', 'invalid_type'),
        ([{'text': 'a'}], 'input[0]', 'invalid_type'),
        (None, 'input', 'invalid_type'),
        ({}, 'input', 'invalid_type'),
    ],
)
def test_validate_embeddings_when_the_input_is_at_fault_says_where(fault, input, param, code):
    assert fault('embeddings', input=input)[1:] == (param, code)


def test_validate_embeddings_when_dimensions_are_below_one_is_refused(fault):
    assert fault('embeddings', dimensions=0)[1:] == ('dimensions', 'integer_below_min_value')
