"""What the entries of llmhost's own files have in common. A person may have edited them, so a fault is told as one line
that names the entry, the field, what is wrong and what would be right. It never shows a value: some are secrets.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from marshmallow import INCLUDE, Schema, ValidationError, fields

from llmhost.errors import RegistryError

FieldT = TypeVar('FieldT', bound=fields.Field[Any])
MESSAGES = ('null', 'invalid', 'invalid_utf8', 'special', 'too_large')


class EntrySchema(Schema):
    """An entry. Fields it does not know are kept: a newer llmhost may have written them."""

    class Meta:
        unknown = INCLUDE


def must_be(
    field_class: Callable[..., FieldT], right: str, fits: Callable[[Any], object] | None = None, **options: Any
) -> FieldT:
    """A field of `field_class` (with its `options`) whose every fault is told as what would be right.

    `right` goes on from "must be"; `fits` is true of a value that will do, among those of the right type.
    """
    text = f'must be {right}'

    def check(value: Any) -> None:
        if fits and not fits(value):
            raise ValidationError(text)

    return field_class(validate=check, error_messages=error_messages(text), **options)


def error_messages(text: str) -> dict[str, Any]:
    """marshmallow's messages for a field whose every fault is told as `text`."""
    template = text.replace('{', '{{').replace('}', '}}')
    return dict.fromkeys(MESSAGES, template) | {'required': f'is missing: it {template}'}


class ExactFloat(fields.Float):
    """A number; marshmallow would take a string that reads as one."""

    def _validated(self, value: Any) -> float:
        if not isinstance(value, int | float):
            raise self.make_error('invalid')
        return super()._validated(value)


class ExactBoolean(fields.Boolean):
    """True or false; marshmallow would take "yes", "off" and 1."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error('invalid')
        return value


def load_entry(schema: Schema, kind: str, document: Any) -> dict[str, Any]:
    """`document` with the defaults filled in. Raises RegistryError; `kind` is what the entry is, such as `server`."""
    if not isinstance(document, dict):
        raise RegistryError(f'A {kind} entry must be a JSON object with at least a name.')
    try:
        entry: dict[str, Any] = schema.load(document)
    except ValidationError as error:
        raise RegistryError(f'{_title(kind, document)}: {_first_fault(error.messages)}.') from None
    return entry


def _title(kind: str, document: dict[str, Any]) -> str:
    name = document.get('name')
    return f"{kind} '{name[:64]}'" if isinstance(name, str) and name.isprintable() else f'{kind} entry'


def _first_fault(messages: Any, path: str = '') -> str:
    """The first of marshmallow's nested messages, behind the field it is about."""
    if isinstance(messages, list):
        return f'{path} {messages[0]}'.strip()
    key, inner = next(iter(messages.items()))
    if key == '_schema':
        return _first_fault(inner, path)
    return _first_fault(inner, f'{path}[{key}]' if isinstance(key, int) else str(key))
