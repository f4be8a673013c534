"""The input of embeddings and of legacy completions: a string, strings, tokens, or arrays of tokens."""

from typing import Any

from llmhost.schemas import faults
from llmhost.schemas.checks import Check, array, filled_string, integer, string

EXPECTED = 'one of a string, array of strings, array of integers, or array of arrays of integers'
one_by_one = array(integer, 'an array of integers', minimum=1)


def tokens(value: Any) -> None:
    """An array of integers. Thousands of them are the normal case, so their types are gathered first."""
    if type(value) is not list or set(map(type, value)) != {int}:
        one_by_one(value)


def inputs(text: Check, *, maximum: int | None = None) -> Check:
    """One input or an array of up to `maximum`; `text` is the check of each that is a string."""
    arrays = {
        str: array(text, 'an array of strings', maximum=maximum),
        int: tokens,
        list: array(tokens, 'an array of arrays of integers', maximum=maximum),
    }

    def check(value: Any) -> None:
        if type(value) is str:
            text(value)
        elif type(value) is not list:
            raise faults.wrong_type(EXPECTED, value)
        elif not value:
            raise faults.empty_array()
        else:
            arrays.get(type(value[0]), arrays[str])(value)

    return check


completion_prompt = inputs(string)
embedding_input = inputs(filled_string, maximum=2048)
