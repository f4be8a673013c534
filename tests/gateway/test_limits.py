import math
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from fake_upstream import Reply
from front_door import CHAT, EMBEDDINGS, KEEP_ALIVE, FrontDoor

from llmhost.app import create_app
from llmhost.config import Config
from llmhost.gateway.call import Call
from llmhost.gateway.limits import Limiter
from llmhost.storage.slots import SharedSlots

CHUNK = {'choices': [{'delta': {'content': 'x'}}]}
HOLDER = '''
import sys, time
from pathlib import Path
from llmhost.storage.slots import SharedSlots
slots = SharedSlots(Path(sys.argv[1]), int(sys.argv[2]))
taken = sum(slots.try_acquire() for _ in range(int(sys.argv[3])))
print(taken, flush=True)
sys.stdin.read()
'''

one_at_a_time = pytest.mark.parametrize('settings', [{'max_concurrency': 1, 'queue_timeout': 5.0}])
impatient = pytest.mark.parametrize('settings', [{'max_concurrency': 1, 'queue_timeout': 0.1}])
no_queue = pytest.mark.parametrize('settings', [{'max_concurrency': 1, 'queue_size': 1, 'queue_timeout': 5.0}])
embed = {'model': 'm', 'input': 'x'}


@pytest.fixture
def box(add):
    return add('box')


@pytest.fixture
def pool():
    with ThreadPoolExecutor(64) as pool:
        yield pool


@pytest.fixture
def waits(app):
    """Await that so many requests wait in the queue."""
    slots = app.extensions['llmhost'].slots

    def waits(count):
        deadline = time.monotonic() + 2
        while slots.waiting() != count:
            assert time.monotonic() < deadline, f'{slots.waiting()} wait, not {count}'
            time.sleep(0.001)

    return waits


def hold(door, box):
    """A stream that occupies a slot until it is closed."""
    box.answer(CHAT, Reply.events(CHUNK, math.inf))
    response = door.open()
    next(response.response)
    return response


@pytest.mark.parametrize('settings', [{'max_concurrency': 3, 'queue_timeout': 5.0}])
def test_no_more_run_at_once_than_may_and_all_are_answered(app, box, pool):
    box.always(CHAT, lambda _: Reply.sample('openai/chat.json', delay=0.01))
    answers = list(pool.map(lambda _: FrontDoor(app).chat(), range(30)))
    assert [answer.status_code for answer in answers] == [200] * 30
    assert box.peak == 3
    slots = app.extensions['llmhost'].slots
    assert (slots.running(), slots.waiting()) == (0, 0)


def test_fifty_at_once_run_with_no_added_wait(app, box, pool):
    together = threading.Barrier(50, timeout=20)

    def answer(_):
        together.wait()
        return Reply.sample('openai/chat.json')
    box.always(CHAT, answer)
    answers = list(pool.map(lambda _: FrontDoor(app).chat(), range(50)))
    assert {answer.headers['x-llmhost-queue-ms'] for answer in answers} == {'0.00'}
    assert box.peak == 50


@one_at_a_time
def test_request_over_the_limit_waits_for_its_turn_and_says_how_long(app, door, box, pool, waits):
    held = hold(door, box)
    waiting = pool.submit(FrontDoor(app).chat)
    waits(1)
    assert len(box.requests) == 1
    held.close()
    answer = waiting.result(2)
    assert answer.status_code == 200 and float(answer.headers['x-llmhost-queue-ms']) > 0


@one_at_a_time
def test_requests_have_their_turn_in_the_order_they_came(app, door, box, pool, waits):
    held = hold(door, box)
    waiting = []
    for number in range(5):
        waiting.append(pool.submit(FrontDoor(app).chat, seed=number))
        waits(number + 1)
    held.close()
    assert [future.result(2).status_code for future in waiting] == [200] * 5
    assert [request.json['seed'] for request in box.requests[1:]] == [0, 1, 2, 3, 4]


@one_at_a_time
def test_next_in_line_is_woken_at_once_by_who_gives_a_slot_back(app, door, box, pool, waits, monkeypatch):
    monkeypatch.setattr('llmhost.gateway.limits.POLL_SECONDS', 3.0)
    held = hold(door, box)
    waiting = pool.submit(FrontDoor(app).chat)
    waits(1)
    held.close()
    assert waiting.result(1).status_code == 200


def test_newcomer_does_not_overtake_those_who_wait(tmp_path):
    slots = SharedSlots(tmp_path, 1)
    limiter = Limiter(slots, queue_size=9, queue_timeout=5.0)
    assert slots.try_acquire()
    first, newcomer = (limiter.iter_acquire(Call('r', 'chat'), tick=0.001) for _ in range(2))
    assert next(first, 'taken') is None
    slots.release()
    assert next(newcomer, 'taken') is None
    assert next(first, 'taken') == 'taken'
    limiter.release()
    assert next(newcomer, 'taken') == 'taken'
    slots.close()


