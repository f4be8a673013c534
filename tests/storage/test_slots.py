import threading
import time

import pytest

from llmhost.storage.slots import ROW, ROWS, SharedSlots


@pytest.fixture
def open_slots(tmp_path):
    opened = []

    def open_slots(limit=3):
        opened.append(SharedSlots(tmp_path / 'run', limit))
        return opened[-1]

    yield open_slots
    for slots in opened:
        slots.close()


def test_slots_are_given_until_the_limit_and_again_when_given_back(open_slots):
    slots = open_slots(2)
    assert [slots.try_acquire() for _ in range(3)] == [True, True, False]
    slots.release()
    assert (slots.running(), slots.try_acquire(), slots.try_acquire()) == (1, True, False)


def test_all_who_share_the_folder_share_the_limit(open_slots):
    owners = [open_slots(4) for _ in range(3)]
    assert sum(owner.try_acquire() for _ in range(3) for owner in owners) == 4
    assert {owner.running() for owner in owners} == {4}


def test_threads_share_the_limit_exactly(open_slots):
    slots = [open_slots(10) for _ in range(4)]
    peak, now, lock = [0], [0], threading.Lock()

    def work(mine):
        for _ in range(50):
            if mine.try_acquire():
                with lock:
                    now[0] += 1
                    peak[0] = max(peak[0], now[0])
                with lock:
                    now[0] -= 1
                mine.release()
    threads = [threading.Thread(target=work, args=[mine]) for mine in slots for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert peak[0] <= 10 and slots[0].running() == 0


def test_places_in_the_queue_are_counted_over_all(open_slots):
    first, second = open_slots(), open_slots()
    assert [first.try_wait(2), second.try_wait(2), first.try_wait(2)] == [True, True, False]
    second.stop_waiting()
    assert (first.waiting(), first.try_wait(2)) == (1, True)


def test_slots_of_one_that_closed_are_free(open_slots, tmp_path):
    leaving = SharedSlots(tmp_path / 'run', 1)
    assert leaving.try_acquire()
    leaving.close()
    assert open_slots(1).try_acquire()


def test_counts_a_dead_owner_left_behind_are_cleared_by_who_takes_the_row(open_slots, tmp_path):
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'slots').write_bytes(ROW.pack(7, 7) * ROWS)
    slots = open_slots(1)
    assert slots.try_acquire()
    assert slots.running() == 1


@pytest.mark.parametrize('content', [b'', b'xyz', b'\xff' * 5000])
def test_table_file_that_is_short_or_garbage_is_no_obstacle(content, open_slots, tmp_path):
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'slots').write_bytes(content)
    assert open_slots(1).try_acquire()


def test_giving_back_more_than_was_taken_frees_no_slots_of_others(open_slots):
    first, second = open_slots(1), open_slots(1)
    assert first.try_acquire()
    second.release()
    assert (first.running(), second.try_acquire()) == (1, False)


def test_taking_and_giving_back_costs_microseconds(open_slots):
    slots = open_slots()
    rounds = 2000
    best = 1.0
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(rounds):
            slots.try_acquire()
            slots.release()
        best = min(best, (time.perf_counter() - started) / rounds)
    assert best < 200e-6
