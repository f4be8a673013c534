"""The fields that chat and legacy completions have in common."""

from llmhost.schemas.checks import (
    array,
    boolean,
    either,
    fallback_models,
    integer,
    integer_from,
    mapping,
    number,
    number_from,
    shape,
    string,
)
from llmhost.schemas.payload import Checked, Model, PayloadSchema

stop_strings = either(
    'one of a string or array of strings',
    {str: string, list: array(string, 'an array of strings', minimum=1, maximum=4)},
)
streaming = shape({}, {'include_usage': boolean, 'include_obfuscation': boolean})


class SamplingSchema(PayloadSchema):
    """`models` is OpenRouter's fallback list. `max_tokens` has no bounds: llama.cpp takes -1 for no limit."""

    model = Model()
    models = Checked(fallback_models)
    max_tokens = Checked(integer)
    temperature = Checked(number_from(0, 2))
    top_p = Checked(number_from(0, 1))
    presence_penalty = Checked(number_from(-2, 2))
    frequency_penalty = Checked(number_from(-2, 2))
    n = Checked(integer_from(1, 128))
    seed = Checked(integer)
    stop = Checked(stop_strings)
    logit_bias = Checked(mapping(number))
    stream = Checked(boolean)
    stream_options = Checked(streaming)
    user = Checked(string)
