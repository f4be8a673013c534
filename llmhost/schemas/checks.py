"""Checks of plain JSON values, and ways to compose them.

A check takes a value as orjson makes it and returns nothing, or raises Fault. The functions in the second half build
checks from checks. Unknown keys of objects are never looked at.
"""

from collections.abc import Callable, Mapping
from typing import Any

from llmhost.schemas import faults
from llmhost.schemas.faults import Fault

Check = Callable[[Any], None]


def string(value: Any) -> None:
    if type(value) is not str:
        raise faults.wrong_type('a string', value)


def filled_string(value: Any) -> None:
    string(value)
    if not value:
        raise faults.empty_string()


def boolean(value: Any) -> None:
    if type(value) is not bool:
        raise faults.wrong_type('a boolean', value)


def json_object(value: Any) -> None:
    if type(value) is not dict:
        raise faults.wrong_type('an object', value)


def integer(value: Any) -> None:
    # orjson makes a float of an integer beyond 64 bits: that is refused here too
    if type(value) is not int:
        raise faults.wrong_type('an integer', value)


def number(value: Any) -> None:
    if type(value) is not float and type(value) is not int:
        raise faults.wrong_type('a decimal', value)


def integer_from(minimum: int, maximum: int | None = None) -> Check:
    """An integer from `minimum` to `maximum`, both included."""

    def check(value: Any) -> None:
        integer(value)
        if value < minimum:
            raise faults.below_minimum('integer', minimum, value)
        if maximum is not None and value > maximum:
            raise faults.above_maximum('integer', maximum, value)

    return check


def number_from(minimum: float, maximum: float) -> Check:
    """A number from `minimum` to `maximum`, both included."""

    def check(value: Any) -> None:
        number(value)
        if value < minimum:
            raise faults.below_minimum('decimal', minimum, value)
        if value > maximum:
            raise faults.above_maximum('decimal', maximum, value)

    return check


def string_up_to(maximum: int) -> Check:
    """A string of at most `maximum` characters."""

    def check(value: Any) -> None:
        string(value)
        if len(value) > maximum:
            raise faults.long_string(maximum, len(value))

    return check


def one_of(*supported: str) -> Check:
    """One of these strings."""

    def check(value: Any) -> None:
        string(value)
        if value not in supported:
            raise faults.unsupported_value(supported, value)

    return check


def either(expected: str, checks: Mapping[type, Check]) -> Check:
    """A value of one of these types, each with its own check. `expected` names them for the message."""

    def check(value: Any) -> None:
        chosen = checks.get(type(value))
        if chosen is None:
            raise faults.wrong_type(expected, value)
        chosen(value)

    return check


def array(item: Check, expected: str, *, minimum: int = 0, maximum: int | None = None) -> Check:
    """An array of what `item` passes. `expected` names it for the message, such as `an array of strings`."""

    def check(value: Any) -> None:
        if type(value) is not list:
            raise faults.wrong_type(expected, value)
        if len(value) < minimum:
            raise faults.empty_array()
        if maximum is not None and len(value) > maximum:
            raise faults.long_array(maximum, len(value))
        _check_items(item, value)

    return check


def _check_items(item: Check, values: list[Any]) -> None:
    index = 0
    try:
        for index, value in enumerate(values):
            item(value)
    except Fault as fault:
        fault.at_index(index)
        raise


def shape(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """An object with these keys. An optional one may be null or absent."""
    members = [(key, check, True) for key, check in required.items()]
    members += [(key, check, False) for key, check in (optional or {}).items()]

    def check_members(value: Any) -> None:
        json_object(value)
        key = ''
        try:
            for key, check, is_required in members:
                if key in value:
                    member = value[key]
                    if member is not None or is_required:
                        check(member)
                elif is_required:
                    raise faults.missing()
        except Fault as fault:
            fault.at_key(key)
            raise

    return check_members


def by_tag(tag: str, shapes: Mapping[str, Check], *, closed: bool = False) -> Check:
    """An object whose string under `tag` says which shape it has. A tag not in `shapes` passes, unless `closed`."""
    untold = shape({tag: one_of(*shapes) if closed else string})

    def check(value: Any) -> None:
        told = value.get(tag) if type(value) is dict else None
        chosen = shapes.get(told, untold) if type(told) is str else untold
        chosen(value)

    return check


def mapping(item: Check) -> Check:
    """An object of any keys whose values `item` passes."""

    def check(value: Any) -> None:
        json_object(value)
        key = ''
        try:
            for key, member in value.items():
                item(member)
        except Fault as fault:
            fault.at_key(key)
            raise

    return check


fallback_models = array(filled_string, 'an array of strings', maximum=32)
"""OpenRouter's `models`. Each may cost an attempt, so their number is bounded."""
