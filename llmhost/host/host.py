"""The host itself: the registry it follows, and what it keeps for each server in it."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from llmhost.config import Config
from llmhost.errors import BadRequestError, LLMHostError, NotFoundError
from llmhost.host.board import StatusBoard
from llmhost.host.desk import LeaseDesk
from llmhost.host.engines import Engines
from llmhost.host.leases import Lease
from llmhost.host.memory import resident_bytes
from llmhost.host.probes import Probes
from llmhost.host.signals import Signal
from llmhost.storage.servers import Server, ServerRegistry
from llmhost.storage.status import DISABLED, ServerStatus, StatusFile

Document = dict[str, Any]

POLL_INTERVAL = 0.5

log = logging.getLogger(__name__)


class Host:
    """Probes, managed servers and their status, as the registry has them now. Lives in one event loop."""

    def __init__(self, config: Config, check_server: Callable[[Document], Document]) -> None:
        self._registry = ServerRegistry(config.data_dir / 'servers.json', check_server)
        self._servers: Mapping[str, Server] = {}
        self._board = StatusBoard(StatusFile(config.data_dir / 'status.json'))
        self._probes = Probes(config, self._board)
        self._engines = Engines(config, self._board)
        self._desk = LeaseDesk(config, self._engines)

    async def run(self) -> None:
        """Follow the registry and write the status, until cancelled; then stop everything, and return when it is gone."""
        try:
            self.refresh(first=True)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_following())
                tasks.create_task(self._board.run())
        finally:
            await self.close()

    async def close(self) -> None:
        self._desk.close()
        await asyncio.gather(self._engines.stop(), self._probes.close())
        await self._board.flush()

    def refresh(self, first: bool = False) -> None:
        """Take over the registry's present entries. Cheap when nothing changed."""
        try:
            servers = self._registry.current()
        except LLMHostError as error:
            log.error('%s', error)
            return
        if servers is self._servers and not first:
            return
        self._servers = servers
        self._board.keep_only(servers)
        self._engines.follow(servers)
        self._desk.follow(servers)
        self._probes.follow(servers)
        for name, server in servers.items():
            if not server.enabled:
                self._board.put(name, DISABLED)

    async def start(self, name: str) -> str:
        """The URL of a managed server, once it is ready: a lease that is given back at once.

        Raises NotFoundError, BadRequestError for one that is not managed, UnavailableError with the reason it is not ready.
        """
        if not self._server(name).managed:
            raise BadRequestError(f"'{name}' is not managed by llmhost: it is started elsewhere.", code='server_not_managed')
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def grant(url: str | None) -> None:
            if not answer.done():  # the caller left this very moment
                answer.set_result(url or '')

        def refuse(error: LLMHostError) -> None:
            if not answer.done():
                answer.set_exception(error)

        lease = Lease(name, None, time.monotonic(), grant, refuse)
        try:
            self._desk.ask(lease)
            return await answer
        finally:
            self._desk.leave(lease)

    def ask(self, lease: Lease) -> None:
        """Grant the lease or refuse it, now or later."""
        self.refresh()
        self._desk.ask(lease)

    def leave(self, lease: Lease) -> None:
        """The lease has ended, waiting or granted."""
        self._desk.leave(lease)

    def is_loading(self, name: str) -> bool:
        return self._desk.is_loading(name)

    async def leases(self) -> Document:
        """Who uses and who waits for each server that gives leases, and the `memory` in bytes of those that run here."""
        self.refresh()
        pids = {name: self._board.of(name).pid for name in self._servers}
        resident = await asyncio.to_thread(resident_bytes, {pid for pid in pids.values() if pid is not None})
        return {
            name: {**leases, 'memory': resident.get(pids.get(name) or 0)}
            for name, leases in self._desk.snapshot().items()
        }

    def signal(self, name: str, signal: Signal) -> ServerStatus:
        """Take over what a worker saw of a server; its status. Raises NotFoundError."""
        self._server(name)
        self._probes.signal(name, signal)
        return self._board.of(name)

    async def probe(self, name: str) -> ServerStatus:
        """Look at a server now; its status, which is written already. Raises NotFoundError."""
        server = self._server(name)
        status = self._board.of(name)
        if server.enabled and not server.managed:
            status = await self._probes.probe(name)
        await self._board.flush()
        return status

    def _server(self, name: str) -> Server:
        self.refresh()
        if name not in self._servers:
            raise NotFoundError(f"There is no server named '{name}'.", code='server_not_found')
        return self._servers[name]

    async def _keep_following(self) -> None:
        while True:
            await asyncio.sleep(POLL_INTERVAL)
            self.refresh()
