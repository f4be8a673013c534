"""Which server of a memory group is in place: of one group, one process runs at a time. Pure: no clock and no I/O."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SWAP_PATIENCE = 10.0
"""How long a model in place may go on serving new leases while a lease of another model waits."""


@dataclass(frozen=True, slots=True)
class Member:
    """A server of the group. `is_active`: it has a process, or is getting one. Times are monotonic."""

    name: str
    is_active: bool = False
    ready_since: float | None = None
    running: int = 0
    waiting_since: float | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """What to do now: `holder` may serve (and is to be started, if it is not), those in `stop` are to be stopped.

    Look again at `wake_at`, if nothing happens before.
    """

    holder: str | None = None
    stop: tuple[str, ...] = ()
    wake_at: float | None = None


def next_turn(members: Sequence[Member], in_place: Mapping[str, float], now: float, patience: float = SWAP_PATIENCE) -> Turn:
    """Whose turn it is; `in_place` has when each was in place last. Nobody is stopped who has running leases."""
    active = [member for member in members if member.is_active]
    if not active:
        return Turn(_next_of(members, in_place))
    # more than one is active only after the registry has put them into one group
    holder = max(active, key=lambda member: (member.running > 0, in_place.get(member.name, -math.inf)))
    stop = tuple(member.name for member in active if member is not holder and not member.running)
    ends_at = _end_of_turn(holder, members, patience)
    if now < ends_at:
        return Turn(holder.name, stop, None if math.isinf(ends_at) else ends_at)
    return Turn(None, stop if holder.running else (*stop, holder.name))


def _next_of(members: Sequence[Member], in_place: Mapping[str, float]) -> str | None:
    """In turn: of those that wait, the one whose turn is longest ago; among new ones, the longest-waiting."""
    waiting = [(in_place.get(member.name, -math.inf), member.waiting_since, member.name)
               for member in members if member.waiting_since is not None]
    return min(waiting)[2] if waiting else None


def _end_of_turn(holder: Member, members: Sequence[Member], patience: float) -> float:
    """When the holder stops serving new leases. Its turn begins when it is ready: loading may take longer than any patience."""
    waits = [member.waiting_since for member in members if member is not holder and member.waiting_since is not None]
    if not waits:
        return math.inf
    if not holder.running and holder.waiting_since is None:
        return -math.inf
    if holder.ready_since is None:
        return math.inf
    return max(min(waits), holder.ready_since) + patience
