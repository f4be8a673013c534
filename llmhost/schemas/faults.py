"""What can be wrong with a payload, in OpenAI's words and codes.

The wordings are those of OpenAI's own answers, as clients show and parse them.
"""

from types import NoneType
from typing import Any

from marshmallow import ValidationError

TYPE_WORDS = {
    str: 'a string',
    int: 'an integer',
    float: 'a decimal number',
    bool: 'a boolean',
    list: 'an array',
    dict: 'an object',
    NoneType: 'null',
}
ECHO_LIMIT = 64


class Fault(ValidationError):
    """One thing that is wrong. `path` is where, such as `messages[3].content[0].image_url.url`, and `code` is OpenAI's.

    It is raised where the value is, without a path; each level it passes through puts its own step in front
    (`at_key`, `at_index`). So nothing is spent on paths while nothing is wrong.
    """

    def __init__(self, lead: str, rest: str, code: str | None) -> None:
        super().__init__(rest)
        self.lead, self.rest, self.code = lead, rest, code
        self.path = ''

    def at_key(self, key: str) -> None:
        joint = '' if self.path.startswith('[') or not self.path else '.'
        self.path = f'{key[:ECHO_LIMIT]}{joint}{self.path}'

    def at_index(self, index: int) -> None:
        self.at_key(f'[{index}]')

    @property
    def message(self) -> str:
        return f"{self.lead} '{self.path}'{self.rest}" if self.lead else self.rest


class MissingModelFault(Fault):
    """No model was named. OpenAI answers this one without a `param`."""

    def __init__(self) -> None:
        super().__init__('', 'you must provide a model parameter', None)

    def at_key(self, key: str) -> None:
        pass


def missing() -> Fault:
    return Fault('Missing required parameter:', '.', 'missing_required_parameter')


def wrong_type(expected: str, value: Any) -> Fault:
    """`expected` with its article, such as `a string`."""
    got = TYPE_WORDS.get(type(value), 'something else')
    return Fault('Invalid type for', f': expected {expected}, but got {got} instead.', 'invalid_type')


def below_minimum(kind: str, minimum: float, value: float) -> Fault:
    """`kind` is `integer` or `decimal`."""
    rest = f': {kind} below minimum value. Expected a value >= {minimum}, but got {value} instead.'
    return Fault('Invalid', rest, f'{kind}_below_min_value')


def above_maximum(kind: str, maximum: float, value: float) -> Fault:
    rest = f': {kind} above maximum value. Expected a value <= {maximum}, but got {value} instead.'
    return Fault('Invalid', rest, f'{kind}_above_max_value')


def unsupported_value(supported: tuple[str, ...], value: str) -> Fault:
    *most, last = [f"'{word}'" for word in supported]
    listed = f"{', '.join(most)}{',' if len(most) > 1 else ''} and {last}"
    return Fault('', f"Invalid value: '{value[:ECHO_LIMIT]}'. Supported values are: {listed}.", 'invalid_value')


def mismatch(pattern: str) -> Fault:
    rest = f": string does not match pattern. Expected a string that matches the pattern '{pattern}'."
    return Fault('Invalid', rest, 'invalid_value')


def empty_string() -> Fault:
    rest = ': empty string. Expected a string with minimum length 1, but got an empty string instead.'
    return Fault('Invalid', rest, 'empty_string')


def long_string(maximum: int, length: int) -> Fault:
    rest = f': string too long. Expected a string with maximum length {maximum}, but got a string with length {length} '
    return Fault('Invalid', rest + 'instead.', 'string_above_max_length')


def empty_array() -> Fault:
    rest = ': empty array. Expected an array with minimum length 1, but got an empty array instead.'
    return Fault('Invalid', rest, 'empty_array')


def long_array(maximum: int, length: int) -> Fault:
    rest = f': array too long. Expected an array with maximum length {maximum}, but got an array with length {length} '
    return Fault('Invalid', rest + 'instead.', 'array_above_max_length')


def large_object(maximum: int, size: int) -> Fault:
    rest = (
        f': too many properties. Expected an object with at most {maximum} properties, '
        f'but got an object with {size} properties instead.'
    )
    return Fault('Invalid', rest, 'object_above_max_properties')


def long_key(maximum: int, length: int) -> Fault:
    rest = f': property name too long. Expected one with maximum length {maximum}, but got one with length {length} '
    return Fault('Invalid', rest + 'instead.', 'string_above_max_length')


def bad_image_url() -> Fault:
    rest = (
        '. Expected a base64-encoded data URL with an image MIME type '
        "(e.g. 'data:image/png;base64,aW1nIGJ5dGVzIGhlcmU='), but got a data URL of another form."
    )
    return Fault('Invalid image URL:', rest, 'invalid_value')
