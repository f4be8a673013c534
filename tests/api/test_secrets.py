"""Secrets are planted everywhere, then looked for in all that leaves: answers, errors, logs, metrics, files, the console."""

import json
import logging

import pytest
from fake_upstream import FakeUpstream, Reply
from front_door import CHAT

SERVER_KEY = 'sk-server-5ecret-aaaa'
HEADER = 'header-5ecret-bbbb'
FIXED_KEY = 'sk-fixed-5ecret-cccc'
WORDS = 'the words of a 5ecret message'
ANSWER = 'the words of a 5ecret answer'
OWN = (SERVER_KEY, HEADER, FIXED_KEY)
ECHO = f'Incorrect API key provided: {SERVER_KEY} (Bearer {SERVER_KEY}), X-Team was {HEADER}'


@pytest.fixture
def settings():
    return {'api_key': FIXED_KEY, 'log_level': 'DEBUG'}


@pytest.fixture
def upstream():
    with FakeUpstream(text=ANSWER) as upstream:
        yield upstream


@pytest.fixture
def logged(app, caplog):
    """All log output so far, as text."""
    caplog.set_level(logging.DEBUG)
    loggers = [logging.getLogger(name) for name in ('llmhost', 'llmhost.request')]
    for logger in loggers:
        logger.addHandler(caplog.handler)
    yield lambda: caplog.text + ' '.join(str(record.__dict__) for record in caplog.records)
    for logger in loggers:
        logger.removeHandler(caplog.handler)


@pytest.fixture
def guarded(door, upstream, logged):
    door.add('one', upstream, api_key=SERVER_KEY, headers={'X-Team': HEADER})
    return door


def ask(door, key=FIXED_KEY, **changes):
    message = {'role': 'user', 'content': WORDS}
    return door.post(CHAT, {'model': 'm', 'messages': [message], **changes}, headers={'Authorization': f'Bearer {key}'})


def assert_free_of(text, *secrets):
    assert not [secret for secret in secrets if secret in text]


ECHOES = {
    'error': Reply.error(401, ECHO, code=SERVER_KEY, param=HEADER),
    'error as text': Reply.json({'error': ECHO}, 400),
    'error of FastAPI': Reply.json({'detail': [{'msg': ECHO, 'input': {'authorization': SERVER_KEY}}]}, 422),
    'error under 200': Reply.json({'error': {'message': ECHO, 'code': 500}}),
    'error worth another': Reply.error(503, ECHO),
    'error event': Reply.events({'error': {'message': ECHO, 'code': SERVER_KEY}}),
    'error event after a chunk': Reply.events(
        {'choices': [{'index': 0, 'delta': {'content': 'a'}}]}, {'error': {'message': ECHO}}),
}


@pytest.mark.parametrize('stream', [False, True])
@pytest.mark.parametrize('echo', ECHOES.values(), ids=ECHOES.keys())
def test_key_that_the_upstream_quotes_is_masked(guarded, upstream, logged, echo, stream):
    upstream.always(CHAT, echo)
    response = ask(guarded, stream=stream)
    assert_free_of(response.text + str(response.headers) + logged(), *OWN, WORDS)
    if 'event' in str(echo.headers) == stream:
        assert '***' in response.text


@pytest.mark.parametrize('stream', [False, True])
def test_success_leaves_nothing_of_keys_and_messages_in_the_log(guarded, upstream, logged, stream):
    assert '5ecret' in ask(guarded, stream=stream).text
    assert upstream.requests[-1].headers['authorization'] == f'Bearer {SERVER_KEY}'
    assert logged()
    assert_free_of(logged(), *OWN, WORDS, ANSWER, '5ecret')


@pytest.mark.parametrize('reply', [
    Reply(drop=True), Reply.text('<html>no</html>', 500), Reply.text('no json'), Reply.json([ANSWER]),
    Reply.json({'choices': ANSWER}), Reply.events({'choices': ANSWER}), Reply.events(f'data: {ANSWER}\n\n'),
    Reply.events({'choices': []}, done=False),
])
@pytest.mark.parametrize('stream', [False, True])
def test_failure_leaves_nothing_of_keys_and_messages_in_the_log(guarded, upstream, logged, reply, stream):
    upstream.always(CHAT, reply)
    ask(guarded, stream=stream)
    assert_free_of(logged(), *OWN, WORDS, '5ecret')


