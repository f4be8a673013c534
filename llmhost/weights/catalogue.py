"""The catalogue: the models llmhost knows by name. It is a file of data, `llmhost/catalogue.json`."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import orjson

from llmhost.weights.sources import ModelFile, file_at

PATH = Path(__file__).parent.parent / 'catalogue.json'


@dataclass(frozen=True, slots=True)
class Entry:
    """A model by name. `context` is in tokens; `capabilities` are of chat, tools, vision, embeddings, rerank."""

    name: str
    title: str
    file: ModelFile
    licence: str
    context: int
    capabilities: tuple[str, ...]
    page: str


@cache
def load_catalogue() -> dict[str, Entry]:
    """Every entry by its name, in the file's order."""
    entries = {}
    for document in orjson.loads(PATH.read_bytes())['models']:
        file = replace(file_at(document.pop('source')), size=document.pop('size'), sha256=document.pop('sha256'))
        capabilities = tuple(document.pop('capabilities'))
        entries[document['name']] = Entry(**document, file=file, capabilities=capabilities)
    return entries
