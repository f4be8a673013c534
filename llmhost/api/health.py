"""`/livez`, `/readyz`, `/health` and `/metrics`: none of them ever calls a model."""

from typing import Any

import orjson
from flask import Blueprint, Response

from llmhost.api.answering import identify, services
from llmhost.errors import ConsoleError

blueprint = Blueprint('health', __name__)

METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8'


def _json(document: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, content_type='application/json')


@blueprint.get('/livez')
def livez() -> Response:
    """This worker answers. Needs no key."""
    return _json({'status': 'ok'})


@blueprint.get('/readyz')
def readyz() -> Response:
    """This worker can serve: its files can be read. Needs no key."""
    try:
        services().registry.list()
        services().keys.list()
    except ConsoleError as error:
        return _json({'status': 'unready', 'reason': type(error).__name__}, 503)
    return _json({'status': 'ok'})


@blueprint.get('/health')
def health() -> Response:
    """The servers as last seen, and whether the host process answers."""
    identify()
    return _json(services().describe_health())


@blueprint.get('/metrics')
def metrics() -> Response:
    """Prometheus' text format, summed over the workers."""
    identify()
    return Response(services().metrics.render(), content_type=METRICS_TYPE)
