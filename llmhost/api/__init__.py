"""The HTTP interface: one module an endpoint."""

from flask import Flask

from llmhost.api import completions, cors, errors, health, models, request_log, rerank, unread
from llmhost.api.departures import Departures
from llmhost.services import Services


def register(app: Flask, services: Services) -> None:
    """Put every endpoint and every error's answer into `app`."""
    config = services.config
    app.extensions['llmhost.departures'] = Departures()
    app.config['MAX_CONTENT_LENGTH'] = config.max_body_bytes
    for module in (completions, rerank, models, health):
        app.register_blueprint(module.blueprint)
    errors.register(app)
    request_log.register(app)
    unread.register(app)
    if config.cors_origins:
        cors.register(app, config.cors_origins)
