"""The console: one module a group of commands."""

from flask import Flask

from llmhost.cli import chat, keys, models, presets, servers, top, up


def register(app: Flask) -> None:
    """Put the commands under `flask` (and `llmhost`)."""
    for command in (servers.group, models.group, presets.group, keys.group, up.command, chat.command, top.command):
        app.cli.add_command(command)
