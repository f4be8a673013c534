"""The entries of `servers.json`."""

import re
from typing import Any
from urllib.parse import SplitResult, urlsplit

from marshmallow import ValidationError, fields, validates_schema

from llmhost.schemas.entries import EntrySchema, ExactBoolean, ExactFloat, error_messages, load_entry, must_be

NAME = re.compile('[A-Za-z0-9][A-Za-z0-9._-]{0,63}')
VARIABLE = re.compile('[A-Za-z_][A-Za-z0-9_]*')
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# what http.client and requests can send: Latin-1, no control characters, no white space in front
HEADER_VALUE = re.compile(r'(?:[\x21-\x7e\xa1-\xff][\t\x20-\x7e\xa0-\xff]*)?')
SECRET = re.compile(r'[\x21-\x7e]+')


def check_url(url: str) -> None:
    """Raises ValidationError saying what to write instead."""
    parts = _split(url)
    if parts is None or parts.scheme not in ('http', 'https') or not parts.hostname:
        raise ValidationError('must be an http or https address with a host, such as http://gpu.lan:8000/v1')
    if '@' in parts.netloc:
        raise ValidationError('must not hold a user or a password: give the key by --api-key-env (api_key_env)')
    if '?' in url or '#' in url:
        raise ValidationError("must end before '?' or '#': llmhost appends the path of each endpoint to it")


def _split(url: str) -> SplitResult | None:
    """The parts of `url`, or None where it is not one: urlsplit drops line ends, and reads the port only when asked."""
    if not url.isprintable() or ' ' in url:
        return None
    try:
        parts = urlsplit(url)
        parts.port  # ValueError where it is no port
    except ValueError:
        return None
    return parts


def check_headers(headers: dict[Any, Any]) -> None:
    for name, value in headers.items():
        if not isinstance(name, str) or not HEADER_NAME.fullmatch(name):
            raise ValidationError("must have header names of letters, digits and '-', such as X-Team")
        if not isinstance(value, str) or not HEADER_VALUE.fullmatch(value):
            raise ValidationError(f'must have a string of one line, without leading space, as the value of {name[:64]}')


def at_least_one(value: int) -> bool:
    return value >= 1


class ServerSchema(EntrySchema):
    """A server: a `url` someone else serves, or a process llmhost starts, from a `gguf` file or by a `command`."""

    name = must_be(
        fields.String,
        "1 to 64 letters, digits, '.', '_' or '-', the first a letter or a digit, such as gpu-1",
        NAME.fullmatch,
        required=True,
    )
    url = fields.String(
        validate=check_url,
        load_default=None,
        error_messages=error_messages('must be an http or https address, such as http://gpu.lan:8000/v1'),
    )
    provider = must_be(fields.String, 'the name of a provider, such as openai or ollama', bool, load_default='generic')
    models = must_be(
        fields.List,
        'a list of model ids, such as ["llama3.2"]',
        cls_or_instance=must_be(fields.String, 'a model id, such as "llama3.2"', bool),
        load_default=list,
    )
    api_key = must_be(
        fields.String, 'a key of printable characters without spaces, or null', SECRET.fullmatch, load_default=None
    )
    api_key_env = must_be(
        fields.String,
        'the name of an environment variable that holds the key, such as OPENAI_API_KEY, or null',
        VARIABLE.fullmatch,
        load_default=None,
    )
    headers = fields.Dict(
        validate=check_headers,
        load_default=dict,
        error_messages=error_messages('must be an object of header names and values, such as {"X-Team": "blue"}'),
    )
    max_concurrency = must_be(
        fields.Integer,
        'a whole number of 1 or more, or null for no limit',
        at_least_one,
        strict=True,
        load_default=None,
    )
    priority = must_be(fields.Integer, 'a whole number, such as 0', strict=True, load_default=0)
    weight = must_be(fields.Integer, 'a whole number, 1 or more', at_least_one, strict=True, load_default=1)
    timeout = must_be(
        ExactFloat, 'a number of seconds above 0, or null for the default', lambda value: value > 0, load_default=None
    )
    enabled = must_be(ExactBoolean, 'true or false', load_default=True)
    gguf = must_be(fields.String, 'the path of a GGUF file, or null', bool, load_default=None)
    mmproj = must_be(fields.String, 'the path of a GGUF file with a vision projector, or null', bool, load_default=None)
    command = must_be(
        fields.String,
        "a command line with {port} where the server's port goes, or null",
        lambda value: '{port}' in value,
        load_default=None,
    )
    context = must_be(
        fields.Integer, 'a whole number of tokens, 1 or more, or null', at_least_one, strict=True, load_default=None
    )
    threads = must_be(
        fields.Integer, 'a whole number of 1 or more, or null', at_least_one, strict=True, load_default=None
    )
    idle_ttl = must_be(
        ExactFloat, 'a number of seconds, 0 or more, or null', lambda value: value >= 0, load_default=None
    )
    memory_group = must_be(
        fields.String,
        "1 to 64 letters, digits, '.', '_' or '-', the first a letter or a digit, such as gpu-0, or null",
        NAME.fullmatch,
        load_default=None,
    )

    @validates_schema
    def check_origin(self, data: dict[str, Any], **kwargs: Any) -> None:
        given = [name for name in ('url', 'gguf', 'command') if data[name] is not None]
        if not given:
            raise ValidationError('needs one of url, gguf and command: give the address of the server')
        if len(given) > 1:
            raise ValidationError(f"takes only one of url, gguf and command, but has {' and '.join(given)}: remove one")


SCHEMA = ServerSchema()


def load_server(document: dict[str, Any]) -> dict[str, Any]:
    """A server's entry with every field present, and those of other versions kept.

    Raises RegistryError: one line with the field, what is wrong and what would be right.
    """
    return load_entry(SCHEMA, 'server', document)
