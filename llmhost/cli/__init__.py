"""The console: one module a group of commands."""

from flask import Flask

from llmhost.cli import keys, servers, up


def register(app: Flask) -> None:
    """Put the commands under `flask` (and `llmhost`)."""
    for command in (servers.group, keys.group, up.command):
        app.cli.add_command(command)
