"""The entries of `keys.json`."""

import re
from datetime import date, datetime
from typing import Any

from marshmallow import fields

from llmhost.schemas.entries import EntrySchema, load_entry, must_be

SHA256 = re.compile('[0-9a-f]{64}')
DAY = re.compile(r'\d{4}-\d\d-\d\d')


def is_label(value: str) -> bool:
    return 0 < len(value) <= 64 and value.isprintable() and value == value.strip()


def is_day(value: str) -> bool:
    return DAY.fullmatch(value) is not None and _parses(date.fromisoformat, value)


def is_moment(value: str) -> bool:
    return _parses(datetime.fromisoformat, value)


def _parses(parse: Any, value: str) -> bool:
    try:
        parse(value)
    except ValueError:
        return False
    return True


class LowerCase(fields.String):
    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        return super()._deserialize(value, attr, data, **kwargs).lower()


class KeySchema(EntrySchema):
    """An API key: whose it is, what it may use, and its limits per minute. No `models` means all of them."""

    name = must_be(fields.String, '1 to 64 printable characters, such as laptop', is_label, required=True)
    user = must_be(fields.String, '1 to 64 printable characters, or null', is_label, load_default=None)
    sha256 = must_be(
        LowerCase,
        "the key's SHA-256 as 64 hexadecimal digits; `flask keys create` writes it",
        SHA256.fullmatch,
        required=True,
    )
    models = must_be(
        fields.List,
        'a list of model patterns, such as ["gpu-1/*"]',
        cls_or_instance=must_be(fields.String, 'a model pattern, such as "gpu-1/*"', bool),
        load_default=list,
    )
    mcp = must_be(
        fields.List,
        'a list of MCP server names',
        cls_or_instance=must_be(fields.String, 'the name of an MCP server', bool),
        load_default=list,
    )
    rpm = must_be(
        fields.Integer,
        'a whole number of requests, 1 or more, or null for no limit',
        lambda value: value >= 1,
        strict=True,
        load_default=None,
    )
    tpm = must_be(
        fields.Integer,
        'a whole number of tokens, 1 or more, or null for no limit',
        lambda value: value >= 1,
        strict=True,
        load_default=None,
    )
    expires = must_be(fields.String, 'a date, such as 2027-01-31, or null', is_day, load_default=None)
    created = must_be(
        fields.String, 'a date and time, such as 2026-11-20T06:00:00+00:00, or null', is_moment, load_default=None
    )


SCHEMA = KeySchema()


def load_key(document: dict[str, Any]) -> dict[str, Any]:
    """A key's entry with every field present, and those of other versions kept.

    Raises RegistryError: one line with the field, what is wrong and what would be right.
    """
    return load_entry(SCHEMA, 'key', document)
