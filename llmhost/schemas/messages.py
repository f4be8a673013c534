"""The messages of a chat, checked in one pass over plain dictionaries.

https://platform.openai.com/docs/api-reference/chat/create#chat_create-messages
"""

import re
from typing import Any

from llmhost.schemas import faults
from llmhost.schemas.checks import array, by_tag, either, filled_string, json_object, shape, string
from llmhost.schemas.tools import tool_calls

DATA_URL = re.compile(r'data:[\w.+-]+/[\w.+-]+(?:;[\w.+-]+=[^;,]*)*;base64,.', re.IGNORECASE)
PLAIN_ROLES = ('user', 'assistant', 'system', 'developer')


def image_url(value: Any) -> None:
    """Any address; a data URL must carry base64 (it is not decoded: it may have megabytes)."""
    filled_string(value)
    if value[:5].lower() == 'data:' and not DATA_URL.match(value):
        raise faults.bad_image_url()


part = by_tag(
    'type',
    {
        'text': shape({'text': string}),
        'image_url': shape({'image_url': shape({'url': image_url}, {'detail': string})}),
        'input_audio': shape({'input_audio': shape({'data': string, 'format': string})}),
        'file': shape({'file': json_object}),
        'refusal': shape({'refusal': string}),
    },
)
content = either(
    'one of a string or array of objects',
    {str: string, list: array(part, 'an array of objects')},
)
instruction = shape({'content': content}, {'name': string})
called_function = shape({'name': string, 'arguments': string})
message_of_any_form = by_tag(
    'role',
    {
        'system': instruction,
        'assistant': shape(
            {},
            {
                'content': content,
                'refusal': string,
                'name': string,
                'audio': shape({'id': string}),
                'tool_calls': tool_calls,
                'function_call': called_function,
            },
        ),
        'user': instruction,
        'function': shape({'name': string}, {'content': content}),
        'tool': shape({'content': content, 'tool_call_id': string}),
        'developer': instruction,
    },
    closed=True,
)


def message(value: Any) -> None:
    """One message. Most are a role and a text, and are told from the others at once, 2.5 times faster."""
    if (
        type(value) is dict
        and len(value) == 2
        and type(value.get('content')) is str
        and value.get('role') in PLAIN_ROLES
    ):
        return
    message_of_any_form(value)


chat_messages = array(message, 'an array of objects', minimum=1)
