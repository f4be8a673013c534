"""The application factory, and the `llmhost` command."""

import click
from flask import Flask
from flask.cli import FlaskGroup

from llmhost import api, cli, logs, serving
from llmhost.config import Config, load_config
from llmhost.errors import ConfigurationError
from llmhost.services import Services


def create_app(config: Config | None = None) -> Flask:
    """The application, wired. Without `config`, settings come from the environment. Raises ConfigurationError."""
    services = Services(serving.config_of_flask_run(config or _load_config()))
    app = Flask('llmhost', static_folder=None)
    app.extensions['llmhost'] = services
    logs.configure(services.config.log_level, services.config.log_format)
    api.register(app, services)
    cli.register(app)
    serving.start_host_under_flask_run(services.config)
    return app


def _load_config() -> Config:
    """As `load_config`; under a command, a bad setting is one line on stderr and exit code 1."""
    try:
        return load_config()
    except ConfigurationError as error:
        if click.get_current_context(silent=True) is None:
            raise
        raise click.ClickException(error.message) from error


def main() -> None:
    """The installed `llmhost` command: the same commands as `flask` in the checkout."""
    FlaskGroup(create_app=create_app, help='One OpenAI-compatible address for every model server.')()
