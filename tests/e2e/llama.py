"""Real llama.cpp servers: SmolLM2 for chat, images and embeddings, and a random cross-encoder that reranks."""
import sys
from pathlib import Path

from .program import Program, find_free_port
from .requirements import require_module
from .weights import find_weights

HERE = Path(__file__).parent
TEXT_WIDTH = 576  # of SmolLM2-135M


class Llama:
    """Running, once made; it serves one model under the id `model`."""

    def __init__(self, folder: Path, gguf: Path, model: str, *options: str):
        self.model = model
        self.port = find_free_port()
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(HERE / 'llama_server.py'), str(gguf), str(self.port), '--alias', model, *options]
        self.program = Program(command, folder / f'{model}.log', f'--alias\0{model}')
        self.program.wait_until_answers(f'{self.url}/models')

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.port}/v1'

    def stop(self) -> None:
        self.program.stop()


def start_llama(folder: Path) -> Llama:
    """SmolLM2 with a template that renders tools, a projector that decodes images, and embeddings."""
    require_llama()
    from .tiny_models import write_projector  # an import of the test extra, for those who have it
    projector = write_projector(folder / 'projector.gguf', text_width=TEXT_WIDTH)
    return Llama(folder, find_weights(), 'smollm2', '--template', str(HERE / 'tools.jinja'), '--projector',
                 str(projector), '--pooling', 'mean')


def start_ranker(folder: Path) -> Llama:
    """Its order means nothing, but it is native and always the same."""
    require_llama()
    from .tiny_models import write_ranker
    return Llama(folder, write_ranker(folder / 'ranker.gguf'), 'ranker', '--pooling', 'rank')


def require_llama() -> None:
    require_module('xllamacpp', 'local,test')
    require_module('gguf', 'test')
