"""The README is complete, and what it shows works."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import click
import pytest

from llmhost.app import create_app
from llmhost.config import Config

README = (Path(__file__).parent.parent / 'README.md').read_text()
CODE = ' '.join(re.findall(r'`([^`\n]+)`', README)) + '\n'.join(re.findall(r'```\w*\n(.*?)```', README, re.S))


@pytest.fixture(scope='module')
def application(tmp_path_factory):
    return create_app(Config(data_dir=tmp_path_factory.mktemp('data')))


def iter_commands(group, path=()):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from iter_commands(command, (*path, name))
        else:
            yield (*path, name), command


def test_every_command_is_documented(application):
    missing = [' '.join(path) for path, _ in iter_commands(application.cli) if f'flask {" ".join(path)}' not in CODE]
    assert not missing


def test_every_option_is_documented(application):
    options = {
        option for _, command in iter_commands(application.cli) for parameter in command.params
        for option in parameter.opts if option.startswith('--')
    }
    assert not {option for option in options if option not in CODE}


def test_every_setting_is_documented():
    settings = [f'LLMHOST_{field.name.upper()}' for field in fields(Config) if not field.metadata]
    assert not [setting for setting in settings if f'`{setting}`' not in README]


def test_every_endpoint_is_documented(application):
    paths = [re.sub(r'<\w+:(\w+)>', '{id}', rule.rule) for rule in application.url_map.iter_rules()]
    assert not [path for path in paths if path not in CODE]


def test_no_command_is_documented_that_does_not_exist(application):
    known = {' '.join(path) for path, _ in iter_commands(application.cli)}
    shown = {' '.join(match) for match in re.findall(r'flask (servers|presets|keys) ([a-z]+)', CODE)}
    assert shown <= known


@pytest.mark.parametrize('line', [
    line for line in re.findall(r'^flask servers add .*', README, re.M) if '--gguf' not in line
])
def test_server_additions_shown_work(application, line):
    arguments = shlex.split(line, comments=True)[1:]
    result = application.test_cli_runner().invoke(args=[*arguments, '--no-check'])
    assert result.exit_code == 0, result.output
