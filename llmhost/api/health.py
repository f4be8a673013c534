"""`/livez`, `/readyz`, `/health` and `/metrics`: none of them ever calls a model."""

from typing import Any

import orjson
from flask import Blueprint, Response

from llmhost.api.answering import identify, services
from llmhost.errors import ConsoleError
from llmhost.services import Services

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
        services().presets.list()
    except ConsoleError as error:
        return _json({'status': 'unready', 'reason': type(error).__name__}, 503)
    return _json({'status': 'ok'})


@blueprint.get('/health')
def health() -> Response:
    """The servers as last seen, and whether the host process answers."""
    identify()
    try:
        return _json(services().describe_health())
    except ConsoleError:
        return _json({**_describe_last_seen(services()), 'registry': 'corrupt'})


def _describe_last_seen(parts: Services) -> dict[str, Any]:
    """As `describe_health`, of the last good copy of the registry: the one that is served."""
    status = parts.status.current()
    servers = {}
    for name, server in parts.registry.current().items():
        seen = status.of(name)
        state, error = (seen.state, seen.error) if server.enabled else ('disabled', None)
        servers[name] = {'state': state, 'since': seen.since, 'error': error, 'models': len(seen.models)}
    return {'status': 'degraded', 'host': 'up' if parts.hostlink.is_up() else 'down', 'servers': servers}


@blueprint.get('/metrics')
def metrics() -> Response:
    """Prometheus' text format, summed over the workers."""
    identify()
    return Response(services().metrics.render(), content_type=METRICS_TYPE)
