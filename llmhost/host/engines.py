"""All managed servers, as the registry has them."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from llmhost.config import Config
from llmhost.errors import UnavailableError
from llmhost.host.board import StatusBoard
from llmhost.host.engine import Engine
from llmhost.host.launch import Launch, launch_of
from llmhost.host.memory import check_fits
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
        self._stops: dict[asyncio.Task[None], Server] = {}
        self._on_change: Callable[[Server], None] = lambda server: None

    def watch(self, on_change: Callable[[Server], None]) -> None:
        """Call `on_change` whenever a server came up, failed or is gone."""
        self._on_change = on_change

    def follow(self, servers: Servers) -> None:
        """Take over the registry's new state: what is gone, disabled or started differently now is stopped."""
        before, self._servers = self._servers, servers
        for name, engine in list(self._engines.items()):
            if not _runs(servers.get(name)):
                del self._engines[name]
                self._in_background(engine.stop(), before[name])
        for name, server in servers.items():
            if _runs(server) and (name not in self._engines or _command_of(before[name]) != _command_of(server)):
                self._place(server, before.get(name))

    async def ensure(self, name: str) -> str:
        """The URL of a managed server, once it is ready. Raises UnavailableError."""
        if name not in self._engines:
            raise UnavailableError(f"'{name}' is disabled.", code='server_disabled')
        return await self._engines[name].ensure()

    def url(self, name: str) -> str | None:
        """The URL of a server that is ready."""
        engine = self._engines.get(name)
        return engine.url if engine is not None else None

    def ready_since(self, name: str) -> float | None:
        engine = self._engines.get(name)
        return engine.ready_since if engine is not None else None

    def is_active(self, name: str) -> bool:
        """Whether it has a process, or is getting one."""
        return name in self._engines and self._engines[name].is_active

    def is_any_stopping(self, names: Collection[str], memory_group: str | None) -> bool:
        """Whether one of them, or another one of their group, is being stopped now."""
        return any(
            server.name in names or memory_group is not None and server.memory_group == memory_group
            for server in self._stops.values()
        )

    def rest(self, name: str) -> None:
        """Stop a server until it is wanted again."""
        self._in_background(self._rest(name, self._engines[name]), self._servers[name])

    async def _rest(self, name: str, engine: Engine) -> None:
        await engine.stop()
        if self._engines.get(name) is engine:
            self._report(name, STOPPED)

    async def stop(self) -> None:
        """Stop all of them at once; returns when they are gone."""
        engines, self._engines = self._engines, {}
        for name, engine in engines.items():
            self._in_background(engine.stop(), self._servers[name])
        if self._stops:
            await asyncio.wait(self._stops)

    def _place(self, server: Server, before: Server | None) -> None:
        """A new engine; one it replaces is stopped first, and the new one started if the old one was running."""
        old = self._engines.get(server.name)
        was_wanted = old is not None and old.wanted
        engine = self._engines[server.name] = Engine(
            server.name,
            partial(self._launch, server.name),
            self._config.run_dir / 'logs' / f'{quote(server.name, safe="")}.log',
            start_timeout=self._config.start_timeout,
            report=partial(self._report, server.name),
            after=self._in_background(old.stop(), before or server) if old is not None else None,
        )
        self._report(server.name, STOPPED)
        if was_wanted and server.memory_group is None:  # in a group it has to wait for its turn
            engine.begin()

    def _launch(self, name: str) -> Launch:
        server = self._servers[name]
        if server.gguf is not None:
            check_fits(Path(server.gguf))
        return launch_of(server, self._config, self._servers.values())

    def _report(self, name: str, state: str, **seen: Any) -> None:
        server = self._servers[name]
        models = [{'id': model, 'created': 0, 'owned_by': name} for model in server.models or (name,)]
        self._board.put(name, state, models=models, **seen)
        self._on_change(server)

    def _in_background(self, stop: Coroutine[Any, Any, None], server: Server) -> asyncio.Task[None]:
        task = asyncio.create_task(stop)
        self._stops[task] = server
        task.add_done_callback(self._on_stopped)
        return task

    def _on_stopped(self, task: asyncio.Task[None]) -> None:
        self._on_change(self._stops.pop(task))


def _runs(server: Server | None) -> bool:
    return server is not None and server.managed and server.enabled


def _command_of(server: Server) -> tuple[object, ...]:
    """What decides how the process is started: a change of anything else needs no restart."""
    return server.gguf, server.mmproj, server.command, server.context, server.threads, server.models
