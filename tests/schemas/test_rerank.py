import pytest

from llmhost.errors import InvalidRequestError
from llmhost.schemas import RerankRequest, load_rerank

MINIMAL = {'model': 'm', 'query': 'q', 'documents': ['a', 'b']}


def test_load_rerank_of_the_common_form_gives_every_field():
    request = load_rerank(MINIMAL | {'top_n': 1, 'return_documents': True, 'truncate': 'END', 'priority': 0})
    assert request == RerankRequest('m', 'q', ['a', 'b'], 1, True, {'truncate': 'END', 'priority': 0})


@pytest.mark.parametrize(
    'fields, name, value',
    [
        ({'top_k': 3}, 'top_n', 3),
        ({'top_n': 0}, 'top_n', None),
        ({'top_n': None, 'top_k': 2}, 'top_n', 2),
        ({'top_n': 1, 'top_k': 2}, 'top_n', 1),
        ({'return_text': False}, 'return_documents', False),
        ({}, 'return_documents', None),
        ({'documents': None, 'texts': ['c']}, 'documents', ['c']),
        ({'documents': ['a', {'text': 'b', 'title': 'B'}, {'text': ''}]}, 'documents', ['a', 'b', '']),
        ({'documents': [{'text': 'b', 'title': 'B'}], 'rank_fields': ['title', 'text']}, 'documents', ['B\nb']),
    ],
)
def test_load_rerank_of_a_dialect_gives_the_common_form(fields, name, value):
    request = load_rerank(MINIMAL | fields)
    assert getattr(request, name) == value
    assert request.extra == {}


@pytest.mark.parametrize(
    'fields, param, code',
    [
        ({'model': None}, 'model', 'invalid_type'),
        ({'query': 5}, 'query', 'invalid_type'),
        ({'documents': []}, 'documents', 'empty_array'),
        ({'documents': 'a'}, 'documents', 'invalid_type'),
        ({'documents': None}, 'documents', 'invalid_type'),
        ({'documents': ['a', 'b', 5]}, 'documents[2]', 'invalid_type'),
        ({'documents': ['a', 'b', {'title': 'c'}]}, 'documents[2]', 'invalid_type'),
        ({'documents': None, 'texts': [5]}, 'texts[0]', 'invalid_type'),
        ({'top_n': -1}, 'top_n', 'integer_below_min_value'),
        ({'top_n': True}, 'top_n', 'invalid_type'),
        ({'return_documents': 'yes'}, 'return_documents', 'invalid_type'),
    ],
)
def test_load_rerank_when_a_field_is_at_fault_says_where(fields, param, code):
    with pytest.raises(InvalidRequestError) as caught:
        load_rerank(MINIMAL | fields)
    assert (caught.value.param, caught.value.code) == (param, code)


@pytest.mark.parametrize('name', ['model', 'query', 'documents'])
def test_load_rerank_when_a_field_is_missing_names_it(name):
    payload = {key: value for key, value in MINIMAL.items() if key != name}
    with pytest.raises(InvalidRequestError, match=f"^Missing required parameter: '{name}'.$") as caught:
        load_rerank(payload)
    assert caught.value.code == 'missing_required_parameter'
