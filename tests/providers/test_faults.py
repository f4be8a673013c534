"""Which errors mean that a prompt was too long, in the words of each server, and which do not."""

import json

import pytest

from llmhost.providers.faults import read_fault

TOO_LONG = [
    "This model's maximum context length is 4096 tokens. However, your request has 5000 input tokens.",
    "Requested token count exceeds the model's maximum context length of 65536 tokens.",
    "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
    'request (6031 tokens) exceeds the available context size (2048 tokens), try increasing it',
    'the request exceeds the available context size, try increasing it',
    'Context size has been exceeded.',
    'Trying to keep the first 6547 tokens when context the overflows.',
    'The number of tokens to keep from the initial prompt is greater than the context length.',
    'the input length exceeds the context length',
    'prompt too long; exceeded max context length by 12 tokens',
    'prompt is too long: 215000 tokens > 200000 maximum',
    'input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000',
    'Input is too long for requested model.',
    'Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length',
    'The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).',
    "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
    'Your request exceeded model token limit: 8192 (requested: 9000)',
    'Please reduce the length of the messages or completion.',
    'Your input exceeds the context window of this model.',
    'Range of input length should be [1, 98304]',
    'Input validation error: `inputs` must have less than 512 tokens. Given: 1200',
]
SOMETHING_ELSE = [
    'Request too large for model x on tokens per minute (TPM): Limit 6000, Requested 7000.',
    'Too many tokens per day, please wait.',
    'max_tokens is too large: 100000. This model supports at most 16384 completion tokens.',
    'Invalid context: expected an object.',
    'batch size 64 > maximum allowed batch size 32',
    'context_length must be a number',
    'The image is too large.',
]


def fault(message, status=400, **fields):
    return read_fault(status, {}, json.dumps({'error': {'message': message, **fields}}).encode())


@pytest.mark.parametrize('status', [400, 413, 422, 500, 200])
@pytest.mark.parametrize('message', TOO_LONG)
def test_prompt_that_is_too_long_has_one_error_whatever_the_words(message, status):
    error = fault(message, status, code=None)
    assert (error.status, error.type, error.param, error.code) == (
        400, 'invalid_request_error', 'messages', 'context_length_exceeded')
    assert error.message == message


@pytest.mark.parametrize('message', SOMETHING_ELSE)
def test_what_only_sounds_like_it_keeps_its_own_error(message):
    assert fault(message).code is None
    assert fault(message, 500).status == 500


@pytest.mark.parametrize('fields', [
    {'type': 'exceed_context_size_error'}, {'code': 'context_length_exceeded'}, {'code': 'model_context_window_exceeded'},
])
def test_type_or_code_alone_says_it(fields):
    assert fault('No.', **fields).code == 'context_length_exceeded'


@pytest.mark.parametrize('status', [401, 403, 404, 429, 503])
def test_status_with_a_meaning_of_its_own_keeps_it(status):
    assert fault(TOO_LONG[0], status).status == status


def test_code_of_a_rate_limit_is_kept():
    assert fault('Please reduce the length of the messages.', 413, code='rate_limit_exceeded').code == 'rate_limit_exceeded'
