"""Prompts that cannot fit a model's context, refused before they are sent. A refusal is never wrong.

A limit counts where it was seen of a server that is well and whose models keep their context while it runs. The tokens are
counted in three steps, the first of which is all that ordinary requests pay (two comparisons):

1. No tokenizer in use makes more tokens than there are bytes, and a token's number takes at least one digit and a comma: a
   body of no more bytes than the context has tokens fits.
2. Token arrays are counted exactly.
3. There is no sure least number of tokens for a text: a token may be a run of 128 spaces, and WordPiece takes a word of any
   length for one unknown token. So beyond `ASK_ABOVE` bytes a token the server's own tokenizer is asked, where it has a
   cheap endpoint for that (llama.cpp, vLLM). An answer counts only when it exceeds the limit by `MARGIN`, since a template
   may be told things the tokenizer's endpoint is not; within the margin the server judges itself, and both say so when a
   prompt is too long.

A server that does not answer in time, a prompt with media, and a request that asks for truncation are let pass.
"""

import time
from typing import Any

import orjson

from llmhost.errors import InvalidRequestError, UpstreamError
from llmhost.gateway.routing import Candidate
from llmhost.providers import CHAT, COMPLETIONS, EMBEDDINGS
from llmhost.storage.status import UP
from llmhost.upstream.sessions import UpstreamSession, build_target

ASK_ABOVE = 2
MARGIN = 1.02
TIMEOUT = 2.0

CODE = 'context_length_exceeded'
PROMPTS = {CHAT: 'messages', COMPLETIONS: 'prompt', EMBEDDINGS: 'input'}
TRUNCATES = frozenset({'truncate_prompt_tokens', 'truncate', 'truncation', 'transforms', 'plugins'})
"""Fields by which a client has a prompt cut to fit: vLLM's, Ollama's and TEI's, Voyage's, OpenRouter's two."""

Document = dict[str, Any]


class ContextCheck:
    """Leaves the servers out that cannot hold a prompt."""

    def __init__(self, http_session: UpstreamSession) -> None:
        self._http_session = http_session

    def fitting(self, task: str, payload: Document, body: bytes, candidates: list[Candidate]) -> list[Candidate]:
        """Those of `candidates` that may hold the prompt. Raises InvalidRequestError when none does."""
        size = len(body)
        for candidate in candidates:
            if size > candidate.entry.get('context_length', size):
                return self._fitting(task, payload, size, candidates)
        return candidates

    def _fitting(self, task: str, payload: Document, size: int, candidates: list[Candidate]) -> list[Candidate]:
        if TRUNCATES & payload.keys():
            return candidates
        exact = count_tokens(payload.get(PROMPTS[task]))
        overflows: list[tuple[int, int]] = []
        fitting = []
        for candidate in candidates:
            overflow = self._overflow(task, payload, size, candidate, exact)
            if overflow is None:
                fitting.append(candidate)
            else:
                overflows.append(overflow)
        if not fitting:
            raise refusal(task, *max(overflows, key=lambda overflow: overflow[1]))
        return fitting

    def _overflow(
        self, task: str, payload: Document, size: int, candidate: Candidate, exact: int | None,
    ) -> tuple[int, int] | None:
        """The prompt's tokens and the context's, where it is sure that they do not fit."""
        limit = limit_of(candidate)
        if limit is None or size <= limit:
            return None
        if exact is not None:
            return (exact, limit) if exact > limit else None
        if size <= limit * ASK_ABOVE or not is_text(payload):
            return None
        count, present = self._count(task, payload, candidate)
        limit = present or limit
        return (count, limit) if count is not None and count > limit * MARGIN else None

    def _count(self, task: str, payload: Document, candidate: Candidate) -> tuple[int | None, int | None]:
        """The tokens and the context length, as the server's own tokenizer tells them."""
        route = candidate.route
        url = route.server.url or route.status.url
        asked = route.provider.build_count(url, task, payload, candidate.model) if url else None
        if asked is None:
            return None, None
        headers = {**route.provider.auth_headers(route.api_key), **route.server.headers}
        return route.provider.parse_count(self._post(*asked, headers))

    def _post(self, url: str, body: bytes, headers: dict[str, str]) -> Any:
        """The JSON document answered within `TIMEOUT`; None for anything else."""
        until = time.monotonic() + TIMEOUT
        try:
            with self._http_session.begin(build_target('POST', url, headers), body, TIMEOUT) as exchange:
                if not exchange.wait_head(until - time.monotonic()) or exchange.status != 200:
                    return None
                return orjson.loads(exchange.read_all(max(0.0, until - time.monotonic())))
        except (UpstreamError, orjson.JSONDecodeError):
            return None


def limit_of(candidate: Candidate) -> int | None:
    """The context length of a candidate's model, where it can be relied on."""
    route = candidate.route
    if route.status.state != UP or not route.provider.has_fixed_context:
        return None
    limit = candidate.entry.get('context_length')
    return limit if isinstance(limit, int) else None


def count_tokens(prompt: Any) -> int | None:
    """The tokens of a token array, or the most of several; None for text."""
    if not isinstance(prompt, list) or not prompt:
        return None
    if isinstance(prompt[0], int):
        return len(prompt)
    return max(map(len, prompt)) if all(isinstance(one, list) for one in prompt) else None


def is_text(payload: Document) -> bool:
    """Whether a prompt is text alone: what an image or a sound counts is up to the server."""
    for message in payload.get('messages') or ():
        content = message.get('content')
        if isinstance(content, list) and any(part.get('type') != 'text' for part in content if isinstance(part, dict)):
            return False
    return True


def refusal(task: str, count: int, limit: int) -> InvalidRequestError:
    """In OpenAI's words, by which agents know to shorten the conversation."""
    name = PROMPTS[task]
    return InvalidRequestError(
        f"This model's maximum context length is {limit} tokens. However, your {name} resulted in {count} tokens. "
        f'Please reduce the length of the {name}.', param=name, code=CODE)
