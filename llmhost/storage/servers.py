"""The registry of LLM servers: `servers.json`."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from llmhost.errors import DuplicateNameError, UnknownNameError
from llmhost.storage.json_file import Document, JsonFile, Signature, entries_of


@dataclass(frozen=True, slots=True)
class Server:
    """One registry entry. Managed servers have `gguf` or `command` in place of `url`; `timeout` is in seconds.

    Of the managed servers of one `memory_group` only one runs at a time.
    """

    name: str
    provider: str
    url: str | None = None
    models: tuple[str, ...] = ()
    api_key: str | None = field(default=None, repr=False)
    api_key_env: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    max_concurrency: int | None = None
    priority: int = 0
    weight: int = 1
    timeout: float | None = None
    enabled: bool = True
    gguf: str | None = None
    mmproj: str | None = None
    command: str | None = None
    context: int | None = None
    threads: int | None = None
    idle_ttl: float | None = None
    memory_group: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def managed(self) -> bool:
        """Whether llmhost starts and stops its process."""
        return self.url is None

    @property
    def is_leased(self) -> bool:
        """Whether the host grants its slots: it is started on demand, or takes a limited number of requests."""
        return self.managed or self.max_concurrency is not None

    def key(self, variables: Mapping[str, str]) -> str | None:
        """Its API key: the stored one, or the one its environment variable holds now."""
        return self.api_key or variables.get(self.api_key_env or '', '').strip() or None


FIELDS = frozenset(item.name for item in fields(Server)) - {'extra'}
DEFAULTS = asdict(Server(name='', provider=''))


def server_from(document: Document) -> Server:
    """The entry a checked document describes; fields it does not know are kept in `extra`."""
    known = {name: value for name, value in document.items() if name in FIELDS}
    extra = {name: value for name, value in document.items() if name not in FIELDS}
    return Server(**{**known, 'models': tuple(known.get('models', ()))}, extra=extra)


def document_of(server: Server) -> Document:
    """What is stored of `server`: the fields that differ from their defaults."""
    document = {name: value for name, value in asdict(server).items() if name in FIELDS and value != DEFAULTS[name]}
    if 'models' in document:
        document['models'] = list(server.models)
    return {**document, **server.extra}


Servers = dict[str, Server]


class ServerRegistry:
    """The registry's verbs. `check` validates one entry's document and fills in its defaults."""

    def __init__(self, path: Path, check: Callable[[Document], Document]) -> None:
        self._check = check
        self._file = JsonFile(path, self._decode)

    def _decode(self, document: Document) -> Servers:
        entries = entries_of(document, 'servers')
        return {name: server_from(self._check({**entry, 'name': name})) for name, entry in entries.items()}

    def signature(self) -> Signature:
        return self._file.signature()

    def current(self) -> Servers:
        """The entries by name, in the order they were added; the last good ones while the file is broken."""
        return self._file.current()

    def list(self) -> Servers:
        """As `current`, but raises CorruptFileError while the file is broken."""
        return self._file.load()

    def get(self, name: str) -> Server:
        """Raises UnknownNameError, naming those that exist."""
        return _known(self.list(), name)

    def add(self, server: Server) -> None:
        """Raises DuplicateNameError."""
        def change(document: Document) -> None:
            entries = document.setdefault('servers', {})
            if server.name in entries:
                raise duplicate(server.name)
            entries[server.name] = _entry(server)
        self._file.update(change)

    def update(self, name: str, **changes: Any) -> Server:
        """Replace fields of one entry; returns it as it is now. Raises UnknownNameError."""
        changed: list[Server] = []

        def change(document: Document) -> None:
            server = replace(_known(self._decode(document), name), **changes)
            document['servers'][name] = _entry(server)
            changed.append(server)
        self._file.update(change)
        return changed[0]

    def remove(self, name: str) -> None:
        """Raises UnknownNameError."""
        def change(document: Document) -> None:
            _known(self._decode(document), name)
            del document['servers'][name]
        self._file.update(change)


def duplicate(name: str) -> DuplicateNameError:
    return DuplicateNameError(
        f"A server named '{name}' exists already. Choose another name, or change it with 'flask servers update {name}'."
    )


def _entry(server: Server) -> Document:
    return {name: value for name, value in document_of(server).items() if name != 'name'}


def _known(servers: Servers, name: str) -> Server:
    if name not in servers:
        known = ', '.join(sorted(servers)) or 'none yet'
        raise UnknownNameError(f"There is no server named '{name}'. Known: {known}.")
    return servers[name]
