"""What the host observed: `status.json`. Written by the host alone, read by everyone."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llmhost.storage.json_file import Document, JsonFile, Signature, entries_of

UP = 'up'
LOADING = 'loading'
DOWN = 'down'
MISCONFIGURED = 'misconfigured'
RATE_LIMITED = 'rate_limited'
DISABLED = 'disabled'
STOPPED = 'stopped'
"""A managed server at rest: it starts on demand."""
UNKNOWN = 'unknown'


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One server as last seen. Times are Unix seconds; `models` are entries of a model list with at least `id`.

    `url` is where a managed server listens now; `pid` its process. `until` is when a rate-limited one may be asked again.
    `last_error` stays when the server is well again.
    """

    state: str = UNKNOWN
    since: float | None = None
    checked_at: float | None = None
    error: str | None = None
    models: tuple[Mapping[str, Any], ...] = ()
    url: str | None = None
    pid: int | None = None
    until: float | None = None
    last_error: str | None = None
    last_error_at: float | None = None


@dataclass(frozen=True, slots=True)
class Status:
    servers: Mapping[str, ServerStatus] = field(default_factory=dict)

    def of(self, name: str) -> ServerStatus:
        return self.servers.get(name) or ServerStatus()


def _decode(document: Document) -> Status:
    known = ServerStatus.__dataclass_fields__
    servers = {}
    for name, entry in entries_of(document, 'servers').items():
        fields = {field: value for field, value in entry.items() if field in known}
        servers[name] = ServerStatus(**{**fields, 'models': tuple(fields.get('models') or ())})
    return Status(servers)


class StatusFile:
    """`current` for readers, `replace` for the host."""

    def __init__(self, path: Path) -> None:
        self._file = JsonFile(path, _decode)

    def signature(self) -> Signature:
        return self._file.signature()

    def current(self) -> Status:
        return self._file.current()

    def replace(self, servers: Mapping[str, ServerStatus]) -> None:
        """Write the state of all servers."""
        def change(document: Document) -> None:
            document['servers'] = {name: asdict(status) for name, status in servers.items()}
        self._file.update(change)
