import pytest

from llmhost.errors import BadRequestError, InvalidRequestError
from llmhost.schemas import decode_body


def test_decode_body_of_an_object_gives_it():
    assert decode_body('{"model": "m", "n": 1, "text": "é"}'.encode()) == {'model': 'm', 'n': 1, 'text': 'é'}


@pytest.mark.parametrize(
    'body, reason',
    [
        (b'', 'The body was empty'),
        (b'{"model": "secret",}', 'line 1 column'),
        (b'{"model":\n  secret}', 'line 2 column'),
        (b'{"model": "secret\xff"}', 'UTF-8'),
        (b'{"temperature": NaN}', 'line 1 column'),
        (b'[' * 5000 + b']' * 5000, 'depth limit exceeded'),
        (b'{"model": "sec', 'unexpected end'),
    ],
    ids=['empty', 'trailing-comma', 'bare-word', 'utf-8', 'nan', 'deep', 'cut'],
)
def test_decode_body_when_it_is_not_json_says_why_without_the_content(body, reason):
    with pytest.raises(BadRequestError) as caught:
        decode_body(body)
    error = caught.value
    assert error.message.startswith('We could not parse the JSON body of your request. (HINT: This likely means')
    assert reason in error.message and 'sec' not in error.message
    assert (error.type, error.code, error.param) == ('invalid_request_error', None, None)
    assert not isinstance(error, InvalidRequestError)


@pytest.mark.parametrize(
    'body, got', [(b'[]', 'an array'), (b'"text"', 'a string'), (b'null', 'null'), (b'1', 'an integer')]
)
def test_decode_body_when_it_is_not_an_object_says_what_it_is(body, got):
    with pytest.raises(BadRequestError, match=f'must be a JSON object, but it is {got}'):
        decode_body(body)