@impatient
@pytest.mark.parametrize('ask', [
    lambda door: door.chat(), lambda door: door.chat(stream=True), lambda door: door.post(EMBEDDINGS, embed),
    lambda door: door.post('/v1/rerank', {'model': 'm', 'query': 'x', 'documents': ['y']}),
], ids=['chat', 'stream', 'embeddings', 'rerank'])
def test_request_that_waited_too_long_is_told_when_to_come_back(ask, door, box):
    held = hold(door, box)
    answer = ask(door)
    assert answer.status_code == 429
    assert 1 <= int(answer.headers['retry-after']) <= 120
    error = answer.json['error']
    assert (error['type'], error['code'], error['param']) == ('requests', 'rate_limit_exceeded', None)
    assert len(box.requests) == 1
    held.close()
    assert ask(door).status_code == 200


@no_queue
def test_request_that_finds_the_queue_full_is_turned_away_at_once(app, door, box, pool, waits):
    held = hold(door, box)
    waiting = pool.submit(FrontDoor(app).chat)
    waits(1)
    started = time.monotonic()
    answer = door.chat()
    assert (answer.status_code, 'queue is full' in answer.json['error']['message']) == (429, True)
    assert time.monotonic() - started < 1
    held.close()
    assert waiting.result(2).status_code == 200


@pytest.mark.parametrize('settings', [{'max_concurrency': 1, 'queue_timeout': 5.0, 'keepalive_interval': 0.03}])
def test_stream_that_waits_for_its_turn_is_kept_alive(door, box):
    held = hold(door, box)
    response = door.open()
    assert [next(response.response), next(response.response)] == [KEEP_ALIVE] * 2
    held.close()
    assert b'[DONE]' in b''.join(response.response)
    response.close()


@pytest.mark.parametrize('settings', [{'max_concurrency': 1, 'queue_timeout': 5.0, 'keepalive_interval': 0.03}])
def test_client_that_leaves_the_queue_gives_up_its_place(door, box, waits):
    held = hold(door, box)
    response = door.open()
    next(response.response)
    waits(1)
    response.close()
    waits(0)
    held.close()
    assert len(box.requests) == 1
    assert door.chat().status_code == 200


@one_at_a_time
@pytest.mark.parametrize('fail', [
    lambda door, box: box.answer(CHAT, Reply(drop=True)), lambda door, box: box.answer(CHAT, Reply.error(400, 'x')),
    lambda door, box: box.answer(CHAT, Reply.events(CHUNK, done=False)), lambda door, box: box.refuse(),
], ids=['dropped', 'refused request', 'broken stream', 'refused connection'])
@pytest.mark.parametrize('stream', [False, True])
def test_failed_request_gives_its_slot_back(fail, stream, door, box):
    fail(door, box)
    door.chat(stream=stream)
    assert door.services.slots.running() == 0


@one_at_a_time
@pytest.mark.parametrize('payload', [{'model': 'nope'}, {'messages': []}, {'temperature': 9}])
def test_request_that_can_never_be_served_does_not_wait(payload, door, box):
    held = hold(door, box)
    assert door.chat(**payload).status_code in (400, 404)
    assert door.post('/v1/rerank', {'model': 'nope', 'query': 'x', 'documents': ['y']}).status_code == 404
    held.close()


# several processes


@pytest.fixture
def holder(app):
    """Start a process that takes slots; it holds them until its input closes, or it is killed."""
    processes = []
    config = app.extensions['llmhost'].config

    def holder(wanted):
        command = [sys.executable, '-c', HOLDER, str(config.run_dir), str(config.max_concurrency), str(wanted)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return process, int(process.stdout.readline())

    yield holder
    for process in processes:
        with process:
            process.kill()


@pytest.mark.parametrize('settings', [{'max_concurrency': 5, 'queue_timeout': 0.1}])
def test_processes_share_the_limit_exactly(door, box, holder):
    assert [holder(3)[1], holder(3)[1]] == [3, 2]
    assert door.services.slots.running() == 5
    assert door.chat().status_code == 429


@pytest.mark.parametrize('settings', [{'max_concurrency': 4, 'queue_timeout': 2.0}])
def test_killed_process_gives_its_slots_back(door, box, holder):
    process, taken = holder(9)
    assert (taken, door.services.slots.try_acquire()) == (4, False)
    process.kill()
    process.wait()
    assert door.chat().status_code == 200
    assert door.services.slots.running() == 0


@pytest.mark.parametrize('settings', [{'max_concurrency': 4, 'queue_timeout': 5.0}])
def test_slot_another_process_gave_back_is_noticed_by_one_that_waits(app, door, box, holder, pool, waits):
    process, _ = holder(4)
    waiting = pool.submit(FrontDoor(app).chat)
    waits(1)
    process.stdin.close()
    process.wait()
    assert waiting.result(2).status_code == 200


@one_at_a_time
def test_two_workers_share_the_limit(app, door, box, pool, waits, tmp_path, settings):
    other = create_app(Config(data_dir=tmp_path / 'data', **settings))
    held = hold(door, box)
    waiting = pool.submit(FrontDoor(other).chat)
    waits(1)
    held.close()
    assert waiting.result(2).status_code == 200
    other.extensions['llmhost'].close()
