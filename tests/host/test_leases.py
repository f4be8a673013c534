"""The fair queue, alone."""
import heapq
import random
from collections import Counter

import pytest

from llmhost.host.leases import FairQueue, Key, Lease


def lease(key: Key, since: float = 0.0) -> Lease:
    return Lease('gpu', key, since, granted=lambda url: None, refused=lambda error: None)


def queue_of(*leases: Lease) -> FairQueue:
    queue = FairQueue()
    for one in leases:
        queue.add(one)
    return queue


def order_of(queue: FairQueue, capacity: int | None = 1) -> list[Key]:
    """The keys in the order they are served, each lease ending before the next one begins."""
    order = []
    while (one := queue.next(capacity)) is not None:
        order.append(one.key)
        queue.remove(one)
    return order


def test_one_request_behind_sixty_of_another_key_is_next_but_one() -> None:
    queue = queue_of(*(lease('A') for _ in range(60)))
    first = queue.next(1)
    assert first is not None
    queue.add(lease('B'))
    queue.remove(first)
    assert order_of(queue)[:3] == ['B', 'A', 'A']


def test_first_come_is_first_served_within_a_key() -> None:
    leases = [lease('A', since) for since in range(5)]
    queue = queue_of(*leases)
    assert [queue.next(None) for _ in range(5)] == leases


def test_among_equals_the_one_served_longest_ago_is_next() -> None:
    queue = queue_of(*(lease(key) for key in 'AAABBBCCC'))
    assert order_of(queue) == list('ABCABCABC')


def test_the_key_with_fewest_running_is_next() -> None:
    queue = queue_of(lease('B'), lease('A'), lease('A'), lease('B'))
    running = [queue.next(4), queue.next(4)]
    assert [one.key for one in running if one] == ['B', 'A']
    queue.remove(running[1])  # type: ignore[arg-type]
    third = queue.next(4)
    assert third is not None and third.key == 'A', 'it was served later than B, but has nothing running'


@pytest.mark.parametrize(('capacity', 'granted'), [(1, 1), (3, 3), (None, 10)])
def test_capacity_bounds_what_runs(capacity: int | None, granted: int) -> None:
    queue = queue_of(*(lease(None) for _ in range(10)))
    while queue.next(capacity):
        pass
    assert (queue.running, queue.waiting) == (granted, 10 - granted)


def test_capacity_that_shrinks_ends_nothing_and_grants_nothing() -> None:
    queue = queue_of(*(lease('A') for _ in range(4)))
    running = [queue.next(3) for _ in range(3)]
    assert queue.next(1) is None
    for one in running[:2]:
        queue.remove(one)  # type: ignore[arg-type]
        assert queue.next(1) is None
    queue.remove(running[2])  # type: ignore[arg-type]
    assert queue.next(1) is not None


def test_a_lease_that_leaves_the_queue_is_never_served() -> None:
    leases = [lease('A'), lease('A'), lease('B')]
    queue = queue_of(*leases)
    queue.remove(leases[0])
    queue.remove(leases[0])
    assert [queue.next(None), queue.next(None), queue.next(None)] == [leases[1], leases[2], None]
    assert queue.waiting_by_key() == {}
    assert queue.running_by_key() == {'A': 1, 'B': 1}


def test_oldest_is_the_longest_waiting_lease_of_all_keys() -> None:
    early = lease('B', 1.0)
    queue = queue_of(lease('A', 2.0), early, lease('B', 3.0))
    assert queue.oldest() == 1.0
    queue.remove(early)
    assert queue.oldest() == 2.0
    assert FairQueue().oldest() is None


@pytest.mark.parametrize('capacity', [1, 4])
@pytest.mark.parametrize('seed', range(5))
def test_no_key_gets_less_than_four_fifths_of_its_share_while_it_waits(capacity: int, seed: int) -> None:
    shares = Simulation(capacity, seed).run(6000)
    assert len(shares) == 8
    assert min(shares.values()) > 0.8, shares


class Simulation:
    """Eight keys whose requests arrive at random, some ten times as often as others, and last at random."""

    def __init__(self, capacity: int, seed: int) -> None:
        self._random = random.Random(seed)
        self._capacity = capacity
        self._queue = FairQueue()
        self._ends: list[tuple[float, int, Lease]] = []
        self._due: dict[Key, float] = {}
        self._got: Counter[Key] = Counter()

    def run(self, requests: int) -> dict[Key, float]:
        """What each key got, of its due while it waited."""
        for number, (time, key) in enumerate(self._arrivals(requests)):
            while self._ends and self._ends[0][0] <= time:
                end, _, ended = heapq.heappop(self._ends)
                self._queue.remove(ended)
                self._serve(end, number)
            self._queue.add(lease(key, time))
            self._serve(time, number)
        return {key: self._got[key] / due for key, due in self._due.items()}

    def _arrivals(self, requests: int) -> list[tuple[float, str]]:
        rates = {f'key {number}': self._random.uniform(0.05, 0.5) * self._capacity for number in range(8)}
        arrivals = []
        for key, rate in rates.items():
            time = 0.0
            for _ in range(requests // 8):
                time += self._random.expovariate(rate)
                arrivals.append((time, key))
        return sorted(arrivals)

    def _serve(self, now: float, number: int) -> None:
        """Each grant that several wait for is worth one; due to each who waits is its part of it."""
        while True:
            waiting = self._queue.waiting_by_key()
            one = self._queue.next(self._capacity)
            if one is None:
                return
            heapq.heappush(self._ends, (now + self._random.expovariate(1.0), id(one), one))
            if len(waiting) > 1:
                self._got[one.key] += 1
                for key in waiting:
                    self._due[key] = self._due.get(key, 0.0) + 1 / len(waiting)
