"""What is asked of a file before it counts as a model, and of a disk before it takes one."""

import hashlib
import shutil
from pathlib import Path

from llmhost.errors import FetchError

BLOCK = 1 << 20
MAGIC = b'GGUF'


def digest_of(path: Path) -> str:
    """The file's SHA-256 in hex."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def need_space(folder: Path, size: int) -> None:
    """Raises FetchError unless `size` bytes more fit into the folder."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise FetchError(f'{folder} has {free >> 20} MB free; the model needs {size >> 20} MB while it is fetched.')


def why_not_gguf(start: bytes) -> str | None:
    """What is wrong with a file that starts so, or None."""
    if start.startswith(MAGIC):
        return None
    return 'is a web page, not a GGUF file' if start.lstrip()[:1] == b'<' else 'is not a GGUF file'
