"""Pauses that double."""

import time


class Backoff:
    """Pauses from `first` to `last` seconds, each twice the one before; `reset` begins anew."""

    def __init__(self, first: float, last: float) -> None:
        self._first = first
        self._last = last
        self._next = first
        self._until = 0.0

    def fail(self) -> None:
        """Begin the next pause."""
        self._until = time.monotonic() + self._next
        self._next = min(self._last, self._next * 2)

    def reset(self) -> None:
        self._next = self._first

    def remaining(self) -> float:
        """Seconds until the present pause is over."""
        return max(0.0, self._until - time.monotonic())