@pytest.mark.parametrize('changes', [
    {'temperature': WORDS}, {'messages': [{'role': WORDS, 'content': WORDS}]}, {'model': 'nothing'}, {'messages': WORDS},
    {'stop': {WORDS: 1}}, {'logit_bias': {'1': WORDS}},
])
def test_refused_request_leaves_nothing_of_its_messages_in_the_log(guarded, logged, changes):
    assert ask(guarded, **changes).status_code in (400, 404)
    assert_free_of(logged(), *OWN, WORDS)


@pytest.mark.parametrize('key', ['sk-wrong-5ecret-dddd', f'{FIXED_KEY}x', FIXED_KEY[:-1]])
def test_wrong_key_is_not_repeated(guarded, logged, key):
    response = ask(guarded, key)
    assert response.status_code == 401
    assert_free_of(response.text + logged(), key, FIXED_KEY)


def test_key_of_the_keys_file_is_known_by_name_alone(guarded, logged):
    key = guarded.services.keys.create('laptop')
    assert ask(guarded, key).status_code == 200
    stored = (guarded.services.config.data_dir / 'keys.json').read_text()
    assert_free_of(logged() + stored, key, key.removeprefix('sk-llmhost-'))
    assert "'laptop'" in logged()


@pytest.mark.parametrize('path', ['/metrics', '/health', '/v1/models', '/v1/models/m', '/readyz'])
def test_endpoints_for_machines_hold_no_secret(guarded, upstream, path):
    upstream.always(CHAT, ECHOES['error'])
    ask(guarded)
    text = guarded.client.get(path, headers={'X-Api-Key': FIXED_KEY}).text
    assert text
    assert_free_of(text, *OWN, '5ecret')


@pytest.mark.parametrize('arguments', [
    ('servers', 'list'), ('servers', 'list', '--json'), ('servers', 'show', 'one'), ('servers', 'show', 'one', '--json'),
    ('servers', 'check'), ('servers', 'check', 'one'), ('servers', 'update', 'one', '--url', 'http://127.0.0.1:9'),
    ('servers', 'update', 'one', '--header', 'X-Team=header-5ecret-other'), ('servers', 'disable', 'one'),
    ('servers', 'add', 'one', 'http://127.0.0.1:9', '--header', f'X-Team={HEADER}'), ('keys', 'list', '--json'),
])
@pytest.mark.parametrize('status', [200, 401])
def test_console_prints_no_secret(guarded, upstream, runner, status, arguments):
    if status != 200:
        upstream.always('/v1/models', lambda request: Reply.error(status, f'You sent {request.headers}'))
    assert_free_of(runner.invoke(args=arguments).output, *OWN, '5ecret')


def test_broken_registry_is_reported_without_what_it_holds(guarded, runner, logged):
    registry = guarded.services.config.data_dir / 'servers.json'
    registry.write_text(registry.read_text().replace('"url"', 'url'))
    output = runner.invoke(args=['servers', 'list']).output
    guarded.get('/v1/models')
    ask(guarded)
    assert 'not valid JSON' in output + logged()
    assert_free_of(output + logged(), *OWN)


def test_services_show_no_secret_when_printed(guarded):
    server = guarded.services.registry.get('one')
    route = guarded.services.router.table().routes['one']
    assert_free_of(f'{server!r} {route!r} {guarded.services.keys.list()!r} {guarded.services.config!r}', *OWN)


def test_stored_files_are_the_owners_alone(guarded):
    guarded.observe('one')
    guarded.services.keys.create('a')
    folder = guarded.services.config.data_dir
    files = [path for path in folder.iterdir() if path.is_file()]
    assert {path.name for path in files} >= {'servers.json', 'keys.json', 'status.json'}
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {'0o600'}
    assert json.loads((folder / 'servers.json').read_text())['servers']['one']['api_key'] == SERVER_KEY
    assert_free_of((folder / 'status.json').read_text(), *OWN)
