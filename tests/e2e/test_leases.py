"""Fair turns at a server that takes only so many requests at once, whichever worker they came through."""

import json
import os
import signal
import threading
import time

import pytest
from fake_upstream import FakeUpstream, Reply

from llmhost.config import Config
from llmhost.services import Services

from .conftest import StartGateway
from .gateway import Gateway
from .wire import CHAT, Call, build_chat, chat, list_chats

pytestmark = pytest.mark.e2e


def start_limited(start_gateway: StartGateway, upstream: FakeUpstream, workers: int, slots: int, **settings: str) -> Gateway:
    gateway = start_gateway(workers=workers, **settings)
    gateway.flask('servers', 'add', 'fake', upstream.url, '--provider', 'openai', '--max-concurrency', str(slots))
    upstream.always(CHAT, lambda request: upstream.dialect.answer(request).with_(delay=0.03))
    return gateway


def make_key(gateway: Gateway, name: str) -> str:
    return str(json.loads(gateway.flask('keys', 'create', name, '--json'))['key'])


class Asker:
    """A request of one key, under way in a thread."""

    def __init__(self, gateway: Gateway, key: str, name: str) -> None:
        self.status = 0
        self.thread = threading.Thread(target=self.run, args=(gateway, key, name))
        self.thread.start()

    def run(self, gateway: Gateway, key: str, name: str) -> None:
        headers = {'Authorization': f'Bearer {key}', 'X-Request-Id': name}
        with Call(gateway.url + CHAT, build_chat('m1'), headers, timeout=60) as call:
            self.status = call.status


def served(upstream: FakeUpstream) -> list[str]:
    """The requests in the order in which the server got them."""
    return [request.headers['x-request-id'] for request in list_chats(upstream)]


@pytest.mark.parametrize('workers', [1, 4])
def test_one_request_of_another_key_waits_for_at_most_one_turn(
    workers: int, start_gateway: StartGateway, upstream: FakeUpstream
) -> None:
    gateway = start_limited(start_gateway, upstream, workers, slots=1)
    first, second = make_key(gateway, 'a'), make_key(gateway, 'b')
    askers = [Asker(gateway, first, f'a{number}') for number in range(60)]
    upstream.wait_until(lambda one: len(list_chats(one)) >= 3, 10)
    wait_for_queue(gateway, 'a', 40)
    before = len(served(upstream))
    askers.append(Asker(gateway, second, 'b'))
    for asker in askers:
        asker.thread.join(60)
    assert {asker.status for asker in askers} == {200}
    assert upstream.peak <= 2  # the server counts a request until its thread has ended, a moment after its answer
    assert served(upstream).index('b') <= before + 2


def wait_for_queue(gateway: Gateway, key: str, count: int) -> None:
    """Until `count` requests of the key wait in the host."""
    deadline = time.monotonic() + 10
    while waiting(gateway).get(key, 0) < count:
        assert time.monotonic() < deadline, waiting(gateway)
        time.sleep(0.01)


def waiting(gateway: Gateway) -> dict[str, int]:
    """The requests that wait for the server, by key, as the host counts them."""
    services = Services(Config(data_dir=gateway.data_dir))
    try:
        counts: dict[str, int] = services.hostlink.leases()['fake']['waiting']
        return counts
    finally:
        services.close()


def test_killed_worker_frees_what_it_held(start_gateway: StartGateway, upstream: FakeUpstream) -> None:
    gateway = start_limited(start_gateway, upstream, workers=1, slots=10)
    upstream.always(CHAT, Reply(hang=True))
    calls = [chat(gateway.url, 'm1') for _ in range(10)]
    upstream.wait_until(lambda one: len(list_chats(one)) == 10, 10)
    worker = next(iter(gateway.worker_pids))
    os.kill(worker, signal.SIGKILL)
    gateway.program.wait_until_answers(f'{gateway.url}/livez')
    upstream.always(CHAT, lambda request: upstream.dialect.answer(request))
    with chat(gateway.url, 'm1') as call:
        assert call.status == 200
    for call in calls:
        call.close()
