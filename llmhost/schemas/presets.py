"""The entries of `presets.json`."""

from typing import Any

import orjson
from marshmallow import ValidationError, fields, validates_schema

from llmhost.schemas.entries import EntrySchema, error_messages, load_entry, must_be
from llmhost.schemas.faults import Fault
from llmhost.schemas.rerank import SCHEMA as RERANK
from llmhost.schemas.servers import NAME
from llmhost.schemas.tasks import SCHEMAS

REQUESTS_OWN = frozenset({
    'model', 'models', 'messages', 'prompt', 'input', 'query', 'documents', 'texts', 'rank_fields', 'return_documents',
    'return_text', 'stream', 'stream_options',
})
"""What each request says for itself."""
FIELDS = {task: schema.load_fields for task, schema in {**SCHEMAS, 'rerank': RERANK}.items()}
SPOKEN_FOR = {**FIELDS['embeddings'], **FIELDS['completions'], **FIELDS['chat']}
"""The parameters OpenAI defines. Rerank's `top_k` is a sampler's to others, so what rerank has is not among them."""


def check_params(params: dict[Any, Any]) -> None:
    """Raises ValidationError for what no request may say, in OpenAI's words."""
    for name, value in params.items():
        if name in REQUESTS_OWN:
            raise ValidationError(f"must not hold '{name}': each request says that for itself")
        field = SPOKEN_FOR.get(name) or (FIELDS['rerank'].get(name) if name == 'top_n' else None)
        try:
            if field is not None:
                field.deserialize(value)
        except Fault as fault:
            fault.at_key(name)
            raise ValidationError(f'hold what no request may: {fault.message.rstrip(".")}') from None


class PresetSchema(EntrySchema):
    """A preset: the model it stands for, and what it brings to each request."""

    name = must_be(
        fields.String,
        "1 to 64 letters, digits, '.', '_' or '-', the first a letter or a digit, such as writer",
        NAME.fullmatch,
        required=True,
    )
    model = must_be(fields.String, 'the id of a model, such as llama3.2 or gpu-1/llama3.2', bool, required=True)
    system = must_be(fields.String, 'a text of at least one character, or null', bool, load_default=None)
    params = fields.Dict(
        validate=check_params,
        load_default=dict,
        error_messages=error_messages('must be an object of parameters and values, such as {"temperature": 0.2}'),
    )
    fallbacks = must_be(
        fields.List,
        'a list of model ids, such as ["llama3.2"]',
        cls_or_instance=must_be(fields.String, 'a model id, such as "llama3.2"', bool),
        load_default=list,
    )

    @validates_schema
    def check_that_it_can_be_sent(self, data: dict[str, Any], **kwargs: Any) -> None:
        """Python's JSON reads more than can be written: lone surrogates, integers beyond 64 bits, any depth."""
        try:
            orjson.dumps(data)
        except orjson.JSONEncodeError as error:
            raise ValidationError(f'cannot be sent to a server: {error}') from None


SCHEMA = PresetSchema()


def load_preset(document: dict[str, Any]) -> dict[str, Any]:
    """A preset's entry with every field present, and those of other versions kept.

    Raises RegistryError: one line with the field, what is wrong and what would be right.
    """
    return load_entry(SCHEMA, 'preset', document)


def applies(task: str, name: str, value: Any) -> bool:
    """Whether a preset's parameter is for `task`: OpenAI defines it there, with such a value, or nowhere at all."""
    field = FIELDS[task].get(name)
    if field is None:
        return name not in SPOKEN_FOR
    try:
        field.deserialize(value)
    except Fault:
        return False
    return True
