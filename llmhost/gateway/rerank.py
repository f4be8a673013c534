"""Rerank: the server's own where it has one, otherwise made from its embeddings and labelled so."""

import base64
import math
import secrets
import time
from array import array
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from operator import mul
from typing import Any

import orjson

from llmhost.config import Config
from llmhost.errors import UpstreamBrokenError, UpstreamStatusError
from llmhost.gateway.attempts import Ask, Attempts, Turn, drain
from llmhost.gateway.call import Call
from llmhost.gateway.completions import Completions, read_json
from llmhost.gateway.presets import rerank_request_for, resolve
from llmhost.gateway.routing import Candidate
from llmhost.providers import EMBEDDINGS, MAYBE, NONE, RERANK
from llmhost.schemas import RerankRequest

BATCH = 64
NOT_SERVED = frozenset({404, 405, 501, 502})
"""The refusals that mean a server has no rerank, or none for this model (llama.cpp: 501)."""
PASSING = 502  # an error under 200 has this status (LM Studio), and so has a proxy whose server is just starting
ASK_AGAIN_SECONDS = 60.0

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ranking:
    """(index, score) pairs, the usage the server stated, whether llmhost made it from embeddings, and how many pairs to keep."""

    pairs: list[tuple[int, float]]
    usage: Document
    emulated: bool
    top_n: int | None


class Reranker:
    """Ranks documents for a query."""

    def __init__(self, attempts: Attempts, completions: Completions, config: Config) -> None:
        self._attempts = attempts
        self._completions = completions
        self._config = config
        self._without: dict[tuple[str, str | None, str], float] = {}
        """Which model of which server has no rerank, and until when to believe it."""

    def rerank(self, call: Call, request: RerankRequest, with_documents: bool) -> bytes:
        """One answer that the clients of Cohere (v1, v2), Jina, Voyage, vLLM and LiteLLM all read. Raises LLMHostError."""
        candidates = resolve(self._attempts.router, call, (request.model, *request.models))
        tick = self._config.read_timeout
        ranking = drain(self._attempts.iter_first(call, candidates, lambda turn: self._iter_rank(call, request, turn), tick))
        call.count_usage(ranking.usage)
        return orjson.dumps(build_answer(request, ranking, with_documents))

    def _iter_rank(self, call: Call, request: RerankRequest, turn: Turn) -> Generator[None, None, Ranking]:
        candidate = turn.candidate
        request = rerank_request_for(candidate, request)
        provider = candidate.route.provider
        known = candidate.name, candidate.route.server.url, candidate.model
        if provider.rerank == NONE or self._without.get(known, 0.0) > time.monotonic():
            return self._emulate(call, request, turn)
        try:
            return (yield from self._iter_native(call, request, turn))
        except UpstreamStatusError as error:
            if provider.rerank != MAYBE or error.status not in NOT_SERVED:
                raise
            lasting = error.status != PASSING
        ranking = self._emulate(call, request, turn)
        if lasting:
            self._without[known] = time.monotonic() + ASK_AGAIN_SECONDS
        return ranking

    def _iter_native(self, call: Call, request: RerankRequest, turn: Turn) -> Generator[None, None, Ranking]:
        candidate = turn.candidate
        provider = candidate.route.provider

        def build(one: Candidate) -> bytes:
            return provider.build_rerank(one.model, request.query, request.documents, request.extra)
        exchange = yield from self._attempts.iter_open(Ask(call, RERANK, build, self._config.read_timeout), turn)
        try:
            body = exchange.read_all(self._attempts.read_timeout(candidate))
        finally:
            exchange.close()
        document = read_json(body, candidate)
        return Ranking(*provider.parse_rerank(document, len(request.documents)), emulated=False, top_n=request.top_n)

    def _emulate(self, call: Call, request: RerankRequest, turn: Turn) -> Ranking:
        texts = [request.query, *request.documents]
        vectors: list[Sequence[float]] = []
        tokens = 0
        for start in range(0, len(texts), BATCH):
            body = orjson.dumps({'model': turn.candidate.model, 'input': texts[start:start + BATCH]})
            document, _ = self._completions.ask(call, turn, body, EMBEDDINGS)
            vectors += vectors_of(document, len(texts[start:start + BATCH]))
            tokens += _tokens_of(document)
        pairs = [(index, cosine(vectors[0], vector)) for index, vector in enumerate(vectors[1:])]
        return Ranking(pairs, {'prompt_tokens': tokens, 'total_tokens': tokens}, emulated=True, top_n=request.top_n)


def _tokens_of(document: Document) -> int:
    """The tokens an embeddings answer says it took; 0 where it says nothing that can be counted."""
    usage = document.get('usage')
    tokens = usage.get('total_tokens') if isinstance(usage, dict) else None
    return tokens if isinstance(tokens, int) and tokens > 0 else 0


def vectors_of(document: Document, count: int) -> list[Sequence[float]]:
    """The vectors of an embeddings answer in the order of its inputs. Raises UpstreamBrokenError."""
    rows = document.get('data')
    try:
        ordered = sorted(rows or (), key=lambda row: row['index'])
        vectors = [_vector(row['embedding']) for row in ordered]
    except (TypeError, KeyError, ValueError) as error:
        raise UpstreamBrokenError('The embeddings cannot be read.') from error
    if len(vectors) != count or len({len(vector) for vector in vectors}) != 1:
        raise UpstreamBrokenError(f'{len(vectors)} embeddings came for {count} texts, or of different lengths.')
    return vectors


def _vector(value: Any) -> Sequence[float]:
    return array('f', base64.b64decode(value)) if isinstance(value, str) else array('d', value)


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of the angle between two vectors of the same length; 0 for a vector of no length."""
    lengths = math.sqrt(sum(map(mul, one, one)) * sum(map(mul, other, other)))
    return sum(map(mul, one, other)) / lengths if lengths else 0.0


def build_answer(request: RerankRequest, ranking: Ranking, with_documents: bool) -> Document:
    """The common denominator of the rerank contracts; `data` is `results` under Voyage's name."""
    pairs = sorted(ranking.pairs, key=lambda pair: -pair[1])[:ranking.top_n]
    results: list[Document] = [{'index': index, 'relevance_score': score} for index, score in pairs]
    if with_documents:
        for result in results:
            result['document'] = {'text': request.documents[result['index']]}
    usage = {'prompt_tokens': 0, 'total_tokens': 0, **ranking.usage}
    meta: Document = {'api_version': {'version': '2'}, 'billed_units': {'search_units': 1}}
    if ranking.emulated:
        meta['llmhost'] = {'emulated': True, 'method': 'cosine of embeddings'}
        meta['warnings'] = ['This server has no reranker: the scores are cosines of its embeddings.']
    return {
        'id': f'rerank-{secrets.token_hex(12)}',
        'object': 'list',
        'model': request.model,
        'results': results,
        'data': results,
        'usage': usage,
        'meta': meta,
    }
