"""How many requests run at once, over all workers, and the queue in front of that limit."""

import math
import threading
import time
from collections import deque
from collections.abc import Iterator

from llmhost.errors import RateLimitError
from llmhost.gateway.call import Call
from llmhost.storage.slots import SharedSlots

POLL_SECONDS = 0.005
"""How soon a slot that another worker gave back is noticed. A slot of this worker's own wakes the next in line at once."""


class Limiter:
    """Slots for requests; first come, first served within a worker."""

    def __init__(self, slots: SharedSlots, queue_size: int, queue_timeout: float) -> None:
        self._slots = slots
        self._queue_size = queue_size
        self._queue_timeout = queue_timeout
        self._line: deque[threading.Event] = deque()

    def iter_acquire(self, call: Call, tick: float) -> Iterator[None]:
        """Take a slot; yields every `tick` seconds while waiting. Raises RateLimitError when full, or after too long.

        The caller releases what it was given. Leaving the iterator early gives up the place in line.
        """
        if not self._line and self._slots.try_acquire():
            return
        if not self._slots.try_wait(self._queue_size):
            raise self._refusal('the queue is full')
        started = time.perf_counter()
        turn = threading.Event()
        self._line.append(turn)
        try:
            yield from self._iter_wait(turn, tick)
        finally:
            self._leave(turn)
            call.queued += time.perf_counter() - started

    def release(self) -> None:
        """Give a slot back, and let the next in line look at once."""
        self._slots.release()
        if self._line:
            self._line[0].set()

    def _iter_wait(self, turn: threading.Event, tick: float) -> Iterator[None]:
        now = time.monotonic()
        deadline, next_tick = now + self._queue_timeout, now + tick
        while not (self._line[0] is turn and self._slots.try_acquire()):
            now = time.monotonic()
            if now >= deadline:
                raise self._refusal(f'no turn within {self._queue_timeout:g} s')
            if now >= next_tick:
                next_tick = now + tick
                yield
            patience = POLL_SECONDS if self._line[0] is turn else min(deadline, next_tick) - now
            turn.wait(max(patience, 0.001))
            turn.clear()

    def _leave(self, turn: threading.Event) -> None:
        self._line.remove(turn)
        self._slots.stop_waiting()
        if self._line:
            self._line[0].set()

    def _refusal(self, reason: str) -> RateLimitError:
        retry_after = max(1, math.ceil(self._queue_timeout / 6))
        return RateLimitError(
            f'Rate limit reached: as many requests as may run at once are running, and {reason}. '
            f'Please try again in {retry_after}s.', retry_after=retry_after)
