"""Who uses a server, who waits for it, and whose turn is next. Pure: no clock and no I/O."""

from collections.abc import Callable
from dataclasses import dataclass

from llmhost.errors import LLMHostError

Key = str | None
"""The name of an API key; None where none is needed."""


@dataclass(eq=False, slots=True)
class Lease:
    """One request's right to use a slot of `server`, asked for at the moment `since` (monotonic).

    Either `granted` is called, with the URL of a managed server, or `refused`; neither once it has left.
    """

    server: str
    key: Key
    since: float
    granted: Callable[[str | None], None]
    refused: Callable[[LLMHostError], None]


class FairQueue:
    """One server's leases. Of the waiting keys the one with the fewest running leases is next, among equals the one
    served longest ago; within a key, first come is first served."""

    def __init__(self) -> None:
        self._running: set[Lease] = set()
        self._waiting: dict[Key, dict[Lease, None]] = {}
        self._waiting_count = 0
        self._running_by_key: dict[Key, int] = {}
        self._served: dict[Key, int] = {}
        self._turn = 0

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return self._waiting_count

    @property
    def is_empty(self) -> bool:
        return not self._running and not self._waiting

    def oldest(self) -> float | None:
        """Since when the longest-waiting lease waits."""
        return min((next(iter(leases)).since for leases in self._waiting.values()), default=None)

    def is_waiting(self, lease: Lease) -> bool:
        return lease in self._waiting.get(lease.key, ())

    def add(self, lease: Lease) -> None:
        """Let it wait."""
        self._waiting.setdefault(lease.key, {})[lease] = None
        self._waiting_count += 1

    def next(self, capacity: int | None) -> Lease | None:
        """The lease whose turn it is, which runs from now on; None where none waits, or `capacity` are running."""
        if not self._waiting or (capacity is not None and len(self._running) >= capacity):
            return None
        key = min(self._waiting, key=lambda key: (self._running_by_key.get(key, 0), self._served.get(key, 0)))
        lease = next(iter(self._waiting[key]))
        self._stop_waiting(lease)
        self._running.add(lease)
        self._running_by_key[key] = self._running_by_key.get(key, 0) + 1
        self._turn += 1
        self._served[key] = self._turn
        return lease

    def remove(self, lease: Lease) -> None:
        """It has ended, or left before its turn came. One that is not here is none of our business."""
        if lease in self._running:
            self._running.remove(lease)
            self._running_by_key[lease.key] -= 1
            if not self._running_by_key[lease.key]:
                del self._running_by_key[lease.key]
        elif self.is_waiting(lease):
            self._stop_waiting(lease)

    def remove_waiting(self) -> list[Lease]:
        """All that wait, who do so no longer."""
        leases = [lease for leases in self._waiting.values() for lease in leases]
        self._waiting, self._waiting_count = {}, 0
        return leases

    def running_by_key(self) -> dict[Key, int]:
        return dict(self._running_by_key)

    def waiting_by_key(self) -> dict[Key, int]:
        return {key: len(leases) for key, leases in self._waiting.items()}

    def _stop_waiting(self, lease: Lease) -> None:
        leases = self._waiting[lease.key]
        del leases[lease]
        self._waiting_count -= 1
        if not leases:
            del self._waiting[lease.key]
