"""Errors of servers that mean no good, or have no sense: read all the same, bounded, and without secrets."""

import json
from typing import Any

import pytest

from llmhost.errors import UpstreamStatusError
from llmhost.providers.faults import read_fault, retry_after_of
from llmhost.redaction import MASK, hide

SECRET = 'sk-very-secret-0123456789'


def fault(**fields: Any) -> UpstreamStatusError:
    return read_fault(400, {}, json.dumps({'error': {'message': 'No.', **fields}}).encode())


@pytest.mark.parametrize('value', [[], ['x'], {}, {'a': 1}, 1.5, True, '', 'two words', 'x' * 65, 'a\nb', 'ä', 'word\n'])
def test_type_and_code_that_are_no_words_are_left_out(value):
    error = fault(type=value, code=value)
    assert (error.type, error.code) == ('invalid_request_error', None)


def test_type_and_code_that_are_words_are_kept():
    error = fault(type='rate_limit.tokens', code='a-b:c' + 'x' * 59)
    assert (error.type, error.code) == ('rate_limit.tokens', 'a-b:c' + 'x' * 59)


def test_param_is_bounded_and_printable():
    hide(error := fault(param='a\n\x1b' + 'b' * 300), ())
    assert error.param == 'a' + 'b' * 199
    assert fault(param=[1]).param is None and fault(param='\n').param is None


@pytest.mark.parametrize('shift', range(1900, 2001, 7))
def test_secret_across_the_cut_is_hidden(shift):
    hide(error := fault(message='x' * shift + SECRET + 'y' * 100, param='x' * (shift - 1810) + SECRET), (SECRET,))
    assert error.message == str(error) == ('x' * shift + MASK + 'y' * 100)[:2000]
    assert 'sk' not in str(error.param)


def test_secret_repeated_many_times_is_hidden_everywhere():
    hide(error := fault(message=SECRET * 1000, type=SECRET, code=SECRET, param=SECRET), (SECRET,))
    assert 'sk-' not in error.message
    assert (error.type, error.code, error.param) == (MASK, MASK, MASK)


def test_message_nested_too_deeply_is_left_out():
    body = b'{"error": {"message": ' + b'[' * 500 + b']' * 500 + b'}}'
    assert 'no message' in read_fault(400, {}, body).message


@pytest.mark.parametrize(('headers', 'seconds'), [
    ({'retry-after': '9' * 400}, 86400.0),
    ({'retry-after': '100000'}, 86400.0),
    ({'retry-after': '7'}, 7.0),
    ({'retry-after': 'Fri, 31 Dec 9999 23:59:59 GMT'}, 86400.0),
    ({'retry-after': 'Fri, 31 Dec 0001 23:59:59 -2359'}, 0.0),
    ({'retry-after': 'Fri, 31 Dec 99999999999999999999 23:59:59 GMT'}, None),
    ({'retry-after': 'Mon, 01 Jan 2024 00:00:00 +99999999999999999999'}, None),
    ({'retry-after': 'soon'}, None),
    ({'retry-after': '²'}, None),
    ({'retry-after-ms': 'inf'}, 86400.0),
    ({'retry-after-ms': 'nan'}, 0.0),
    ({'retry-after-ms': '-5'}, 0.0),
    ({}, None),
])
def test_pause_is_a_day_at_most_and_nonsense_is_none(headers, seconds):
    assert retry_after_of(headers) == seconds
