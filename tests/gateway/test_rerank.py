import json
import math

import pytest
from fake_upstream import FakeUpstream, Reply, read_sample
from front_door import EMBEDDINGS

PATHS = ['/v1/rerank', '/v2/rerank', '/rerank']
TEXTS = ['Bananas are yellow.', 'Paris is the capital of France.', 'France is in Europe.']
PAYLOAD = {'model': 'm', 'query': 'capital of France', 'documents': TEXTS}


def order_of(answer):
    assert answer.status_code == 200, answer.text
    return [result['index'] for result in answer.json['results']]


def is_emulated(answer):
    return answer.json['meta'].get('llmhost', {}).get('emulated', False)


# native, or made from embeddings


@pytest.mark.parametrize('path', PATHS)
def test_servers_own_rerank_is_used_where_it_has_one(path, door, add):
    box = add('box', provider='vllm')
    answer = door.post(path, PAYLOAD)
    assert (order_of(answer), is_emulated(answer)) == ([1, 2, 0], False)
    assert [request.path for request in box.requests] == ['/v1/rerank']


@pytest.mark.parametrize('path', PATHS)
def test_rerank_is_made_from_embeddings_where_the_server_has_none(path, door, add):
    box = add('box', provider='ollama')
    answer = door.post(path, PAYLOAD)
    assert (order_of(answer), is_emulated(answer)) == ([1, 2, 0], True)
    assert answer.json['meta']['warnings']
    assert [request.path for request in box.requests] == [EMBEDDINGS]
    assert box.requests[0].json == {'model': 'm', 'input': [PAYLOAD['query'], *TEXTS]}
    scores = [result['relevance_score'] for result in answer.json['results']]
    assert all(-1.001 <= score <= 1.001 for score in scores)


@pytest.mark.parametrize('usage', [
    [], [1], 'many', 3, None, {'total_tokens': '7'}, {'total_tokens': [7]}, {'prompt_tokens': 'x'},
], ids=str)
@pytest.mark.parametrize('provider', ['ollama', 'vllm'])
def test_usage_that_cannot_be_counted_is_not_counted(provider, usage, door, add):
    box = add('box', provider=provider)
    rows = [{'index': index, 'embedding': [1.0, index], 'relevance_score': 1 / (1 + index)} for index in range(4)]
    kept = rows if provider == 'ollama' else rows[:3]
    box.always('*', Reply.json({'data': kept, 'results': kept, 'usage': usage}))
    assert order_of(door.post('/rerank', PAYLOAD)) == [0, 1, 2]


def test_error_under_200_that_is_nested_too_deeply_is_a_broken_answer(door, add):
    add('box', provider='cohere').always('*', Reply.text('{"error": ' + '[' * 500 + ']' * 500 + '}'))
    assert door.post('/rerank', PAYLOAD).status_code == 502


NOT_SERVED = {
    'llama.cpp without --reranking': Reply.sample('llamacpp/error_501_rerank.json'),
    'no such path': Reply.error(404, 'Not Found'),
    'no such method': Reply(405),
    'error under 200': Reply.sample('lmstudio/error_200.json'),
}


@pytest.mark.parametrize('provider', ['generic', 'llamacpp', 'vllm'])
@pytest.mark.parametrize('reply', NOT_SERVED.values(), ids=NOT_SERVED)
def test_server_that_turns_out_to_have_no_rerank_is_helped_out(provider, reply, door, add):
    box = add('box', provider=provider)
    box.always('/v1/rerank', reply)
    answers = [door.post('/rerank', PAYLOAD) for _ in range(2)]
    assert [(order_of(answer), is_emulated(answer)) for answer in answers] == [([1, 2, 0], True)] * 2
    assert [request.path for request in box.requests][:2] == ['/v1/rerank', EMBEDDINGS]


def test_server_known_to_have_no_rerank_is_not_asked_again(door, add):
    box = add('box', provider='llamacpp')
    box.always('/v1/rerank', NOT_SERVED['llama.cpp without --reranking'])
    for _ in range(3):
        door.post('/rerank', PAYLOAD)
    assert [request.path for request in box.requests].count('/v1/rerank') == 1


def test_bad_gateway_in_front_of_a_reranker_is_not_taken_for_a_server_without_one(door, add):
    box = add('box', provider='vllm')
    box.answer('/v1/rerank', Reply.text('<html>502</html>', 502))
    door.post('/rerank', PAYLOAD)
    assert not is_emulated(door.post('/rerank', PAYLOAD))


