"""`flask chat`: with a real llmhost over HTTP, typed at a script's end, in the loop, and at a real terminal."""

import base64
import math

import pytest
from click.testing import CliRunner
from fake_upstream import Reply
from front_door import CHAT

from llmhost.cli.answer_text import AnswerText
from llmhost.cli.chat import Chat
from llmhost.cli.prompt import Prompt
from llmhost.config import Config
from llmhost.gateway.dialogue import Dialogue
from llmhost.gateway.running import RunningGateway

from .conftest import serving
from .terminal import Terminal

PNG = b'\x89PNG\r\n\x1a\n and so on'
TEXT = 'Hello from the fake model: naïve café, 你好 👋.'


def chunk(**delta):
    return {'id': 'c', 'object': 'chat.completion.chunk', 'created': 1, 'model': 'm',
            'choices': [{'index': 0, 'delta': delta, 'finish_reason': None}]}


END = {**chunk(), 'choices': [{'index': 0, 'delta': {}, 'finish_reason': 'stop'}]}


def say(*texts):
    return Reply.events(*(chunk(content=text) for text in texts), END)


@pytest.fixture
def one(door, upstream, served):
    """The server `one` with the models `m` and `n`; the URL of the llmhost."""
    door.add('one', upstream, models=('m', 'n'))
    return served


@pytest.fixture
def talk(one, app):
    """What the loop writes when these lines are typed."""
    def talk(*lines, model='m', system=None):
        services = app.extensions['llmhost']
        typed = iter(lines)

        def read_line(_):
            line = next(typed, EOFError())
            if isinstance(line, BaseException):
                raise line
            return line
        dialogue = Dialogue(RunningGateway(services.http_session, services.config, one), model, system)
        with CliRunner().isolation() as (out, err, _):
            Chat(dialogue, Prompt(read_line), AnswerText(True, False)).run()
            return out.getvalue().decode().splitlines(), err.getvalue().decode().splitlines()
    return talk


def sent(upstream):
    """The messages of each request, by role and content."""
    return [[(message['role'], message['content']) for message in request.json['messages']] for request in upstream.requests]


# a script

def test_message_on_standard_input_is_answered_in_plain_text(run, one, upstream):
    result = run('chat', '--model', 'm', '--url', one, '--system', 'Be brief.', typed='hi\nthere\n')
    assert (result.stdout, result.stderr) == (f'{TEXT}\n', '')
    assert sent(upstream) == [[('system', 'Be brief.'), ('user', 'hi\nthere')]]
    assert upstream.requests[0].json['stream'] is True


def test_first_model_answers_where_none_is_named(run, one, upstream):
    assert run('chat', '--url', f'{one}/v1', typed='hi').exit_code == 0
    assert upstream.requests[0].json['model'] == 'm'


def test_command_in_a_script_is_text(run, one, upstream):
    run('chat', '--url', one, '--model', 'm', typed='/quit')
    assert sent(upstream) == [[('user', '/quit')]]


def test_reasoning_is_not_part_of_a_scripts_answer(run, one, upstream):
    upstream.answer(CHAT, Reply.events(chunk(reasoning_content='Hmm.'), chunk(content='Yes'), END))
    assert run('chat', '--url', one, '--model', 'm', typed='hi').stdout == 'Yes\n'


@pytest.mark.parametrize(('reply', 'told'), [
    (Reply.error(400, 'The prompt is too long.'), 'The prompt is too long.'),
    (Reply.events(chunk(content='Ye'), {'error': {'message': 'Out of memory.', 'code': None}}), 'Out of memory.'),
    (Reply.events(chunk(content='Ye'), done=False, cut_after=1), 'broke off'),
])
def test_error_is_one_line_and_exit_code_1(run, one, upstream, reply, told):
    upstream.answer(CHAT, reply)
    result = run('chat', '--url', one, '--model', 'm', typed='hi')
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert told in result.stderr


