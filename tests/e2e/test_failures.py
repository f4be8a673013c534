"""Things die, or misbehave: what the client sees, and how soon all is well again."""
import os
import signal
import time
from collections.abc import Callable, Iterator

import openai
import pytest
from fake_upstream import FakeUpstream, Reply

from .conftest import StartGateway
from .gateway import Gateway
from .llama import require_llama
from .processes import find_process, wait_until
from .weights import find_weights
from .wire import CHAT, build_chunk, chat, list_models

pytestmark = pytest.mark.e2e

RECOVERY = 5.0
HELLO = [{'role': 'user', 'content': 'Hello'}]


@pytest.fixture(scope='module')
def gateway(start_gateway: StartGateway) -> Gateway:
    return start_gateway()


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f'{gateway.url}/v1', api_key='none', max_retries=0) as client:
        yield client


@pytest.fixture
def add(gateway: Gateway) -> Iterator[Callable[..., None]]:
    """Adds a server for the time of the test."""
    names: list[str] = []

    def add(name: str, *arguments: str) -> None:
        gateway.flask('servers', 'add', name, *arguments)
        names.append(name)
    yield add
    for name in names:
        gateway.flask('servers', 'remove', name)


@pytest.fixture(scope='module')
def local(start_gateway: StartGateway) -> Gateway:
    """A gateway that manages a llama.cpp server of its own, which has answered."""
    require_llama()
    gateway = start_gateway()
    gateway.flask('servers', 'add', 'local', '--gguf', str(find_weights()))
    wait_until(lambda: answers(gateway), 60, 'the managed server answers')
    return gateway


@pytest.mark.parametrize('reset', [False, True])
def test_stream_the_upstream_cuts_raises_in_the_client(
    client: openai.OpenAI, add: Callable[..., None], upstream: FakeUpstream, reset: bool
) -> None:
    chunks = [build_chunk(str(number)) for number in range(5)]
    upstream.answer(CHAT, Reply.events(*chunks, cut_after=3, reset=reset, gap=0.01))
    add('cut', upstream.url)
    texts = []
    with pytest.raises(openai.APIError) as caught:
        for chunk in client.chat.completions.create(model='m1', messages=HELLO, stream=True):
            texts.append(chunk.choices[0].delta.content)
    assert not isinstance(caught.value, openai.APIConnectionError)
    assert texts == ['0', '1', '2']
    assert caught.value.code == 'upstream_broken'


def test_stream_that_ends_without_a_finish_raises_in_the_client(
    client: openai.OpenAI, add: Callable[..., None], upstream: FakeUpstream
) -> None:
    upstream.answer(CHAT, Reply.events(build_chunk('half'), done=False))
    add('short', upstream.url)
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model='m1', messages=HELLO, stream=True))


def test_server_that_refuses_is_passed_over_in_silence(client: openai.OpenAI, add: Callable[..., None]) -> None:
    with FakeUpstream(models=['both'], text='first') as first, FakeUpstream(models=['both'], text='second') as second:
        add('first', first.url, '--priority', '10')
        add('second', second.url)
        first.refuse()
        completions = [client.chat.completions.create(model='both', messages=HELLO) for _ in range(5)]
        chunks = list(client.chat.completions.create(model='both', messages=HELLO, stream=True))
        first.listen()
    assert {completion.choices[0].message.content for completion in completions} == {'second'}
    assert ''.join(chunk.choices[0].delta.content or '' for chunk in chunks) == 'second'


def test_server_that_drops_every_request_is_a_bad_gateway(
    client: openai.OpenAI, add: Callable[..., None], upstream: FakeUpstream
) -> None:
    upstream.always(CHAT, Reply(drop=True))
    add('dropping', upstream.url)
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model='m1', messages=HELLO)
    assert caught.value.status_code == 502


def test_killed_worker_is_replaced(gateway: Gateway, add: Callable[..., None], upstream: FakeUpstream) -> None:
    add('fake', upstream.url)
    before, workers = gateway.read_registry(), gateway.worker_pids
    assert len(workers) == 2
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: answers(gateway, 'm1'), RECOVERY, 'a request is answered')
    wait_until(lambda: len(gateway.worker_pids - workers) == 2, RECOVERY, 'there are two new workers')
    assert gateway.read_registry() == before


def test_killed_host_is_replaced_and_plain_requests_go_on(
    gateway: Gateway, add: Callable[..., None], upstream: FakeUpstream
) -> None:
    add('fake', upstream.url)
    wait_until(lambda: gateway.host_pid, RECOVERY, 'there is a host')
    before, host = gateway.read_registry(), gateway.host_pid
    os.kill(host, signal.SIGKILL)
    assert answers(gateway, 'm1')
    wait_until(lambda: gateway.host_pid not in (None, host), RECOVERY, 'there is a new host')
    assert gateway.read_registry() == before


def test_two_gateways_on_one_machine_keep_their_hosts(start_gateway: StartGateway, gateway: Gateway) -> None:
    """gunicorn knows a dirty arbiter by the name of its process alone, and kills another of that name as left over."""
    wait_until(lambda: gateway.host_pid, RECOVERY, 'there is a host')
    host = gateway.host_pid
    other = start_gateway(workers=1)
    wait_until(lambda: other.host_pid, RECOVERY, 'there is another host')
    time.sleep(1)
    assert gateway.host_pid == host
    other.stop()


def test_killed_model_server_is_started_again(local: Gateway) -> None:
    before, children = local.read_registry(), local.child_pids
    assert children
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: answers(local), RECOVERY, 'the managed server answers again')
    assert local.child_pids and not local.child_pids & children
    assert local.read_registry() == before


def test_killed_host_takes_its_model_server_along_and_starts_another(local: Gateway) -> None:
    host, children = local.host_pid, local.child_pids
    os.kill(host, signal.SIGKILL)
    wait_until(lambda: answers(local), RECOVERY, 'the managed server answers again')
    assert local.host_pid != host
    wait_until(lambda: not any(find_process(pid) for pid in children), RECOVERY, 'the orphan has ended')
    assert len(local.child_pids) == len(children)


def test_removed_model_server_is_stopped(local: Gateway) -> None:
    children = local.child_pids
    local.flask('servers', 'remove', 'local')
    assert 'local' not in list_models(local.url)
    wait_until(lambda: not any(find_process(pid) for pid in children), 15, 'its process has ended')


def answers(gateway: Gateway, model: str = 'local') -> bool:
    """Whether one completion is answered with text, as soon as asked."""
    try:
        with chat(gateway.url, model, max_tokens=4) as call:
            return call.status == 200 and bool(call.json()['choices'][0]['message']['content'])
    except OSError:
        return False
