"""`/v1/models` and `/v1/models/{id}`: https://platform.openai.com/docs/api-reference/models"""

from functools import partial

import orjson
from flask import Blueprint, Response

from llmhost.api.answering import identify, services
from llmhost.services import may_use, unknown_model

blueprint = Blueprint('models', __name__)


@blueprint.get('/v1/models')
def list_models() -> Response:
    key = identify()
    if key is None or not key.models:
        return Response(services().models.encode(), content_type='application/json')
    models = services().models.allowed(partial(may_use, key))
    return Response(orjson.dumps({'object': 'list', 'data': models}), content_type='application/json')


@blueprint.get('/v1/models/<path:model>')
def retrieve_model(model: str) -> Response:
    """Ids may hold `/`, raw or encoded."""
    if not may_use(identify(), model):
        raise unknown_model(model)
    return Response(orjson.dumps(services().models.get(model)), content_type='application/json')
