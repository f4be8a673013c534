"""What a server's answer to the cheap GET of `models_url` says of its health: the same for the host's probes and the console."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from llmhost.errors import UpstreamBrokenError, UpstreamStatusError
from llmhost.providers.base import Provider

UP, LOADING, DOWN, MISCONFIGURED = 'up', 'loading', 'down', 'misconfigured'
"""The words of `storage.status`."""
NO_MODEL_LIST = frozenset({404, 405, 501})


class Answer(Protocol):
    """A whole answer; header names in lower case, or of any case."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Health:
    """`error` may quote what the server was sent. `models` is None when it did not list them.

    `fault` is the server's own word where it refuses the key, or the lack of one; `error` does not quote that.
    """

    state: str
    error: str | None = None
    models: list[dict[str, Any]] | None = None
    fault: UpstreamStatusError | None = None


def judge(provider: Provider, answer: Answer, models: Sequence[str], has_key: bool) -> Health:
    """`models` are those its entry names: such a server needs no model list."""
    status = answer.status
    if status in (401, 403):
        fault = provider.parse_error(status, answer.headers, answer.body)
        wish = 'refuses the API key' if has_key else 'wants an API key'
        return Health(MISCONFIGURED, f'It {wish} (status {status}).', fault=fault)
    if status in NO_MODEL_LIST and models:
        return Health(UP, models=[provider.parse_model({'id': model}) for model in models])
    if status == 429:
        return Health(UP, 'It limits how often its models may be listed (status 429).')
    if 300 <= status < 400:
        return Health(DOWN, f'It redirects to {answer.headers.get("location", "elsewhere")}: give that address.')
    if status >= 400:
        return _failed(provider, answer)
    return _listed(provider, answer)


def _failed(provider: Provider, answer: Answer) -> Health:
    message = provider.parse_error(answer.status, answer.headers, answer.body).message.rstrip('.')
    if answer.status == 503 and 'loading' in message.lower():
        return Health(LOADING, f'It is not ready yet: {message}.')
    if answer.status in NO_MODEL_LIST:
        return Health(DOWN, f'It has no model list there (status {answer.status}): is the URL right, or name its models.')
    return Health(DOWN, f'It answered {answer.status}: {message}.')


def _listed(provider: Provider, answer: Answer) -> Health:
    try:
        document = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        kind = answer.headers.get('content-type', 'no type').partition(';')[0]
        return Health(DOWN, f'Its model list is not JSON ({kind}): is the URL right?')
    if (hidden := provider.hidden_error(document)) is not None:
        return Health(DOWN, f'It answers with an error: {hidden.message}')
    try:
        return Health(UP, models=provider.parse_models(document))
    except UpstreamBrokenError as error:
        return Health(DOWN, str(error))
