"""All managed servers, as the registry has them."""

import asyncio
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

from llmhost.config import Config
from llmhost.errors import UnavailableError
from llmhost.host.board import StatusBoard
from llmhost.host.engine import Engine
from llmhost.host.launch import Launch, launch_of
from llmhost.storage.servers import Server
from llmhost.storage.status import STOPPED

Servers = Mapping[str, Server]


class Engines:
    """One engine for each enabled managed server. `follow` the registry; `ensure` that one runs."""

    def __init__(self, config: Config, board: StatusBoard) -> None:
        self._config = config
        self._board = board
        self._servers: Servers = {}
        self._engines: dict[str, Engine] = {}
        self._stops: set[asyncio.Task[None]] = set()

    def follow(self, servers: Servers) -> None:
        """Take over the registry's new state: what is gone, disabled or started differently now is stopped."""
        before, self._servers = self._servers, servers
        for name, engine in list(self._engines.items()):
            if not _runs(servers.get(name)):
                del self._engines[name]
                self._in_background(engine.stop())
        for name, server in servers.items():
            if _runs(server) and (name not in self._engines or _command_of(before[name]) != _command_of(server)):
                self._place(server)

    async def ensure(self, name: str) -> str:
        """The URL of a managed server, once it is ready. Raises UnavailableError."""
        if name not in self._engines:
            raise UnavailableError(f"'{name}' is disabled.", code='server_disabled')
        return await self._engines[name].ensure()

    async def stop(self) -> None:
        """Stop all of them at once; returns when they are gone."""
        engines, self._engines = self._engines, {}
        for engine in engines.values():
            self._in_background(engine.stop())
        if self._stops:
            await asyncio.wait(self._stops)

    def _place(self, server: Server) -> None:
        """A new engine; one it replaces is stopped first, and the new one started if the old one was running."""
        old = self._engines.get(server.name)
        engine = self._engines[server.name] = Engine(
            server.name,
            partial(self._launch, server.name),
            self._config.run_dir / 'logs' / f'{quote(server.name, safe="")}.log',
            start_timeout=self._config.start_timeout,
            report=partial(self._report, server.name),
            after=self._in_background(old.stop()) if old is not None else None,
        )
        self._report(server.name, STOPPED)
        if old is not None and old.wanted:
            engine.begin()

    def _launch(self, name: str) -> Launch:
        return launch_of(self._servers[name], self._config, self._servers.values())

    def _report(self, name: str, state: str, **seen: Any) -> None:
        server = self._servers[name]
        models = [{'id': model, 'created': 0, 'owned_by': name} for model in server.models or (name,)]
        self._board.put(name, state, models=models, **seen)

    def _in_background(self, stop: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(stop)
        self._stops.add(task)
        task.add_done_callback(self._stops.discard)
        return task


def _runs(server: Server | None) -> bool:
    return server is not None and server.managed and server.enabled


def _command_of(server: Server) -> tuple[object, ...]:
    """What decides how the process is started: a change of anything else needs no restart."""
    return server.gguf, server.command, server.context, server.threads, server.models
