"""The payload of `/v1/chat/completions`.

https://platform.openai.com/docs/api-reference/chat/create
Words that local servers add to (`reasoning_effort`, `service_tier`, `verbosity`, the types of `response_format`) are
open: only that they are strings is checked.
"""

from typing import Any

from llmhost.schemas import faults
from llmhost.schemas.checks import (
    array,
    boolean,
    by_tag,
    integer,
    integer_from,
    json_object,
    mapping,
    shape,
    string,
    string_up_to,
)
from llmhost.schemas.messages import chat_messages, content
from llmhost.schemas.payload import Checked
from llmhost.schemas.sampling import SamplingSchema
from llmhost.schemas.tools import chat_tools, chosen_function, chosen_tool, legacy_functions

METADATA_PAIRS_MAX = 16
METADATA_KEY_MAX = 64
texts = mapping(string_up_to(512))


def metadata_pairs(value: Any) -> None:
    texts(value)
    if len(value) > METADATA_PAIRS_MAX:
        raise faults.large_object(METADATA_PAIRS_MAX, len(value))
    longest = max(map(len, value), default=0)
    if longest > METADATA_KEY_MAX:
        raise faults.long_key(METADATA_KEY_MAX, longest)


json_schema = shape({'name': string}, {'description': string, 'schema': json_object, 'strict': boolean})
answer_format = by_tag('type', {'json_schema': shape({'json_schema': json_schema})})
predicted = by_tag('type', {'content': shape({'content': content})})


class ChatSchema(SamplingSchema):
    messages = Checked(chat_messages, required=True)
    max_completion_tokens = Checked(integer)
    logprobs = Checked(boolean)
    top_logprobs = Checked(integer_from(0, 20))
    tools = Checked(chat_tools)
    tool_choice = Checked(chosen_tool)
    parallel_tool_calls = Checked(boolean)
    functions = Checked(legacy_functions)
    function_call = Checked(chosen_function)
    response_format = Checked(answer_format)
    reasoning_effort = Checked(string)
    verbosity = Checked(string)
    modalities = Checked(array(string, 'an array of strings'))
    audio = Checked(shape({}, {'format': string}))
    prediction = Checked(predicted)
    service_tier = Checked(string)
    store = Checked(boolean)
    metadata = Checked(metadata_pairs)
    safety_identifier = Checked(string_up_to(128))
    prompt_cache_key = Checked(string)
    prompt_cache_options = Checked(json_object)
    prompt_cache_retention = Checked(string)
    web_search_options = Checked(json_object)
