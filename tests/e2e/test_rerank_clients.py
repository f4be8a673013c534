"""The rerank clients of Cohere (v1, v2) and Voyage: native where the server has it, else from its embeddings."""
import math
from collections.abc import Iterator

import cohere
import httpx
import pytest
import requests
import voyageai

from .conftest import StartGateway
from .gateway import Gateway
from .llama import Llama
from .wire import Call

pytestmark = pytest.mark.e2e

KEY = 'sk-llmhost-test-0123456789'
QUERY = 'What do cats eat?'
DOCUMENTS = ['Cats eat fish and meat.', 'The stock market fell on Monday.', 'Dogs chase cats.']
MODELS = ['smollm2', 'ranker']  # emulated from embeddings, native


@pytest.fixture(scope='module')
def gateway(start_gateway: StartGateway, llama: Llama, ranker: Llama) -> Gateway:
    gateway = start_gateway(LLMHOST_API_KEY=KEY)
    for server in (llama, ranker):
        gateway.flask('servers', 'add', server.model, server.url, '--provider', 'llamacpp')
    return gateway


@pytest.fixture
def http_client() -> Iterator[httpx.Client]:
    """Cohere's client does not close its own."""
    with httpx.Client(timeout=60) as client:
        yield client


@pytest.fixture(scope='module')
def voyage_session() -> Iterator[None]:
    """Voyage's client keeps one session a thread, and does not close it."""
    with pytest.MonkeyPatch.context() as patch, requests.Session() as session:
        patch.setattr(voyageai, 'requestssession', session)
        yield


@pytest.mark.parametrize('model', MODELS)
def test_cohere_v1_client_reranks(url: str, model: str, http_client: httpx.Client) -> None:
    client = cohere.Client(KEY, base_url=url, httpx_client=http_client)
    answer = client.rerank(model=model, query=QUERY, documents=DOCUMENTS, return_documents=True)
    assert_ranked([(item.index, item.relevance_score) for item in answer.results], len(DOCUMENTS))
    assert [item.document.text for item in answer.results] == [DOCUMENTS[item.index] for item in answer.results]


@pytest.mark.parametrize('model', MODELS)
def test_cohere_v2_client_reranks_the_top(url: str, model: str, http_client: httpx.Client) -> None:
    client = cohere.ClientV2(KEY, base_url=url, httpx_client=http_client)
    answer = client.rerank(model=model, query=QUERY, documents=DOCUMENTS, top_n=2)
    assert_ranked([(item.index, item.relevance_score) for item in answer.results], 2)
    assert answer.id


@pytest.mark.usefixtures('voyage_session')
@pytest.mark.parametrize('model', MODELS)
def test_voyage_client_reranks(url: str, model: str) -> None:
    answer = voyageai.Client(KEY, base_url=f'{url}/v1').rerank(QUERY, DOCUMENTS, model=model, top_k=2)
    assert_ranked([(item.index, item.relevance_score) for item in answer.results], 2)
    assert [item.document for item in answer.results] == [DOCUMENTS[item.index] for item in answer.results]
    assert answer.total_tokens > 0


def test_native_order_is_the_servers_own(gateway: Gateway, ranker: Llama) -> None:
    asked = {'model': ranker.model, 'query': QUERY, 'documents': DOCUMENTS}
    with Call(f'{ranker.url}/rerank', asked) as call:
        scores = {item['index']: item['relevance_score'] for item in call.json()['results']}
    ours = rerank(gateway, '/v1/rerank', asked)
    assert [item['index'] for item in ours['results']] == sorted(scores, key=lambda index: -scores[index])
    assert all(math.isclose(item['relevance_score'], scores[item['index']], rel_tol=1e-3) for item in ours['results'])


def test_emulated_order_is_the_cosine_and_says_so(gateway: Gateway, llama: Llama) -> None:
    asked = {'model': llama.model, 'query': QUERY, 'documents': DOCUMENTS}
    with Call(f'{llama.url}/embeddings', {'model': llama.model, 'input': [QUERY, *DOCUMENTS]}) as call:
        query, *documents = [item['embedding'] for item in call.json()['data']]
    cosines = [cosine(query, document) for document in documents]
    ours = rerank(gateway, '/v1/rerank', asked)
    assert all(math.isclose(item['relevance_score'], cosines[item['index']], abs_tol=0.01) for item in ours['results'])
    assert 'emulated' in str({**ours, 'results': None})


@pytest.mark.parametrize('path', ['/rerank', '/v1/rerank', '/v2/rerank'])
def test_every_path_gives_one_answer_for_all_clients(gateway: Gateway, path: str) -> None:
    answer = rerank(gateway, path, {'model': 'ranker', 'query': QUERY, 'documents': DOCUMENTS})
    assert {'id', 'model', 'results', 'usage', 'meta'} <= answer.keys()


def rerank(gateway: Gateway, path: str, payload: dict[str, object]) -> dict[str, list[dict[str, float]]]:
    with Call(gateway.url + path, payload, {'Authorization': f'Bearer {KEY}'}) as call:
        answer = call.json()
    assert call.status == 200, answer
    return answer


def assert_ranked(results: list[tuple[int, float]], count: int) -> None:
    indexes, scores = zip(*results)
    assert len(set(indexes)) == count
    assert list(scores) == sorted(scores, reverse=True)


def cosine(a: list[float], b: list[float]) -> float:
    return sum(map(lambda x, y: x * y, a, b)) / math.hypot(*a) / math.hypot(*b)
