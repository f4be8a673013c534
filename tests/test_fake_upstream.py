import json
import math
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from fake_upstream import FakeUpstream, Raw, Reply, encode_event, read_sample, split
from openapi_check import check, check_stream

CHAT = '/v1/chat/completions'
HELLO = {'model': 'fake-small', 'messages': [{'role': 'user', 'content': 'Hello'}]}
TOOLS = [{'type': 'function', 'function': {'name': name, 'parameters': {'type': 'object', 'required': ['city']}}}
         for name in ('get_weather', 'get_time')]
SAMPLES = Path(__file__).parent / 'samples'


@pytest.fixture
def upstream():
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture
def http_session():
    with requests.Session() as http_session:
        yield http_session


@pytest.fixture
def chat(upstream, http_session):
    def chat(**changes):
        return http_session.post(upstream.url + CHAT, json={**HELLO, **changes}, stream=True, timeout=5)
    return chat


def read_pieces(response):
    """What arrived, a read at a time, and the error that ended it, if one did."""
    found = SimpleNamespace(pieces=[], error=None)
    try:
        found.pieces.extend(response.iter_content(None))
    except requests.RequestException as error:
        found.error = error
    return found


def test_start_and_stop_are_quick_and_leave_no_thread():
    before, start = threading.active_count(), time.monotonic()
    with FakeUpstream() as upstream:
        assert time.monotonic() - start < 0.05
        with requests.get(upstream.url + '/health', timeout=5) as response:
            assert response.json() == {'status': 'ok'}
    assert threading.active_count() == before


def test_models_are_listed_as_openai_does(upstream, http_session):
    listed = http_session.get(upstream.url + '/v1/models').json()
    check('ListModelsResponse', listed)
    check('Model', http_session.get(upstream.url + '/v1/models/fake-large').json())
    assert [model['id'] for model in listed['data']] == ['fake-small', 'fake-large']


@pytest.mark.parametrize('payload', [{}, {'tools': TOOLS, 'tool_choice': 'required'}, {'max_tokens': 2}])
def test_completion_fits_openais_description(chat, payload):
    check('CreateChatCompletionRequest', {**HELLO, **payload})
    completion = chat(**payload).json()
    check('CreateChatCompletionResponse', completion)


@pytest.mark.parametrize('payload', [{}, {'tools': TOOLS, 'tool_choice': 'required'}])
@pytest.mark.parametrize('include_usage', [True, False])
def test_stream_fits_openais_description(chat, payload, include_usage):
    response = chat(stream=True, stream_options={'include_usage': include_usage}, **payload)
    chunks = check_stream('CreateChatCompletionStreamResponse', response.content)
    assert chunks[0]['choices'][0]['delta']['role'] == 'assistant'
    assert bool(chunks[-1].get('usage')) is include_usage


def test_streamed_words_are_the_completions_text(chat):
    chunks = check_stream('CreateChatCompletionStreamResponse', chat(stream=True).content)
    words = [chunk['choices'][0]['delta'].get('content') or '' for chunk in chunks]
    assert ''.join(words) == chat().json()['choices'][0]['message']['content']


def test_tools_are_called_as_the_last_message_says_and_their_results_told(chat):
    user = {'role': 'user', 'content': 'call get_time {"city": "Paris"}\ncall get_weather {"city": "Rome"}'}
    message = chat(messages=[user], tools=TOOLS).json()['choices'][0]['message']
    assert [call['function']['name'] for call in message['tool_calls']] == ['get_time', 'get_weather']
    results = [{'role': 'tool', 'tool_call_id': call['id'], 'content': 'ok'} for call in message['tool_calls']]
    answer = chat(messages=[user, message, *results], tools=TOOLS).json()['choices'][0]['message']
    assert answer['content'] == 'The tools say: ok | ok'


def test_embeddings_of_texts_that_share_words_are_nearer(upstream, http_session):
    def embed(given, **changes):
        payload = {'model': 'e', 'input': given, **changes}
        document = http_session.post(upstream.url + '/v1/embeddings', json=payload).json()
        check('CreateEmbeddingResponse', document)
        return [item['embedding'] for item in document['data']]
    one, near, far = embed(['a red apple', 'the red apple', 'blue sky above'])
    assert sum(x * y for x, y in zip(one, near)) > sum(x * y for x, y in zip(one, far))
    assert isinstance(embed('a', encoding_format='base64')[0], str)
    assert embed([1, 2, 3]) == embed([[3, 2, 1]])
    assert len(embed('a', dimensions=8)[0]) == 8


