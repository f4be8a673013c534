"""Tools, the choice among them, and the calls of them, as chat completions have them. Tools of unknown types pass."""

import re
from typing import Any

from llmhost.schemas import faults
from llmhost.schemas.checks import array, boolean, by_tag, either, filled_string, json_object, one_of, shape, string

NAME_MAX = 64
NAME = re.compile('[a-zA-Z0-9_-]{1,64}')


def tool_name(value: Any) -> None:
    filled_string(value)
    if NAME.fullmatch(value):
        return
    if len(value) > NAME_MAX:
        raise faults.long_string(NAME_MAX, len(value))
    raise faults.mismatch('^[a-zA-Z0-9_-]+$')


function = shape({'name': tool_name}, {'description': string, 'parameters': json_object, 'strict': boolean})
legacy_functions = array(function, 'an array of objects')
tool = by_tag(
    'type',
    {
        'function': shape({'function': function}),
        'custom': shape({'custom': shape({'name': tool_name}, {'description': string, 'format': json_object})}),
    },
)
chat_tools = array(tool, 'an array of objects')

named = shape({'name': string})
chosen_tool = either(
    'one of a string or object',
    {
        str: one_of('none', 'auto', 'required'),
        dict: by_tag(
            'type',
            {
                'function': shape({'function': named}),
                'custom': shape({'custom': named}),
                'allowed_tools': shape(
                    {
                        'allowed_tools': shape(
                            {
                                'mode': one_of('auto', 'required'),
                                'tools': array(json_object, 'an array of objects'),
                            }
                        )
                    }
                ),
            },
        ),
    },
)
chosen_function = either('one of a string or object', {str: string, dict: named})

tool_call = by_tag(
    'type',
    {
        'function': shape({'id': string, 'function': shape({'name': string, 'arguments': string})}),
        'custom': shape({'id': string, 'custom': shape({'name': string, 'input': string})}),
    },
)
tool_calls = array(tool_call, 'an array of objects')
