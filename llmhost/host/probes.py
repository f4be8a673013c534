"""Follows the health of every unmanaged server."""

import asyncio
import logging
import random
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack

import httpx2

from llmhost.config import Config
from llmhost.host.backoff import Backoff
from llmhost.host.board import StatusBoard
from llmhost.host.probe import CA_VARIABLES, Seen, look, open_client
from llmhost.host.signals import Hold, Signal, error_of, hold_of
from llmhost.storage.servers import Server
from llmhost.storage.status import DOWN, LOADING, RATE_LIMITED, UP, ServerStatus

Servers = Mapping[str, Server]

TIMEOUT = 5.0
AT_ONCE = 16
JITTER = 0.1
LOADING_PAUSE = 1.0
DOWN_FIRST_PAUSE, DOWN_LAST_PAUSE = 2.0, 8.0
"""A server that is down is asked again sooner than a healthy one, then four times slower; its return shows within 10 s."""
SIGNAL_PAUSE = 1.0
"""Workers that say a server is down have it probed at once, but not more often than this."""

log = logging.getLogger(__name__)


class Probes:
    """One task for each enabled unmanaged server, at most `AT_ONCE` of them asking at a time."""

    def __init__(self, config: Config, board: StatusBoard) -> None:
        self._config = config
        self._board = board
        self._servers: dict[str, Server] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._holds: dict[str, Hold] = {}
        self._looked_at: dict[str, float] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._client: httpx2.AsyncClient | None = None
        self._open = AsyncExitStack()

    def follow(self, servers: Servers) -> None:
        """Take over the registry's new state: what is new or changed is probed at once."""
        probed = {name: server for name, server in servers.items() if server.enabled and not server.managed}
        for name in [name for name, server in self._servers.items() if probed.get(name) != server]:
            self._tasks.pop(name).cancel()
            self._release(name)
            if name in probed and _place_of(probed[name]) != _place_of(self._servers[name]):
                self._board.forget(name)
        for name, server in probed.items():
            if name not in self._tasks:
                if name not in self._servers:
                    self._hold(name, hold_of(self._board.of(name)))
                self._keep(server)
        self._servers = probed

    async def probe(self, name: str) -> ServerStatus:
        """Look now, and regularly from now on; the server's new status."""
        server = self._servers[name]
        state = await self._look(server)
        if self._servers.get(name) is server:
            self._keep_anew(server, state)
        return self._board.of(name)

    def signal(self, name: str, signal: Signal) -> None:
        """Take over what a worker's request met with. A managed or disabled server's state is not its business."""
        server = self._servers.get(name)
        if server is None:
            return
        hold, was = signal.hold(self._holds.get(name)), self._board.of(name).state
        self._release(name)
        self._hold(name, hold)
        until = hold.until if signal.state == RATE_LIMITED and hold is not None else None
        self._board.put(name, signal.state, error=error_of(signal, server, self._config.variables), until=until)
        if signal.state == DOWN != was:
            is_fresh = time.monotonic() - self._looked_at.get(name, -SIGNAL_PAUSE) < SIGNAL_PAUSE
            self._keep_anew(server, DOWN if is_fresh else None)

    async def close(self) -> None:
        for name in list(self._holds):
            self._release(name)
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._open.aclose()

    def _keep_anew(self, server: Server, state: str | None) -> None:
        self._tasks.pop(server.name).cancel()
        self._keep(server, state)

    def _keep(self, server: Server, state: str | None = None) -> None:
        self._tasks[server.name] = asyncio.create_task(self._keep_probing(server, state), name=f'probe {server.name}')

    async def _keep_probing(self, server: Server, state: str | None) -> None:
        """Look again and again, beginning with a pause where `state` was seen just now."""
        down = Backoff(DOWN_FIRST_PAUSE, min(DOWN_LAST_PAUSE, self._config.probe_interval))
        while True:
            state = state or await self._look(server)
            if state == DOWN:
                down.fail()
                pause = down.remaining()
            else:
                down.reset()
                pause = LOADING_PAUSE if state == LOADING else self._config.probe_interval
            await asyncio.sleep(pause * random.uniform(1 - JITTER, 1))
            state = None

    async def _look(self, server: Server) -> str:
        async with self._slots:
            seen = await self._seen(server)
        if self._servers.get(server.name) is server:  # or else it was changed meanwhile, and this is of no use
            self._looked_at[server.name] = time.monotonic()
            self._note(server.name, seen)
        return seen.state

    def _note(self, name: str, seen: Seen) -> None:
        """A server that lists its models may still refuse every request: then what the workers said stands."""
        if name in self._holds and seen.state in (UP, LOADING):
            held = self._board.of(name)
            self._board.put(name, held.state, error=held.error, models=seen.models, until=held.until)
        else:
            self._release(name)
            self._board.put(name, seen.state, error=seen.error, models=seen.models)

    def _hold(self, name: str, hold: Hold | None) -> None:
        if hold is not None:
            hold.timer = asyncio.get_running_loop().call_later(hold.remaining(), self._end_hold, name)
            self._holds[name] = hold

    def _release(self, name: str) -> None:
        hold = self._holds.pop(name, None)
        if hold is not None and hold.timer is not None:
            hold.timer.cancel()

    def _end_hold(self, name: str) -> None:
        """A rate limit is over when it was said to be; what was misconfigured is looked at again."""
        if self._holds.pop(name).state == RATE_LIMITED:
            self._board.put(name, UP)
        else:
            self._keep_anew(self._servers[name], None)

    async def _seen(self, server: Server) -> Seen:
        try:
            client = await self._opened()
        except OSError as error:  # ssl's own errors are such too
            return Seen(DOWN, f'The certificates of {" or ".join(CA_VARIABLES)} cannot be read: {error.strerror or error}.')
        try:
            return await look(client, server, self._config.variables, TIMEOUT)
        except Exception as error:  # a defect that one server's answer brought out must not end its probing for good
            log.exception("The answer of '%s' to a probe cannot be judged.", server.name)
            return Seen(DOWN, f'It cannot be judged ({type(error).__name__}); the log has the cause.')

    async def _opened(self) -> httpx2.AsyncClient:
        """The client, opened by the first probe: loading certificates takes a tenth of a second."""
        if self._client is None:
            self._client = open_client(TIMEOUT, self._config.variables)
            await self._open.enter_async_context(self._client)
        return self._client


def _place_of(server: Server) -> tuple[object, ...]:
    """What makes it another server, whose models and errors are not those seen before."""
    return server.provider, server.url
