"""`/v1/models` and `/v1/models/{id}`: https://platform.openai.com/docs/api-reference/models"""

import orjson
from flask import Blueprint, Response

from llmhost.api.answering import identify, services
from llmhost.errors import UnknownModelError
from llmhost.services import may_use

blueprint = Blueprint('models', __name__)


@blueprint.get('/v1/models')
def list_models() -> Response:
    key = identify()
    models = [model for model in services().models.list() if may_use(key, model['id'])]
    return Response(orjson.dumps({'object': 'list', 'data': models}), content_type='application/json')


@blueprint.get('/v1/models/<path:model>')
def retrieve_model(model: str) -> Response:
    """Ids may hold `/`, raw or encoded."""
    if not may_use(identify(), model):
        raise UnknownModelError(f"The model '{model[:200]}' does not exist or you do not have access to it.")
    return Response(orjson.dumps(services().models.get(model)), content_type='application/json')
