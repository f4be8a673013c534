"""Which servers can answer for a model, and in which order they are asked."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmhost.errors import InvalidRequestError, UnavailableError, UnknownModelError
from llmhost.providers import EMBEDDINGS, RERANK, Provider, provider_named
from llmhost.redaction import secrets_of
from llmhost.storage.json_file import Signature
from llmhost.storage.servers import Server, ServerRegistry
from llmhost.storage.status import DOWN, MISCONFIGURED, ServerStatus, Status, StatusFile
from llmhost.upstream.sessions import Target, build_target

UNWELL = frozenset({DOWN, MISCONFIGURED})
RETRY_AFTER = 5.0


@dataclass(frozen=True, slots=True)
class Route:
    """A server as requests see it: its provider, and targets made once for each address."""

    server: Server
    provider: Provider
    status: ServerStatus
    api_key: str | None = field(repr=False)
    _targets: dict[tuple[str, str], Target] = field(default_factory=dict, repr=False)

    def target(self, url: str, task: str) -> Target:
        """Where `task` is sent on the server at `url`, with its headers."""
        target = self._targets.get((url, task))
        if target is None:
            headers = {**self.provider.auth_headers(self.api_key), **self.server.headers}
            target = self._targets[url, task] = build_target('POST', self.provider.url_of(url, task), headers)
        return target

    @property
    def secrets(self) -> tuple[str, ...]:
        """What its errors must not show."""
        return secrets_of(self.api_key, self.server.headers)

    def serves(self, task: str) -> bool:
        """Whether its dialect has `task` at all. Rerank can be made from embeddings."""
        return task in self.provider.paths or (task == RERANK and EMBEDDINGS in self.provider.paths)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A route, and the id its server knows the model by."""

    route: Route
    model: str

    @property
    def name(self) -> str:
        return self.route.server.name


@dataclass(frozen=True, slots=True)
class Table:
    """All routes and models as the registry and the status had them at one moment."""

    routes: Mapping[str, Route]
    models: Mapping[str, list[Candidate]]
    entries: Mapping[str, Mapping[str, Any]]


class Router:
    """Resolves models. It looks at two files' signatures on each request and builds its table anew when one changed."""

    def __init__(self, registry: ServerRegistry, status: StatusFile, variables: Mapping[str, str]) -> None:
        self._registry = registry
        self._status = status
        self._variables = variables
        self._built: tuple[tuple[Signature, Signature] | None, Table] = (None, Table({}, {}, {}))
        self._running: Counter[str] = Counter()
        self._cooling: dict[str, float] = {}

    def table(self) -> Table:
        """The present table."""
        seen = self._registry.signature(), self._status.signature()
        built_for, table = self._built
        if seen != built_for:
            table = build_table(self._registry.current(), self._status.current(), self._variables)
            self._built = seen, table
        return table

    def candidates(self, model: str, task: str) -> list[Candidate]:
        """The servers to ask, best first: by health, then priority, then the fewest requests of this worker's own.

        Raises UnknownModelError, InvalidRequestError (known, but not for this task) or UnavailableError.
        """
        table = self.table()
        found = table.models.get(model) or _by_prefix(table, model)
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

    def _rank(self, candidate: Candidate) -> tuple[bool, int, int]:
        name = candidate.name
        unwell = candidate.route.status.state in UNWELL or self._cooling.get(name, 0.0) > time.monotonic()
        return unwell, -candidate.route.server.priority, self._running[name]


def build_table(servers: Mapping[str, Server], status: Status, variables: Mapping[str, str]) -> Table:
    """Index every model under its bare id and under `server/id`."""
    routes = {name: _route(server, status, variables) for name, server in servers.items()}
    models: dict[str, list[Candidate]] = {}
    entries: dict[str, Mapping[str, Any]] = {}
    for name, route in routes.items():
        for entry in offered(route.server, route.status):
            candidate = Candidate(route, entry['id'])
            models.setdefault(entry['id'], []).append(candidate)
            entries[f'{name}/{entry["id"]}'] = entry
    for route_name, route in routes.items():
        for entry in offered(route.server, route.status):
            models[f'{route_name}/{entry["id"]}'] = [Candidate(route, entry['id'])]
    return Table(routes, models, entries)


def offered(server: Server, status: ServerStatus) -> list[Mapping[str, Any]]:
    """The models of a server: those its entry names, else those it was seen to have."""
    if server.models or server.managed:
        seen = {entry['id']: entry for entry in status.models}
        names = server.models or (server.name,)
        return [seen.get(name) or {'id': name, 'owned_by': server.name} for name in names]
    return list(status.models)


def unknown_model(model: str) -> UnknownModelError:
    return UnknownModelError(f"The model '{model[:200]}' does not exist or you do not have access to it.")


def _route(server: Server, status: Status, variables: Mapping[str, str]) -> Route:
    return Route(server, provider_named(server.provider), status.of(server.name), server.key(variables))


def _by_prefix(table: Table, model: str) -> list[Candidate]:
    """`server/id` is taken at its word, listed or not: some servers serve more than they list."""
    name, slash, rest = model.partition('/')
    route = table.routes.get(name)
    return [Candidate(route, rest)] if slash and rest and route else []
