"""Leases: who may use which server now. Servers are started, swapped and stopped as their leases ask for it."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from typing import Any

from llmhost.config import Config
from llmhost.errors import LLMHostError, NotFoundError, RateLimitError, UnavailableError
from llmhost.host.engine import STOPPED_CODE
from llmhost.host.engines import Engines
from llmhost.host.leases import FairQueue, Key, Lease
from llmhost.host.llamacpp import SLOTS
from llmhost.host.turns import SWAP_PATIENCE, Member, next_turn
from llmhost.storage.servers import Server

Servers = Mapping[str, Server]
Group = tuple[str | None, str | None]
"""A memory group, or a server that is none's member."""

QUEUE_FULL_RETRY_AFTER = 1.0


class LeaseDesk:
    """`ask` for a lease, `leave` when it is used or no longer wanted. Lives in one event loop; nothing in it waits."""

    def __init__(self, config: Config, engines: Engines, swap_patience: float = SWAP_PATIENCE) -> None:
        self._config = config
        self._engines = engines
        self._swap_patience = swap_patience
        self._servers: Servers = {}
        self._members: dict[Group, list[str]] = {}
        self._queues: dict[str, FairQueue] = {}
        self._starts: dict[str, asyncio.Task[None]] = {}
        self._in_place: dict[str, float] = {}
        self._idle: dict[str, asyncio.TimerHandle] = {}
        self._wakes: dict[Group, asyncio.TimerHandle] = {}
        self._changed: set[Group] = set()
        self._is_closed = False
        engines.watch(self._on_change)

    def follow(self, servers: Servers) -> None:
        """Take over the registry's new state: a changed limit counts at once, and nobody waits for what is gone."""
        before, self._servers = self._servers, servers
        self._members = {}
        for name, server in servers.items():
            if server.managed and server.enabled:
                self._members.setdefault(_group_of(server), []).append(name)
            if server != before.get(name):
                self._forget_idle(name)
        for name in before.keys() - servers.keys():
            self._forget_idle(name)
            self._in_place.pop(name, None)
        for name in list(self._queues):
            try:
                self._server(name)
            except LLMHostError as error:
                self._refuse_waiting(name, error)
        for name, server in servers.items():
            if server is not before.get(name) and (server.managed or name in self._queues):
                self._pump(server)

    def ask(self, lease: Lease) -> None:
        """Grant it now, or when its turn comes, or refuse it."""
        try:
            server = self._server(lease.server)
        except LLMHostError as error:
            lease.refused(error)
            return
        if self._idle:
            self._forget_idle(server.name)
        queue = self._queues.get(server.name)
        if queue is None:
            queue = self._queues[server.name] = FairQueue()
        queue.add(lease)
        self._pump(server)
        if queue.is_waiting(lease):
            self._limit(server, queue, lease)

    def leave(self, lease: Lease) -> None:
        """It has ended, waiting or granted."""
        queue = self._queues.get(lease.server)
        if queue is None:
            return
        queue.remove(lease)
        if queue.is_empty:
            del self._queues[lease.server]
        server = self._servers.get(lease.server)
        if server is not None:
            self._pump(server)

    def is_loading(self, name: str) -> bool:
        """Whether it is a managed server that is not ready."""
        server = self._servers.get(name)
        return server is not None and server.managed and self._engines.url(name) is None

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """The leases of each server that is managed, limited or in use, by the keys' names ('' for none)."""
        idle = FairQueue()
        return {
            name: {
                'capacity': capacity_of(server),
                'running': _named(self._queues.get(name, idle).running_by_key()),
                'waiting': _named(self._queues.get(name, idle).waiting_by_key()),
            }
            for name, server in self._servers.items()
            if name in self._queues or server.enabled and (server.managed or capacity_of(server) is not None)
        }

    def close(self) -> None:
        """Refuse all that wait, and all that come."""
        self._is_closed = True
        for timer in (*self._idle.values(), *self._wakes.values()):
            timer.cancel()
        for name in list(self._queues):
            self._refuse_waiting(name, UnavailableError(f"'{name}' was stopped.", code=STOPPED_CODE))

    def _server(self, name: str) -> Server:
        server = self._servers.get(name)
        if server is None:
            raise NotFoundError(f"There is no server named '{name}'.", code='server_not_found')
        if self._is_closed:
            raise UnavailableError('The host is stopping.', code=STOPPED_CODE)
        if not server.enabled:
            raise UnavailableError(f"'{name}' is disabled.", code='server_disabled')
        return server

    def _limit(self, server: Server, queue: FairQueue, lease: Lease) -> None:
        """Refuse the last that came where too many wait. Those a loading server has slots for are not counted."""
        free = _capacity_or_infinity(server) - queue.running
        if queue.waiting - max(0, free) > self._config.queue_size:
            queue.remove(lease)
            lease.refused(RateLimitError(f"Too many requests wait for '{server.name}'.", retry_after=QUEUE_FULL_RETRY_AFTER))

    def _refuse_waiting(self, name: str, error: LLMHostError) -> None:
        queue = self._queues.get(name)
        if queue is not None:
            waiting = queue.remove_waiting()
            if queue.is_empty:
                del self._queues[name]
            for lease in waiting:
                lease.refused(error)

    def _pump(self, server: Server) -> None:
        """Do what can be done now for the leases of a server, and of those it shares memory with."""
        if server.managed:
            self._pump_group(_group_of(server))
        else:
            self._grant(server, None)

    def _grant(self, server: Server, url: str | None) -> None:
        queue = self._queues.get(server.name)
        if queue is not None and server.enabled:
            capacity = capacity_of(server)
            while (lease := queue.next(capacity)) is not None:
                lease.granted(url)

    def _pump_group(self, group: Group) -> None:
        names = self._members.get(group)
        if names is None or self._is_closed:
            return
        # what is on its way out still holds memory: nothing happens before it is gone, and that wakes us
        if not self._engines.is_any_stopping(names, group[0]):
            turn = next_turn(list(self._iter_members(names)), self._in_place, time.monotonic(), self._swap_patience)
            for name in turn.stop:
                self._engines.rest(name)
            if turn.holder is not None:
                self._serve(turn.holder)
            self._wake(group, turn.wake_at)
        for name in names:
            self._watch_idle(name)

    def _iter_members(self, names: list[str]) -> Iterator[Member]:
        for name in names:
            queue = self._queues.get(name)
            yield Member(
                name,
                is_active=name in self._starts or self._engines.is_active(name),
                ready_since=self._engines.ready_since(name),
                running=queue.running if queue is not None else 0,
                waiting_since=queue.oldest() if queue is not None else None,
            )

    def _serve(self, name: str) -> None:
        self._in_place[name] = time.monotonic()
        url = self._engines.url(name)
        if url is not None:
            self._grant(self._servers[name], url)
        elif name in self._queues and self._queues[name].waiting and name not in self._starts:
            self._starts[name] = asyncio.create_task(self._start(name), name=f'start {name}')

    async def _start(self, name: str) -> None:
        """Have it ready; where that fails, all that wait are told why."""
        try:
            await self._engines.ensure(name)
        except UnavailableError as error:
            if error.code != STOPPED_CODE:  # or else it is stopped for another's turn, or for its new settings
                self._refuse_waiting(name, error)
        finally:
            del self._starts[name]
        if name in self._servers:
            self._pump(self._servers[name])

    def _on_change(self, server: Server) -> None:
        """A process came up, failed or is gone. Looked at soon, not now: its task may have a line left to run."""
        if not self._changed:
            asyncio.get_running_loop().call_soon(self._pump_changed)
        self._changed |= {_group_of(server), _group_of(self._servers.get(server.name, server))}

    def _pump_changed(self) -> None:
        changed, self._changed = self._changed, set()
        for group in changed:
            self._pump_group(group)

    def _wake(self, group: Group, at: float | None) -> None:
        if group in self._wakes:
            self._wakes.pop(group).cancel()
        if at is not None:
            delay = max(0.0, at - time.monotonic())
            self._wakes[group] = asyncio.get_running_loop().call_later(delay, self._pump_group, group)

    def _watch_idle(self, name: str) -> None:
        """Count the time a server runs without a lease."""
        ttl = self._servers[name].idle_ttl
        if ttl is not None and name not in self._queues and name not in self._idle and self._engines.is_active(name):
            self._idle[name] = asyncio.get_running_loop().call_later(ttl, self._rest, name)

    def _forget_idle(self, name: str) -> None:
        if name in self._idle:
            self._idle.pop(name).cancel()

    def _rest(self, name: str) -> None:
        del self._idle[name]
        if name not in self._queues and self._engines.is_active(name):
            self._engines.rest(name)


def capacity_of(server: Server) -> int | None:
    """How many may use a server at once; None where nobody counts."""
    if server.max_concurrency is not None:
        return server.max_concurrency
    return SLOTS if server.gguf is not None else None


def _capacity_or_infinity(server: Server) -> float:
    capacity = capacity_of(server)
    return float('inf') if capacity is None else capacity


def _group_of(server: Server) -> Group:
    return (server.memory_group, None) if server.memory_group is not None else (None, server.name)


def _named(counts: Mapping[Key, int]) -> dict[str, int]:
    return {key or '': count for key, count in counts.items()}