@pytest.mark.parametrize('path', ['/rerank', '/v1/rerank', '/v2/rerank'])
def test_rerank_sorts_by_shared_words(upstream, http_session, path):
    documents = ['bananas', 'Paris, capital of France']
    payload = {'model': 'r', 'query': 'capital of France', 'documents': documents, 'top_n': 1}
    results = http_session.post(upstream.url + path, json=payload).json()['results']
    assert [result['index'] for result in results] == [1]


def test_bad_requests_are_refused_in_openais_envelope(http_session):
    with FakeUpstream(strict_models=True, api_key='k') as upstream:
        key = {'authorization': 'Bearer k'}
        answers = [
            http_session.post(upstream.url + CHAT, json={**HELLO, 'model': 'm'}, headers=key),
            http_session.post(upstream.url + CHAT, json=HELLO),
            http_session.get(upstream.url + '/props', headers=key),
            http_session.post(upstream.url + CHAT, json={'model': 'fake-small'}, headers=key),
            http_session.post(upstream.url + CHAT, json={**HELLO, 'messages': []}, headers=key),
            http_session.post(upstream.url + CHAT, data='{', headers=key),
        ]
    assert [answer.status_code for answer in answers] == [404, 401, 404, 400, 400, 400]
    for answer in answers:
        check('ErrorResponse', answer.json())


def test_requests_are_recorded_with_the_connection_they_came_over(upstream, chat):
    chat(n=1).content, chat(n=2).content
    first, second = upstream.requests
    assert (first.method, first.path, first.json['n'], second.json['n']) == ('POST', CHAT, 1, 2)
    assert first.headers['content-type'] == 'application/json'
    assert first.connection == second.connection == upstream.accepted == 1


def test_chunked_request_is_read(upstream, http_session):
    http_session.post(upstream.url + CHAT, data=iter([b'{"model":', b'"m"}']))
    assert upstream.requests[0].json == {'model': 'm'}


def test_set_answers_come_in_turn_and_then_the_usual_one(upstream, chat):
    upstream.answer(CHAT, Reply.error(429, 'slow down', headers={'retry-after': '3'}), Reply(503),
                    lambda request: Reply.json({'n': request.number}))
    assert [chat().status_code, chat().status_code, chat().json(), chat().status_code] == [429, 503, {'n': 3}, 200]


def test_answer_for_all_stands_until_reset(upstream, chat):
    upstream.always('*', Reply(500, body=b'no'))
    assert [chat().status_code, chat().status_code] == [500, 500]
    upstream.reset()
    assert chat().status_code == 200
    assert len(upstream.requests) == 1


@pytest.mark.parametrize('reply', [
    Reply(hang=True),
    Reply(delay=30),
    Reply.events({'a': 1}, math.inf),
    Reply.events({'a': 1}, 30.0),
    Reply.events(*[{'a': 1}] * 10000, gap=0.01),
    Reply.events(b'x' * 1000000, *[b'y' * 1000000] * 100),
], ids=['hang', 'delay', 'silent stream', 'pause', 'drip', 'client does not read'])
def test_leaving_client_is_noticed_at_once(upstream, reply):
    upstream.answer(CHAT, reply)
    with socket.create_connection(('127.0.0.1', upstream.port)) as sock:
        sock.sendall(f'POST {CHAT} HTTP/1.1\r\ncontent-length: 2\r\n\r\n{{}}'.encode())
        upstream.wait_for_request()
        time.sleep(0.05)
        left_at = time.monotonic()
    assert 0 <= upstream.wait_for_disconnect() - left_at < 0.1
    assert upstream.requests[0].gone_at
    upstream.wait_until(lambda upstream: upstream.open_connections == upstream.under_way == 0)


def test_client_that_leaves_between_requests_is_no_disconnect(upstream, chat, http_session):
    assert chat().json()
    http_session.close()
    upstream.wait_until(lambda upstream: upstream.open_connections == 0)
    with pytest.raises(TimeoutError):
        upstream.wait_for_disconnect(0.02)


@pytest.mark.parametrize('reset', [True, False])
def test_cut_stream_breaks_off_without_its_end(upstream, chat, reset):
    upstream.answer(CHAT, Reply.events({'a': 1}, {'a': 2}, cut_after=1, reset=reset))
    found = read_pieces(chat())
    assert (b''.join(found.pieces), bool(found.error)) == (encode_event({'a': 1}), True)


def test_cut_body_is_shorter_than_announced(upstream, chat):
    upstream.answer(CHAT, Reply.json({'a': 'b' * 100}, cut_after=10))
    assert read_pieces(chat()).error


