"""The payload of `/v1/embeddings`.

https://platform.openai.com/docs/api-reference/embeddings/create
"""

from llmhost.schemas.checks import fallback_models, integer_from, one_of, string
from llmhost.schemas.inputs import embedding_input
from llmhost.schemas.payload import Checked, Model, PayloadSchema


class EmbeddingsSchema(PayloadSchema):
    model = Model()
    models = Checked(fallback_models)
    input = Checked(embedding_input, required=True)
    encoding_format = Checked(one_of('float', 'base64'))
    dimensions = Checked(integer_from(1))
    user = Checked(string)
