"""OpenRouter: OpenAI's dialect; errors with integer codes, also inside a chunk or a 200.

https://openrouter.ai/docs/api/reference/overview
"""

from llmhost.providers.base import NONE, Document, Provider
from llmhost.providers.facts import capabilities_of, known, part_of, words_of


class OpenRouterProvider(Provider):
    name = 'openrouter'
    root = '/api/v1'
    default_url = 'https://openrouter.ai/api/v1'
    key_env = 'OPENROUTER_API_KEY'
    rerank = NONE
    takes_fallback_models = True

    def parse_model(self, entry: Document) -> Document:
        """https://openrouter.ai/docs/guides/overview/models: what goes in and comes out stands in `architecture`."""
        architecture = part_of(entry, 'architecture')
        outputs = words_of(architecture, 'output_modalities')
        words = ['chat', 'completions'] if 'text' in outputs else outputs
        sees = 'image' in words_of(architecture, 'input_modalities')
        calls = 'tools' in words_of(entry, 'supported_parameters')
        words = [word for word in words if word != 'image'] + ['vision'] * sees + ['tools'] * calls
        return {**super().parse_model(entry), **known({'capabilities': capabilities_of(words)})}