def test_unknown_model_is_told(refused, one):
    assert "'nope' does not exist" in refused('chat', '--url', one, '--model', 'nope', typed='hi')


def test_nothing_to_say_is_wrong_usage(refused, one):
    assert 'no message on standard input' in refused('chat', '--url', one, typed=' \n', code=2)


def test_no_model_at_all_is_told_with_the_cure(refused, served):
    assert 'flask servers add' in refused('chat', '--url', served, typed='hi')


@pytest.mark.parametrize('settings', [{'bind': '127.0.0.1:9'}])
def test_llmhost_that_does_not_run_is_told_with_the_cure(refused):
    assert refused('chat', typed='hi') == 'No llmhost answers at http://127.0.0.1:9. Start it: flask up'


@pytest.mark.parametrize('url', ['ftp://here', 'http://', 'http://a:b', '://'])
def test_address_that_is_none_is_refused(refused, url):
    assert 'is no address of an llmhost' in refused('chat', '--url', url, typed='hi')


@pytest.mark.parametrize('settings', [{'variables': {'MY_KEY': 'sk-wrong'}}])
def test_key_is_asked_for_and_taken_from_the_named_variable(refused, run, app, one):
    key = app.extensions['llmhost'].keys.create('a')
    assert '--api-key-env VAR' in refused('chat', '--url', one, typed='hi')
    assert refused('chat', '--url', one, '--api-key-env', 'MY_KEY', typed='hi') == f'{one} refuses the API key.'
    assert 'NONE is not set here' in refused('chat', '--url', one, '--api-key-env', 'NONE', typed='hi')
    app.extensions['llmhost'].config.variables['MY_KEY'] = key
    assert run('chat', '--url', one, '--api-key-env', 'MY_KEY', typed='hi').exit_code == 0


# the loop

def test_conversation_is_kept_and_begun_anew(talk, upstream):
    upstream.answer(CHAT, say('A', 'B'), say('C'), say('D'))
    out, err = talk('one', 'two', '/new', 'three', '/quit', 'never')
    assert sent(upstream) == [
        [('user', 'one')], [('user', 'one'), ('assistant', 'AB'), ('user', 'two')], [('user', 'three')]]
    assert 'AB' in out and err == []


def test_retry_asks_the_same_in_place_of_the_answer(talk, upstream):
    upstream.answer(CHAT, say('A'), Reply.error(500, 'Broken.'), say('B'), say('C'))
    _, err = talk('/retry', 'one', 'two', '/retry', '/retry')
    assert sent(upstream)[1:] == [[('user', 'one'), ('assistant', 'A'), ('user', 'two')]] * 3
    assert err == ['Error: Nothing was asked yet.', 'Error: Broken.']


def test_model_is_listed_and_changed(talk, upstream):
    out, err = talk('/model', '/model nope', '/model n', '/model', 'hi')
    assert out[1:5] == ['* m', '  n', '  m', '* n']
    assert 'nope' in err[0] and len(err) == 1
    assert upstream.requests[0].json['model'] == 'n'


def test_system_prompt_is_set_and_taken_away(talk, upstream):
    talk('/system Be brief.', 'one', '/new', '/system', 'two')
    assert sent(upstream) == [[('system', 'Be brief.'), ('user', 'one')], [('user', 'two')]]


def test_image_goes_with_the_next_message_alone(talk, upstream, tmp_path):
    path = tmp_path / 'a picture'
    path.write_bytes(PNG)
    talk(f"/image '{path}'", 'What is it?', 'And now?')
    url = f'data:image/png;base64,{base64.b64encode(PNG).decode()}'
    first, second = sent(upstream)
    assert first == [('user', [{'type': 'text', 'text': 'What is it?'}, {'type': 'image_url', 'image_url': {'url': url}}])]
    assert second[-1] == ('user', 'And now?')


