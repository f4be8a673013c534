"""`flask chat`: talk in the console with a running llmhost."""

import sys
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

import click
from flask.cli import with_appcontext

from llmhost.cli.answer_text import AnswerText, describe
from llmhost.cli.output import api_key_env_option, failing_clearly, has_colour, printable, services
from llmhost.cli.prompt import History, Prompt, Typed
from llmhost.errors import LLMHostError
from llmhost.services import Dialogue, Piece

HELP = '''\
/model [ID]     talk with another model; without ID: list them
/system TEXT    set the system prompt; without TEXT: take it away
/image PATH     put an image into the next message
/new            forget the conversation
/retry          ask the last message again
/help           this
/quit           or Ctrl-D

A line ending in \\ goes on in the next; """ begins and ends a message of lines.
A line that begins with a space is no command. Ctrl-C stops an answer; what
came of it stays in the conversation.'''


@click.command('chat')
@click.option('--model', metavar='M', help='The model. Default: the first there is.')
@click.option('--system', metavar='S', help='The system prompt.')
@click.option('--url', metavar='URL', help='Another llmhost. Default: that of LLMHOST_BIND (http://127.0.0.1:4080).')
@api_key_env_option
@with_appcontext
@failing_clearly
def command(model: str | None, system: str | None, url: str | None, api_key_env: str | None) -> None:
    """Talk with a model of the running llmhost.

    Where standard input is no terminal, all of it is one message, and the answer's text is all that is printed:

    \b
    echo 'Name a colour.' | flask chat --model qwen
    """
    parts = services()
    dialogue = parts.open_dialogue(model, system, url, api_key_env)
    is_person = sys.stdin.isatty()
    answer_text = AnswerText(is_person and sys.stdout.isatty(), has_colour(parts.config))
    if is_person:
        with History(parts.config.data_dir / 'chat_history'):
            Chat(dialogue, Prompt(), answer_text).run()
    else:
        answer_once(dialogue, answer_text)


def answer_once(dialogue: Dialogue, answer_text: AnswerText) -> None:
    """One message from standard input, one answer."""
    text = sys.stdin.buffer.read().decode(errors='replace').strip()
    if not text:
        raise click.UsageError('There is no message on standard input.')
    with closing(dialogue.say(text)) as pieces:
        answer_text.show(pieces)


class Chat:
    """The loop: what was typed is a command or a message, until the person is done."""

    def __init__(self, dialogue: Dialogue, prompt: Prompt, answer_text: AnswerText) -> None:
        self._dialogue = dialogue
        self._prompt = prompt
        self._answer_text = answer_text
        self._commands: dict[str, Callable[[str], None]] = {
            '/model': self._use_model, '/system': self._set_system, '/image': self._attach, '/new': self._clear,
            '/retry': self._retry, '/help': self._help,
        }

    def run(self) -> None:
        """Raises LLMHostError where there is nobody to talk with."""
        self._answer_text.note(f'{self._dialogue.model} at {self._dialogue.url} · /help lists the commands')
        while (typed := self._prompt.read()) is not None and typed != Typed('/quit', is_command=True):
            try:
                self._obey(typed)
            except LLMHostError as error:
                click.echo(f'Error: {printable(one_line(error.message))}', err=True)
            except KeyboardInterrupt:
                self._answer_text.note('stopped')

    def _obey(self, typed: Typed) -> None:
        if not typed.is_command:
            self._show(self._dialogue.say(typed.text))
            return
        name, _, rest = typed.text.partition(' ')
        if name not in self._commands:
            click.echo(f'Error: There is no command {printable(name)}: /help lists them.', err=True)
            return
        self._commands[name](rest.strip())

    def _show(self, pieces: Generator[Piece | None, None, None]) -> None:
        with closing(pieces):
            self._answer_text.show(pieces)
        self._answer_text.note(describe(self._dialogue.pace))

    def _retry(self, _: str) -> None:
        self._show(self._dialogue.retry())

    def _help(self, _: str) -> None:
        click.echo(HELP)

    def _use_model(self, name: str) -> None:
        if name:
            self._dialogue.use(name)
            return
        for model in self._dialogue.models():
            click.echo(f'{"*" if model == self._dialogue.model else " "} {printable(model)}')

    def _set_system(self, text: str) -> None:
        self._dialogue.system = text or None
        if not text:
            click.echo('No system prompt.')

    def _attach(self, path: str) -> None:
        if not path:
            click.echo('Error: Name the image: /image PATH', err=True)
            return
        self._dialogue.attach(path_typed(path))
        click.echo('It goes with the next message.')

    def _clear(self, _: str) -> None:
        self._dialogue.clear()
        click.echo('A new conversation.')


def path_typed(text: str) -> Path:
    """A path as typed, or as a terminal writes one that was dropped on it: in quotes, or with backslashes."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in '\'"':
        text = text[1:-1]
    path = Path(text).expanduser()
    return path if path.exists() else Path(text.replace('\\', '')).expanduser()


def one_line(text: str) -> str:
    return ' '.join(text.split())
