"""What strays from OpenAI's form in a stream, and what is made of it."""

import json
from typing import Any

import pytest

from llmhost.errors import UpstreamStatusError
from llmhost.providers.chunks import ChunkReader

ENVELOPE = {'id': 'c', 'object': 'chat.completion.chunk', 'created': 1, 'model': 'm'}


def chunk(delta: Any = None, finish: str | None = None, index: int = 0) -> dict[str, Any]:
    return {**ENVELOPE, 'choices': [{'index': index, 'delta': delta or {}, 'finish_reason': finish}]}


def called(*calls: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return chunk({'tool_calls': [dict(call) for call in calls]}, finish)


def part(arguments: Any = None, *, name: str | None = None, **fields: Any) -> dict[str, Any]:
    """A part of a tool call."""
    function = {key: value for key, value in (('name', name), ('arguments', arguments)) if value is not None}
    return {**fields, 'function': function}


def read(*chunks: dict[str, Any]) -> list[dict[str, Any]]:
    """The chunks as one stream's reader leaves them."""
    reader = ChunkReader()
    for one in chunks:
        reader.read(one)
    return list(chunks)


def calls_in(chunks: list[dict[str, Any]]) -> list[tuple[int, str, str]]:
    """(index, id, arguments) of each part of a tool call."""
    parts = [part for one in chunks for choice in one['choices'] for part in choice['delta'].get('tool_calls', ())]
    return [(part['index'], part.get('id', ''), part['function'].get('arguments', '')) for part in parts]


def test_chunk_in_openais_form_is_left_as_it_is():
    reader = ChunkReader()
    for one in (chunk({'role': 'assistant', 'content': ''}), chunk({'content': 'Hi'}), chunk({}, 'stop')):
        before = json.dumps(one)
        assert (reader.read(one), json.dumps(one)) == (False, before)


@pytest.mark.parametrize(('chunks', 'expected'), [
    ([called(part('{}', index=0, id='a', name='f')), called(part('[]', index=0, id='b', name='g'))],
     [(0, 'a', '{}'), (1, 'b', '[]')]),
    ([called(part('{}', index=0, id='a', name='f'), part('[]', index=0, id='b', name='g'))],
     [(0, 'a', '{}'), (1, 'b', '[]')]),
    ([called(part('{', index=0, id='a', name='f')), called(part('}', index=0)), called(part('[', index=0, id='b', name='g')),
      called(part(']', index=0))],
     [(0, 'a', '{'), (0, '', '}'), (1, 'b', '['), (1, '', ']')]),
    ([called(part('{', index=0, id='a', name='f')), called(part('}', index=0, id='a'))],
     [(0, 'a', '{'), (0, 'a', '}')]),
    ([called(part('{', id='a', name='f')), called(part('}')), called(part('[', id='b', name='g')), called(part(']'))],
     [(0, 'a', '{'), (0, '', '}'), (1, 'b', '['), (1, '', ']')]),
    ([called(part('{', index=0, id='a', name='f')), called(part('[', index=1, id='b', name='g')), called(part('}', index=0)),
      called(part(']', index=1))],
     [(0, 'a', '{'), (1, 'b', '['), (0, '', '}'), (1, '', ']')]),
    ([called(part('{', index=3, id='a', name='f')), called(part('}', index=3))],
     [(0, 'a', '{'), (0, '', '}')]),
], ids=['each of index 0', 'each of index 0 in one chunk', 'parts of index 0', 'id repeated', 'no index', 'interleaved',
        'counted from 3'])
def test_tool_calls_are_numbered_by_their_ids_however_the_server_numbers_them(chunks, expected):
    assert calls_in(read(*chunks)) == expected


def names_in(chunks: list[dict[str, Any]]) -> list[tuple[int, str | None]]:
    """(index, name) of each part of a tool call."""
    parts = [part for one in chunks for choice in one['choices'] for part in choice['delta'].get('tool_calls', ())]
    return [(part['index'], part['function'].get('name')) for part in parts]


@pytest.mark.parametrize('same', [{}, {'id': 'a'}, {'id': None}, {'id': ''}], ids=['no id', 'same id', 'null id', 'empty id'])
def test_name_that_is_told_again_in_every_part_is_one_call_and_told_once(same):
    chunks = read(called(part('', index=0, id='a', name='f')), called(part('{"x"', index=0, name='f', **same)),
                  called(part(': 1}', index=0, name='f', **same)), called(part('', index=0, name='f', **same)))
    assert [(index, arguments) for index, _, arguments in calls_in(chunks)] == [(0, ''), (0, '{"x"'), (0, ': 1}'), (0, '')]
    assert names_in(chunks) == [(0, 'f'), (0, None), (0, None), (0, None)]


@pytest.mark.parametrize(('first', 'second', 'name'), [('{"x": 1}', '{"x": 2}', 'f'), ({}, {}, 'f'), ('{}', '{}', 'g')])
def test_whole_calls_without_ids_stay_apart_though_all_have_index_0(first, second, name):
    chunks = read(called(part(first, index=0, name='f'), part(second, index=0, name=name)))
    assert names_in(chunks) == [(0, 'f'), (1, name)]
    assert len({call_id for _, call_id, _ in calls_in(chunks)}) == 2


@pytest.mark.parametrize('call', [part('{}', index=0, name='f'), part('{}', index=0, id='', name='f'),
                                  part('{}', index=0, id=None, name='f')])
def test_tool_call_without_an_id_gets_one_and_its_type(call):
    [(_, call_id, _)] = calls_in(chunks := read(called(call)))
    assert call_id.startswith('call_')
    assert chunks[0]['choices'][0]['delta']['tool_calls'][0]['type'] == 'function'


@pytest.mark.parametrize(('arguments', 'expected'), [({'a': 1}, '{"a":1}'), ([], '[]'), (None, ''), ('{"a"', '{"a"')])
def test_arguments_are_always_a_string(arguments, expected):
    assert calls_in(read(called(part(arguments, index=0, id='a', name='f')))) == [(0, 'a', expected)]


@pytest.mark.parametrize('empty', [[], None])
def test_empty_tool_calls_are_left_out(empty):
    [one] = read(chunk({'content': 'Hi', 'tool_calls': empty}))
    assert one['choices'][0]['delta'] == {'content': 'Hi'}


@pytest.mark.parametrize(('reason', 'with_calls', 'expected'), [
    ('stop', True, 'tool_calls'), ('stop', False, 'stop'), ('length', True, 'length'), ('tool_calls', True, 'tool_calls'),
    ('tool_use', True, 'tool_calls'), ('max_tokens', False, 'length'), ('eos', False, 'stop'), ('STOP', False, 'stop'),
    ('', False, None), (None, False, None),
])
def test_finish_reason_is_a_word_of_openais(reason, with_calls, expected):
    calls = [called(part('{}', index=0, id='a', name='f'))] if with_calls else []
    assert read(*calls, chunk({}, reason))[-1]['choices'][0]['finish_reason'] == expected


def test_finish_reason_error_is_an_error():
    with pytest.raises(UpstreamStatusError):
        ChunkReader().read(chunk({}, 'error'))


@pytest.mark.parametrize('lacking', [
    ['id'], ['object'], ['created'], ['model'], ['choices'], ['id', 'object', 'created', 'model'],
])
@pytest.mark.parametrize('null', [False, True], ids=['missing', 'null'])
def test_envelope_is_filled_in_the_same_for_all_chunks(lacking, null):
    chunks = [chunk({'content': word}) for word in 'ab']
    for one in chunks:
        for name in lacking:
            one.pop(name)
            if null:
                one[name] = None
    first, second = read(*chunks)
    assert first['object'] == 'chat.completion.chunk'
    assert all(type(first[name]) is kind for name, kind in (('id', str), ('created', int), ('model', str), ('choices', list)))
    assert first['id'] == second['id'] and first['created'] == second['created']


def test_choice_without_index_delta_or_finish_reason_is_filled_in():
    [one] = read({**ENVELOPE, 'choices': [{}, {'delta': {'content': 'b'}}]})
    assert one['choices'] == [{'index': 0, 'delta': {}, 'finish_reason': None},
                              {'index': 1, 'delta': {'content': 'b'}, 'finish_reason': None}]


@pytest.mark.parametrize('delta', [{'reasoning': 'r'}, {'reasoning_content': 'r'}, {'reasoning': 'r', 'reasoning_content': 'r'}])
def test_reasoning_is_told_under_both_names(delta):
    [one] = read(chunk(delta))
    assert one['choices'][0]['delta'] == {'reasoning': 'r', 'reasoning_content': 'r'}


@pytest.mark.parametrize(('chunks', 'finished'), [
    ([], False),
    ([chunk({'content': 'a'})], False),
    ([chunk({'content': 'a'}), chunk({}, 'stop')], True),
    ([chunk({'content': 'a'}, index=0), chunk({'content': 'b'}, index=1), chunk({}, 'stop', index=0)], False),
    ([chunk({'content': 'a'}, index=0), chunk({'content': 'b'}, index=1), chunk({}, 'stop', index=0), chunk({}, 'stop', index=1)],
     True),
    ([chunk({}, 'stop'), chunk({}), {**ENVELOPE, 'choices': [], 'usage': {'total_tokens': 1}}], True),
], ids=['nothing', 'begun', 'one', 'one of two', 'both', 'something after the end'])
def test_stream_is_finished_once_every_choice_is(chunks, finished):
    reader = ChunkReader()
    for one in chunks:
        reader.read(one)
    assert reader.finished is finished


def test_null_details_of_usage_are_left_out():
    reader = ChunkReader()
    last = {**ENVELOPE, 'choices': [], 'usage': {'total_tokens': 1, 'prompt_tokens_details': None}}
    assert reader.read(last) is True
    assert reader.usage == last['usage'] == {'total_tokens': 1}


def test_whole_completion_becomes_one_chunk_with_all_it_holds():
    message = {'role': 'assistant', 'content': 'Hi', 'tool_calls': [part({'a': 1}, id='a', name='f')]}
    completion = {'id': 'c', 'choices': [{'message': message, 'logprobs': {'content': []}, 'finish_reason': 'stop'}], 'x': 1}
    one = json.loads(ChunkReader().chunk_of(completion).removeprefix(b'data: '))
    choice = one['choices'][0]
    assert (one['object'], one['x'], choice['logprobs'], choice['finish_reason']) == (
        'chat.completion.chunk', 1, {'content': []}, 'tool_calls')
    assert choice['delta']['tool_calls'] == [
        {'index': 0, 'id': 'a', 'type': 'function', 'function': {'name': 'f', 'arguments': '{"a":1}'}}]