def test_message_may_have_many_lines(talk, upstream):
    talk('one \\', 'two', '"""three', '/quit', 'four"""', '"""', 'five', '"""', ' /help')
    assert [messages[-1][1] for messages in sent(upstream)] == ['one \ntwo', 'three\n/quit\nfour', 'five', '/help']


def test_unknown_command_is_told_and_not_sent(talk, upstream):
    _, err = talk('/etc/hosts is what?', '/image', '/image /nowhere.png')
    assert err == [
        'Error: There is no command /etc/hosts: /help lists them.', 'Error: Name the image: /image PATH',
        'Error: /nowhere.png is not there.']
    assert upstream.requests == []


def test_interrupts_at_the_prompt_end_it_when_nothing_is_between(talk, upstream):
    stop = KeyboardInterrupt()
    _, err = talk(stop, 'one', stop, stop, 'two')
    assert len(sent(upstream)) == 1
    assert err == ['Ctrl-C once more, or Ctrl-D, to quit.'] * 2


def test_terminal_is_sent_no_control_characters_of_a_model(talk, upstream):
    upstream.answer(CHAT, say('a\x1b[2Jb\x07\x9bc\r\nd'))
    out, _ = talk('hi')
    assert out[1:3] == ['a[2Jbc', 'd']


def test_pace_is_told(talk):
    out, _ = talk('hi')
    assert 'first after' in out[2] and out[2].endswith(' s')


# settings

@pytest.mark.parametrize(('bind', 'url'), [
    ('127.0.0.1:4080', 'http://127.0.0.1:4080'), ('0.0.0.0:81', 'http://127.0.0.1:81'), (':81', 'http://127.0.0.1:81'),
    ('[::]:81', 'http://[::1]:81'), ('[fe80::1]:81', 'http://[fe80::1]:81'), ('unix:/run/a.sock', 'unix:/run/a.sock'),
])
def test_address_is_that_of_the_settings(tmp_path, app, bind, url):
    assert RunningGateway(app.extensions['llmhost'].http_session, Config(data_dir=tmp_path, bind=bind)).url == url


def test_llmhost_on_a_unix_socket_is_talked_with(run, app, door, upstream, tmp_path):
    door.add('one', upstream)
    with serving(app, host=f'unix://{tmp_path}/a.sock'):
        assert run('chat', '--url', f'unix:{tmp_path}/a.sock', typed='hi').stdout == f'{TEXT}\n'


# a terminal

@pytest.mark.parametrize('settings', [{'keepalive_interval': 0.1}])
def test_interrupt_stops_the_answer_and_not_the_program(one, upstream, tmp_path):
    thought, begun = chunk(reasoning_content='Hmm.'), chunk(content='Once upon')
    upstream.answer(CHAT, Reply.events(thought, begun, math.inf), say(' a time.'))
    with Terminal(['chat', '--url', one], tmp_path / 'mine') as terminal:
        terminal.wait_for('> ')
        terminal.type('Tell me.\n')
        assert '\x1b[2mHmm.' in terminal.wait_for('Once upon')
        terminal.type('\x03')
        terminal.wait_for('stopped')
        upstream.wait_for_disconnect()
        terminal.wait_for('> ')
        terminal.type('Go on.\n')
        terminal.wait_for(' a time.')
        terminal.wait_for('> ')
        terminal.type('\x04')
        assert terminal.wait_for_end() == 0
    assert sent(upstream)[1] == [('user', 'Tell me.'), ('assistant', 'Once upon'), ('user', 'Go on.')]
    history = tmp_path / 'mine' / 'chat_history'
    assert history.read_text().splitlines() == ['Tell me.', 'Go on.']
    assert history.stat().st_mode & 0o777 == 0o600


def test_interrupts_at_the_prompt_quit(one, tmp_path):
    with Terminal(['chat', '--url', one], tmp_path / 'mine') as terminal:
        terminal.wait_for('> ')
        terminal.press_until('\x03', 'to quit.')
        terminal.wait_for('> ')
        terminal.press_until('\x03', None)
        assert terminal.wait_for_end() == 0