def test_reranker_that_was_registered_anew_is_asked(door, add, upstream):
    box = add('box', provider='llamacpp')
    box.always('/v1/rerank', NOT_SERVED['llama.cpp without --reranking'])
    assert is_emulated(door.post('/rerank', PAYLOAD))
    door.services.registry.update('box', url=upstream.url)
    assert not is_emulated(door.post('/rerank', PAYLOAD))


@pytest.mark.parametrize('status', [400, 401, 429, 500, 503])
def test_refusal_of_a_native_rerank_is_the_answer(status, door, add):
    box = add('box', provider='vllm')
    box.answer('/v1/rerank', Reply.error(status, 'No.'))
    assert door.post('/rerank', PAYLOAD).status_code == status
    assert [request.path for request in box.requests] == ['/v1/rerank']


@pytest.mark.parametrize('provider', ['tei', 'cohere', 'jina'])
def test_provider_that_has_a_rerank_for_certain_is_never_emulated(provider, door, add):
    box = add('box', provider=provider)
    box.always('*', Reply.error(404, 'No such model.'))
    assert door.post('/rerank', PAYLOAD).status_code == 404
    assert len(box.requests) == 1


def test_unknown_model_on_a_server_that_may_have_a_rerank_is_still_not_found(door, add):
    add('box', provider='vllm', dialect={'strict_models': True}, models=('gone',))
    assert door.post('/rerank', {**PAYLOAD, 'model': 'gone'}).status_code == 404


def test_rerank_fails_over(door, add):
    first = add('first', provider='vllm', priority=1)
    add('second', provider='ollama')
    first.answer('/v1/rerank', Reply(503))
    answer = door.post('/rerank', PAYLOAD)
    assert (order_of(answer), answer.headers['x-llmhost-server'], is_emulated(answer)) == ([1, 2, 0], 'second', True)


def test_many_documents_are_embedded_in_batches_and_counted_together(door, add, request_log):
    box = add('box', provider='openai')
    documents = [f'document {number}' for number in range(150)]
    answer = door.post('/rerank', {**PAYLOAD, 'query': 'document 149', 'documents': documents})
    assert order_of(answer)[0] == 149 and len(order_of(answer)) == 150
    assert [len(request.json['input']) for request in box.requests] == [64, 64, 23]
    assert request_log()[-1]['prompt_tokens'] == answer.json['usage']['total_tokens'] > 300


@pytest.mark.parametrize('embeddings', [
    {'data': [{'index': 0, 'embedding': [1.0]}]},
    {'data': [{'index': index, 'embedding': [1.0] * (index + 1)} for index in range(4)]},
    {'data': [{'index': index, 'embedding': 'no base64!'} for index in range(4)]},
    {'data': [{'index': index, 'embedding': None} for index in range(4)]},
    {'data': [{'index': index, 'embedding': ['x']} for index in range(4)]},
    {},
], ids=['too few', 'of different lengths', 'not base64', 'null', 'texts', 'none'])
def test_embeddings_that_cannot_be_compared_are_an_upstream_error(embeddings, door, add):
    add('box', provider='openai').answer(EMBEDDINGS, Reply.json(embeddings))
    answer = door.post('/rerank', PAYLOAD)
    assert (answer.status_code, answer.json['error']['code']) == (502, 'upstream_broken')


def test_embeddings_in_any_order_and_in_base64_are_compared(door, add):
    rows = [(3, 'AACAPw=='), (0, 'AACAPw=='), (2, 'AACAvw=='), (1, 'AAAAAA==')]
    document = {'data': [{'index': index, 'embedding': vector} for index, vector in rows]}
    add('box', provider='openai').answer(EMBEDDINGS, Reply.json(document))
    results = door.post('/rerank', PAYLOAD).json['results']
    assert [(result['index'], result['relevance_score']) for result in results] == [(2, 1.0), (0, 0.0), (1, -1.0)]


# what clients say and get


@pytest.mark.parametrize(('changes', 'count'), [
    ({}, 3), ({'top_n': 2}, 2), ({'top_k': 1}, 1), ({'top_n': 0}, 3), ({'top_n': 99}, 3), ({'top_n': None}, 3),
])
@pytest.mark.parametrize('provider', ['vllm', 'ollama', 'tei'])
def test_best_documents_come_first_and_no_more_than_asked(changes, count, provider, door, add):
    add('box', provider=provider)
    assert order_of(door.post('/rerank', {**PAYLOAD, **changes})) == [1, 2, 0][:count]


