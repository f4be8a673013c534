"""What clients and files may say: request bodies, OpenAI payloads, rerank requests, registry entries."""

from llmhost.schemas.body import decode_body
from llmhost.schemas.keys import load_key
from llmhost.schemas.presets import applies, load_preset
from llmhost.schemas.rerank import RerankRequest, load_rerank
from llmhost.schemas.servers import load_server
from llmhost.schemas.tasks import validate

__all__ = ['RerankRequest', 'applies', 'decode_body', 'load_key', 'load_preset', 'load_rerank', 'load_server', 'validate']
