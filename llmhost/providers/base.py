"""What a provider is: an object that answers questions about one dialect. Values in, values out; no socket, no state.

The base class speaks OpenAI's own dialect (https://platform.openai.com/docs/api-reference), so a provider of the same dialect
at another address is a row of data; others override what differs.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import orjson

from llmhost.errors import UpstreamBrokenError, UpstreamStatusError
from llmhost.providers.chat import mend_completion
from llmhost.providers.chunks import ChunkReader
from llmhost.providers.facts import read_facts
from llmhost.providers.faults import read_fault
from llmhost.providers.text import TextReader, mend_embeddings, mend_text

Document = dict[str, Any]

CHAT, COMPLETIONS, EMBEDDINGS, RERANK = 'chat', 'completions', 'embeddings', 'rerank'
ALL_TASKS = frozenset({CHAT, COMPLETIONS, EMBEDDINGS, RERANK})

NATIVE, MAYBE, NONE = 'native', 'maybe', 'none'


class Provider:
    """One dialect.

    `root` is the path under which its API lies when a registry URL names none; `rerank` tells whether it has such an
    endpoint (`native`, `none`, or `maybe`: try, and emulate when it has not). Where not `has_fixed_context`, a model may be
    loaded anew at any time with another context length than the one last seen. `takes_fallback_models` tells whether requests
    may name `models` to fall back to.
    """

    name = 'generic'
    root = '/v1'
    default_url: str | None = None
    key_env: str | None = None
    rerank = MAYBE
    asks_usage = True
    takes_fallback_models = False
    has_fixed_context = True
    paths: Mapping[str, str] = {
        CHAT: '/chat/completions',
        COMPLETIONS: '/completions',
        EMBEDDINGS: '/embeddings',
        RERANK: '/rerank',
    }
    models_path = '/models'

    # requests out

    def base_url(self, url: str) -> str:
        """The address all paths are appended to, for the URL a person typed."""
        parts = urlsplit(url)
        path = parts.path.rstrip('/') or self.root
        return urlunsplit((parts.scheme, parts.netloc, path, '', ''))

    def root_url(self, url: str) -> str:
        """The address its own endpoints are appended to, those beside OpenAI's `/v1`."""
        return self.base_url(url).removesuffix('/v1')

    def url_of(self, url: str, task: str) -> str:
        """Where `task` is asked for on the server at `url`."""
        return self.base_url(url) + self.paths[task]

    def models_url(self, url: str) -> str:
        """A cheap GET that lists models and proves the server well: probes use it, never a completion."""
        return self.base_url(url) + self.models_path

    def model_details(self, url: str) -> tuple[tuple[str, ...], ...]:
        """Cheap GETs that tell more of the listed models: for each question, the URLs to try until one answers."""
        return ()

    def auth_headers(self, api_key: str | None) -> dict[str, str]:
        return {'Authorization': f'Bearer {api_key}'} if api_key else {}

    def build_body(self, payload: Document, body: bytes | None, model: str) -> bytes:
        """The upstream's body: the client's own bytes unless something has to change. `body` is None where the payload was."""
        if body is not None and payload['model'] == model and not self._wants_usage(payload):
            return body
        changed = {**payload, 'model': model}
        if self._wants_usage(payload):
            changed['stream_options'] = {**(payload.get('stream_options') or {}), 'include_usage': True}
        return orjson.dumps(changed)

    def _wants_usage(self, payload: Document) -> bool:
        """Whether usage has to be asked for, because the client streams and did not."""
        return bool(payload.get('stream')) and self.asks_usage and not client_wants_usage(payload)

    def build_rerank(self, model: str, query: str, documents: Sequence[str], extra: Mapping[str, Any]) -> bytes:
        """A rerank request for all of `documents`; `extra` holds the client's fields that llmhost does not know."""
        return orjson.dumps({**extra, 'model': model, 'query': query, 'documents': documents})

    def build_count(self, url: str, task: str, payload: Document, model: str) -> tuple[str, bytes] | None:
        """A POST (URL, body) that has the server count the tokens of a prompt; None where it cannot."""
        return None

    # answers in

    def parse_models(self, document: Any) -> list[Document]:
        """The entries of a model list, each with at least `id`. Raises UpstreamBrokenError."""
        entries = document.get('data') if isinstance(document, dict) else None
        if not isinstance(entries, list):
            raise UpstreamBrokenError('The model list has no array "data".')
        return [self.parse_model(entry) for entry in entries if isinstance(entry, dict) and entry.get('id')]

    def parse_model(self, entry: Document) -> Document:
        """What is kept of one entry: `id`, `created`, `owned_by`, and the facts it tells (`llmhost.providers.facts`)."""
        owner = str(entry.get('owned_by') or self.name)
        return {'id': str(entry['id']), 'created': _whole(entry.get('created')), 'owned_by': owner, **read_facts(entry)}

    def merge_details(self, models: Sequence[Document], details: Sequence[Any]) -> list[Document]:
        """`models`, and what the answers to `model_details` tell of them: one a question, None where it failed."""
        return list(models)

    def parse_count(self, document: Any) -> tuple[int | None, int | None]:
        """The prompt's tokens and the context length, as far as an answer to `build_count` tells them."""
        return None, None

    def parse_completion(self, document: Document, task: str) -> bool:
        """Mend an answer to `chat` or `completions` in place; True when something was changed."""
        return mend_completion(document) if task == CHAT else mend_text(document)

    def stream_reader(self, task: str) -> ChunkReader | TextReader:
        """A reader of one stream's chunks: it mends them, and remembers what it has to."""
        return ChunkReader() if task == CHAT else TextReader()

    def parse_embeddings(self, document: Document, model: str) -> bool:
        """Mend an answer to `embeddings` in place; True when something was changed."""
        return mend_embeddings(document, model)

    def parse_rerank(self, document: Any, count: int) -> tuple[list[tuple[int, float]], Document]:
        """(index, score) pairs and the usage of a rerank answer over `count` documents. Raises UpstreamBrokenError."""
        rows = document if isinstance(document, list) else _rows(document)
        usage = document.get('usage') if isinstance(document, dict) else None
        try:
            pairs = [(int(row['index']), float(row.get('relevance_score', row.get('score')))) for row in rows]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UpstreamBrokenError('The rerank answer has a row without index and score.') from error
        if any(not 0 <= index < count for index, _ in pairs):
            raise UpstreamBrokenError('The rerank answer names a document that was not sent.')
        return pairs, usage if isinstance(usage, dict) else {}

    def parse_error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamStatusError:
        """The error an answer with `status` >= 400 means, in OpenAI's terms."""
        return read_fault(status, headers, body)

    def hidden_error(self, document: Any) -> UpstreamStatusError | None:
        """The error inside an answer with status 200, if it is one."""
        if isinstance(document, dict) and document.get('error'):
            return read_fault(200, {}, encode_fault(document))
        return None


def encode_fault(document: Document) -> bytes:
    """The document in bytes; nothing where it is nested too deeply to be written."""
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError:
        return b''


def client_wants_usage(payload: Mapping[str, Any]) -> bool:
    """Whether a request asks for usage in its stream."""
    options = payload.get('stream_options')
    return isinstance(options, dict) and bool(options.get('include_usage'))


def _rows(document: Any) -> list[Any]:
    rows = document.get('results', document.get('data')) if isinstance(document, dict) else None
    if not isinstance(rows, list):
        raise UpstreamBrokenError('The rerank answer has no array "results".')
    return rows


def _whole(value: Any) -> int:
    return int(value) if isinstance(value, (int, float)) and value > 0 else 0
