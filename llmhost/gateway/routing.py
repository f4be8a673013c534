"""Which servers can answer for a model, and in which order they are asked."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter, is_
from typing import Any

from llmhost.errors import InvalidRequestError, UnavailableError, UnknownModelError
from llmhost.providers import EMBEDDINGS, RERANK, Provider, provider_named
from llmhost.redaction import secrets_of
from llmhost.storage.json_file import Signature
from llmhost.storage.presets import Preset, PresetStore
from llmhost.storage.servers import Server, ServerRegistry
from llmhost.storage.status import DOWN, MISCONFIGURED, ServerStatus, Status, StatusFile
from llmhost.upstream.sessions import Target, build_target

UNWELL = frozenset({DOWN, MISCONFIGURED})
RETRY_AFTER = 5.0
seen_of = attrgetter(*(item.name for item in fields(ServerStatus) if item.name != 'checked_at'))
"""What of a status matters: the time of a check changes with each."""


@dataclass(frozen=True, slots=True)
class Route:
    """A server as requests see it: its provider, and targets made once for each address."""

    server: Server
    provider: Provider
    status: ServerStatus
    api_key: str | None = field(repr=False)
    _targets: dict[tuple[str, str], Target] = field(default_factory=dict, repr=False)
    _candidates: dict[str, list['Candidate']] = field(default_factory=dict, repr=False, compare=False)

    def target(self, url: str, task: str) -> Target:
        """Where `task` is sent on the server at `url`, with its headers."""
        target = self._targets.get((url, task))
        if target is None:
            headers = {**self.provider.auth_headers(self.api_key), **self.server.headers}
            target = self._targets[url, task] = build_target('POST', self.provider.url_of(url, task), headers)
        return target

    @property
    def candidates(self) -> Mapping[str, list['Candidate']]:
        """Its models by `server/id`, each a list of one candidate; made once."""
        if not self._candidates:
            entries = {entry['id']: entry for entry in offered(self.server, self.status)}
            for model, entry in entries.items():
                self._candidates[f'{self.server.name}/{model}'] = [Candidate(self, model, entry)]
        return self._candidates

    @property
    def secrets(self) -> tuple[str, ...]:
        """What its errors must not show."""
        return secrets_of(self.api_key, self.server.headers)

    def serves(self, task: str) -> bool:
        """Whether its dialect has `task` at all. Rerank can be made from embeddings."""
        return task in self.provider.paths or (task == RERANK and EMBEDDINGS in self.provider.paths)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A route, and the id its server knows the model by; `entry` is what was seen of it, empty where nothing was.

    `preset` is the one that led here; `fallbacks` are the ids its server turns to by itself, if it is told to.
    """

    route: Route
    model: str
    entry: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    preset: Preset | None = None
    fallbacks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.route.server.name


@dataclass(frozen=True, slots=True)
class Table:
    """All routes, models and presets as the files had them at one moment."""

    routes: Mapping[str, Route]
    models: Mapping[str, list[Candidate]]
    presets: Mapping[str, Preset] = field(default_factory=dict)

    def servers_of(self, model: str) -> list[Candidate]:
        """Every server that has `model`, a bare id or `server/id`. The latter is taken at its word, listed or not."""
        return self.models.get(model) or _by_prefix(self, model)


class Router:
    """Resolves models. It looks at three files' signatures on each request and builds its table anew when one changed."""

    def __init__(
        self, registry: ServerRegistry, status: StatusFile, presets: PresetStore, variables: Mapping[str, str],
    ) -> None:
        self._registry = registry
        self._status = status
        self._presets = presets
        self._variables = variables
        self._built: tuple[tuple[Signature, ...] | None, Table] = (None, Table({}, {}))
        self._running: Counter[str] = Counter()
        self._cooling: dict[str, float] = {}

    def table(self) -> Table:
        """The present table."""
        seen = self._registry.signature(), self._status.signature(), self._presets.signature()
        built_for, table = self._built
        if seen != built_for:
            table = build_table(self._registry.current(), self._status.current(), self._variables, table)
            presets = self._presets.current()
            if table.presets is not presets:
                table = replace(table, presets=presets)
            self._built = seen, table
        return table

    def candidates(self, model: str, task: str, table: Table | None = None) -> list[Candidate]:
        """The servers to ask, best first: by health, then priority, then the fewest requests of this worker's own.

        `model` is a model's id, never a preset's name; `table` is the present one, where it is at hand.
        Raises UnknownModelError, InvalidRequestError (known, but not for this task) or UnavailableError.
        """
        found = (table or self.table()).servers_of(model)
        if not found:
            raise unknown_model(model)
        able = [candidate for candidate in found if candidate.route.serves(task)]
        if not able:
            raise InvalidRequestError(f"The model '{model}' is on a server without {task}.", param='model')
        enabled = [candidate for candidate in able if candidate.route.server.enabled]
        if not enabled:
            raise UnavailableError(f"The model '{model}' is only on servers that are disabled.", retry_after=RETRY_AFTER)
        return sorted(enabled, key=self._rank) if len(enabled) > 1 else enabled

    def started(self, name: str) -> None:
        self._running[name] += 1

    def ended(self, name: str) -> None:
        self._running[name] -= 1

    def cool(self, name: str, seconds: float) -> None:
        """Ask `name` last for a while."""
        self._cooling[name] = time.monotonic() + seconds

    def is_unwell(self, candidate: Candidate) -> bool:
        """Whether its server was seen down or misconfigured, or failed a moment ago."""
        return candidate.route.status.state in UNWELL or self._cooling.get(candidate.name, 0.0) > time.monotonic()

    def _rank(self, candidate: Candidate) -> tuple[bool, int, float]:
        server = candidate.route.server
        return self.is_unwell(candidate), -server.priority, self._running[server.name] / server.weight


def build_table(servers: Mapping[str, Server], status: Status, variables: Mapping[str, str], before: Table) -> Table:
    """Index every model under its bare id and under `server/id`.

    Routes of `before` are taken over where neither the entry nor what was seen changed; `before` itself where none did.
    """
    routes = {name: _route(server, status.of(name), variables, before.routes.get(name)) for name, server in servers.items()}
    if list(routes) == list(before.routes) and all(map(is_, routes.values(), before.routes.values())):
        return before
    models: dict[str, list[Candidate]] = {}
    for route in routes.values():
        for candidates in route.candidates.values():
            models.setdefault(candidates[0].model, []).extend(candidates)
    for route in routes.values():
        models.update(route.candidates)
    return Table(routes, models)


def offered(server: Server, status: ServerStatus) -> list[Mapping[str, Any]]:
    """The models of a server: those its entry names, else those it was seen to have."""
    if server.models or server.managed:
        seen = {entry['id']: entry for entry in status.models}
        names = server.models or (server.name,)
        return [seen.get(name) or {'id': name, 'owned_by': server.name} for name in names]
    return list(status.models)


def unknown_model(model: str) -> UnknownModelError:
    return UnknownModelError(f"The model '{model[:200]}' does not exist or you do not have access to it.")


def _route(server: Server, status: ServerStatus, variables: Mapping[str, str], before: Route | None) -> Route:
    if before is not None and before.server == server and seen_of(before.status) == seen_of(status):
        return before
    return Route(server, provider_named(server.provider), status, server.key(variables))


def _by_prefix(table: Table, model: str) -> list[Candidate]:
    """Some servers serve more than they list."""
    name, slash, rest = model.partition('/')
    route = table.routes.get(name)
    return [Candidate(route, rest)] if slash and rest and route else []