def test_dropped_request_gets_no_answer(upstream, chat):
    upstream.answer(CHAT, Reply(drop=True))
    with pytest.raises(requests.ConnectionError):
        chat()


def test_idle_connection_is_closed_though_announced_as_kept(upstream, chat):
    upstream.answer(CHAT, Reply.json({}, close_idle=True))
    assert 'connection' not in chat().headers
    upstream.wait_until(lambda upstream: upstream.open_connections == 0)
    assert chat().json()['model'] == 'fake-small'
    assert upstream.accepted == 2


def test_refusing_upstream_comes_back_on_the_same_port(upstream, chat):
    upstream.refuse()
    with pytest.raises(requests.ConnectionError):
        chat()
    upstream.listen()
    assert chat().status_code == 200


def test_garbage_breaks_the_framing(upstream, chat):
    upstream.answer(CHAT, Reply.events({'a': 1}, Raw(b'zz\r\n')))
    assert read_pieces(chat()).error


def test_stream_is_cut_into_segments_inside_characters(upstream, chat):
    whole = encode_event({'text': '你好 👋'}) + b'data: [DONE]\n\n'
    upstream.answer(CHAT, Reply.events({'text': '你好 👋'}, segment=1, gap=0.002))
    pieces = read_pieces(chat()).pieces
    assert b''.join(pieces) == whole
    assert len(pieces) > len(whole) / 2


def test_stream_with_comments_crlf_and_joined_events(upstream, chat):
    upstream.answer(CHAT, Reply.events(': hi\n\n', {'a': 1}, newline='\r\n', segment=sys.maxsize, done=False))
    assert read_pieces(chat()).pieces == [b': hi\r\n\r\ndata: {"a":1}\r\n\r\n']


def test_split_cuts_at_positions_from_either_end():
    assert split(b'abcdef', 2, -1) == [b'ab', b'cde', b'f']


def test_http_10_client_gets_an_unframed_stream_and_the_end(upstream):
    with socket.create_connection(('127.0.0.1', upstream.port)) as sock:
        sock.sendall(b'GET /v1/models HTTP/1.0\r\n\r\n')
        answer = sock.makefile('rb').read()
    assert b'connection: close' in answer and answer.endswith(b'}')


@pytest.mark.parametrize('path', sorted(SAMPLES.glob('*/*.*')), ids=lambda path: f'{path.parent.name}/{path.name}')
def test_sample_is_served_unchanged(upstream, chat, path):
    name = f'{path.parent.name}/{path.name}'
    upstream.answer(CHAT, Reply.sample(name))
    response = chat()
    assert response.content == read_sample(name)
    assert (response.status_code == 200) is ('error_' not in path.name or 'stream_error' in name or '_200' in name)


@pytest.mark.parametrize(('file', 'schema'), [
    ('chat.json', 'CreateChatCompletionResponse'), ('chat_tools.json', 'CreateChatCompletionResponse'),
    ('models.json', 'ListModelsResponse'), ('embeddings.json', 'CreateEmbeddingResponse'),
    ('embeddings_base64.json', 'CreateEmbeddingResponse'), ('completion.json', 'CreateCompletionResponse'),
    ('error_429.json', 'ErrorResponse'), ('error_context.json', 'ErrorResponse'),
])
def test_openai_sample_fits_openais_description(file, schema):
    check(schema, json.loads(read_sample(f'openai/{file}')))


@pytest.mark.parametrize('file', ['stream.txt', 'stream_tools.txt', 'stream_error.txt'])
def test_openai_stream_fits_openais_description(file):
    check_stream('CreateChatCompletionStreamResponse', read_sample(f'openai/{file}'))


def test_check_names_the_path_of_a_fault():
    with pytest.raises(AssertionError, match=r'\$\.created: .*is not of type'):
        check('Model', {'id': 'm', 'object': 'model', 'created': 'now', 'owned_by': 'me'})


@pytest.mark.parametrize('text', ['', 'data: {"a"', 'data: [DONE]\n', ': only\n\n'])
def test_check_of_an_unfinished_stream_fails(text):
    with pytest.raises(AssertionError, match='the stream ends'):
        check_stream('CreateChatCompletionStreamResponse', text)


@pytest.mark.parametrize('options', [[], ['--greenlets']])
def test_program_says_where_it_listens(http_session, options):
    command = [sys.executable, str(Path(__file__).parent / 'fake_upstream'), '--tokens', '3', '--until-eof', *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().split()[1]
        completion = http_session.post(url + CHAT, json=HELLO, timeout=5).json()
        process.stdin.close()
    assert completion['usage']['completion_tokens'] == 3
    assert process.returncode == 0