@pytest.mark.parametrize(('path', 'changes', 'returned'), [
    ('/v1/rerank', {}, True), ('/rerank', {}, True), ('/v2/rerank', {}, False),
    ('/v1/rerank', {'return_documents': False}, False), ('/v2/rerank', {'return_documents': True}, True),
    ('/rerank', {'return_text': False}, False),
])
def test_documents_come_back_as_the_clients_of_each_path_expect(path, changes, returned, door, add):
    add('box', provider='vllm')
    results = door.post(path, {**PAYLOAD, **changes}).json['results']
    assert [result.get('document') for result in results] == [{'text': TEXTS[index]} if returned else None for index in (1, 2, 0)]


@pytest.mark.parametrize('documents', [
    TEXTS, [{'text': text} for text in TEXTS], [{'text': TEXTS[0]}, TEXTS[1], {'text': TEXTS[2], 'id': 7}],
], ids=['texts', 'objects', 'mixed'])
@pytest.mark.parametrize('key', ['documents', 'texts'])
def test_documents_may_be_texts_or_objects_under_either_name(documents, key, door, add):
    box = add('box', provider='vllm')
    answer = door.post('/rerank', {'model': 'm', 'query': PAYLOAD['query'], key: documents})
    assert order_of(answer) == [1, 2, 0]
    assert box.requests[0].json['documents'] == TEXTS


def test_fields_of_cohere_say_which_part_of_a_document_counts(door, add):
    add('box', provider='vllm')
    documents = [{'title': 'yellow', 'body': 'capital of France'}, {'title': 'capital of France', 'body': 'x'}]
    assert order_of(door.post('/v1/rerank', {**PAYLOAD, 'documents': documents, 'rank_fields': ['title']}))[0] == 1


def test_unknown_fields_reach_a_native_reranker(door, add):
    box = add('box', provider='vllm')
    door.post('/rerank', {**PAYLOAD, 'truncate_prompt_tokens': 9, 'instruction': 'by size'})
    assert (box.requests[0].json['truncate_prompt_tokens'], box.requests[0].json['instruction']) == (9, 'by size')


@pytest.mark.parametrize('path', PATHS)
@pytest.mark.parametrize('provider', ['vllm', 'ollama'])
def test_answer_has_every_key_the_clients_read(path, provider, door, add):
    add('box', provider=provider)
    answer = door.post(path, PAYLOAD).json
    assert answer['id'] and answer['object'] == 'list' and answer['model'] == 'm'
    assert answer['data'] == answer['results']
    assert answer['usage']['total_tokens'] >= answer['usage']['prompt_tokens'] >= 0
    assert answer['meta']['billed_units'] == {'search_units': 1} and answer['meta']['api_version'] == {'version': '2'}


def test_raw_scores_are_left_as_they_are(door, add):
    add('box', provider='llamacpp').answer('/v1/rerank', Reply.sample('llamacpp/rerank.json'))
    scores = [result['relevance_score'] for result in door.post('/rerank', PAYLOAD).json['results']]
    assert scores == [row['relevance_score'] for row in json.loads(read_sample('llamacpp/rerank.json'))['results']]


def test_scores_that_are_no_numbers_are_an_upstream_error(door, add):
    add('box', provider='vllm').answer('/v1/rerank', Reply.text('{"results": [{"index": 0, "relevance_score": NaN}]}'))
    assert door.post('/rerank', PAYLOAD).status_code == 502


@pytest.mark.parametrize(('changes', 'param'), [
    ({'documents': []}, 'documents'), ({'documents': [5]}, 'documents[0]'), ({'query': None}, 'query'), ({'top_n': -1}, 'top_n'),
    ({'model': ''}, 'model'),
])
def test_bad_request_names_its_parameter_and_asks_no_server(changes, param, door, add):
    box = add('box')
    answer = door.post('/rerank', {**PAYLOAD, **changes})
    assert (answer.status_code, answer.json['error']['param'], box.requests) == (400, param, [])


def test_silent_reranker_is_given_up(door, add):
    box = add('box', provider='vllm', timeout=0.1)
    box.answer('/v1/rerank', Reply(hang=True))
    assert door.post('/rerank', PAYLOAD).status_code == 504
    box.wait_for_disconnect()


def test_reranker_that_stops_in_the_middle_is_given_up(door):
    with FakeUpstream() as upstream:
        door.add('box', upstream, provider='vllm', timeout=0.1)
        upstream.answer('/v1/rerank', Reply(body=(b'{"results": [', math.inf)))
        assert door.post('/rerank', PAYLOAD).status_code == 504
        upstream.wait_for_disconnect()
