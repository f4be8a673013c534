"""llama.cpp's own server, as a `gguf` entry runs it."""
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from llmhost.host.launch import LLAMACPP
from llmhost.storage.status import UP
from tests.e2e.llama import TEXT_WIDTH, require_llama
from tests.e2e.test_openai_client import build_png, data_url
from tests.e2e.tiny_models import write_projector, write_ranker
from tests.e2e.weights import find_weights
from tests.host.conftest import HostUnderTest


def run(*arguments: str | Path | int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments), '--port', '1', '--alias', 'a']
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / 'x.gguf').write_text('<html>404</html>')
    for name, reason in (('x.gguf', 'is not a GGUF file.'), ('missing.gguf', 'No such file or directory')):
        ended = run(LLAMACPP, '--model', tmp_path / name)
        assert ended.returncode == 1
        assert ended.stderr.strip().endswith(reason)


@pytest.mark.parametrize('option', ['--threads', '--context'])
def test_absurd_numbers_are_refused_in_one_line(tmp_path: Path, option: str) -> None:
    (tmp_path / 'x.gguf').write_bytes(b'GGUF')
    ended = run(LLAMACPP, '--model', tmp_path / 'x.gguf', option, 10**30)
    assert ended.returncode == 1
    assert ended.stderr.startswith('llama.cpp takes ')
    assert ended.stderr.count('\n') == 1


def test_a_missing_package_is_named_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / 'x.gguf').write_bytes(b'GGUF')
    ended = run('-S', LLAMACPP, '--model', tmp_path / 'x.gguf')
    assert ended.returncode == 1
    assert "pip install 'llmhost[local]'" in ended.stderr


@pytest.mark.e2e
def test_one_server_chats_completes_and_embeds(host: HostUnderTest) -> None:
    require_llama()
    host.servers(local={'gguf': str(find_weights()), 'provider': 'llamacpp', 'models': ['small', 'alias'], 'context': 1000})
    url = host.url('local')
    with httpx2.Client(base_url=url, timeout=60, trust_env=False) as client:
        chat = client.post('/v1/chat/completions', json={
            'model': 'alias', 'messages': [{'role': 'user', 'content': 'Say hi.'}], 'max_tokens': 5})
        assert chat.json()['choices'][0]['message']['content']
        text = client.post('/v1/completions', json={'model': 'small', 'prompt': 'One two', 'max_tokens': 5})
        assert text.json()['choices'][0]['text']
        long_text = 'word ' * 600
        vectors = client.post('/v1/embeddings', json={'model': 'small', 'input': ['hello', long_text]}).json()['data']
        assert len(vectors[0]['embedding']) == len(vectors[1]['embedding']) > 1
        meta = client.get('/v1/models').json()['data'][0]['meta']
        assert 1000 <= meta['n_ctx'] <= 1024
        assert 'llamacpp:' in client.get('/metrics').text
    assert [model['id'] for model in host.wait_for_state('local', UP).models] == ['small', 'alias']


@pytest.mark.e2e
def test_model_that_ranks_is_served_as_a_reranker(host: HostUnderTest, tmp_path: Path) -> None:
    require_llama()
    host.servers(ranker={'gguf': str(write_ranker(tmp_path / 'ranker.gguf')), 'provider': 'llamacpp', 'context': 512})
    with httpx2.Client(base_url=host.url('ranker'), timeout=60, trust_env=False) as client:
        answer = client.post('/v1/rerank', json={'model': 'ranker', 'query': 'a', 'documents': ['b', 'c d', 'e']})
    assert sorted(row['index'] for row in answer.json()['results']) == [0, 1, 2]


@pytest.mark.e2e
def test_model_with_a_projector_takes_images(host: HostUnderTest, tmp_path: Path) -> None:
    require_llama()
    projector = write_projector(tmp_path / 'projector.gguf', text_width=TEXT_WIDTH)
    host.servers(local={'gguf': str(find_weights()), 'mmproj': str(projector), 'provider': 'llamacpp', 'context': 2048})
    parts = [{'type': 'text', 'text': 'What is it?'}, {'type': 'image_url', 'image_url': {'url': data_url(build_png())}}]
    with httpx2.Client(base_url=host.url('local'), timeout=60, trust_env=False) as client:
        answer = client.post('/v1/chat/completions', json={
            'model': 'local', 'messages': [{'role': 'user', 'content': parts}], 'max_tokens': 3})
    assert answer.status_code == 200 and answer.json()['choices'][0]['message']['content']
