"""What the console does with servers: check them before they are added, and have them seen at once."""

import shlex
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmhost.config import Config
from llmhost.errors import RegistryError, UnavailableError, UpstreamError
from llmhost.hostlink import HostLink
from llmhost.providers import MANAGED, PROVIDERS, guess_provider, provider_named
from llmhost.providers.health import Health, judge
from llmhost.redaction import hide, secrets_of
from llmhost.schemas import load_server
from llmhost.storage.servers import Server, ServerRegistry, Servers, duplicate, server_from
from llmhost.storage.status import DISABLED, UP, ServerStatus, StatusFile
from llmhost.upstream.sessions import UpstreamSession

CHECK_TIMEOUT = 10.0
GGUF_MAGIC = b'GGUF'


class Console:
    """The verbs behind `flask servers`. All raise ConsoleError with one clear line."""

    def __init__(
        self, registry: ServerRegistry, status: StatusFile, http_session: UpstreamSession, hostlink: HostLink, config: Config,
    ) -> None:
        self._registry = registry
        self._status = status
        self._http_session = http_session
        self._hostlink = hostlink
        self._variables = config.variables

    def build(self, **fields: Any) -> Server:
        """A server from what a person typed; the provider is guessed from the URL where none was named."""
        document = {name: value for name, value in fields.items() if value not in (None, (), {})}
        checked = load_server({**document, 'models': list(document.get('models', ()))})
        if 'provider' not in document:
            checked['provider'] = MANAGED if checked['gguf'] else guess_provider(checked['url'] or '').name
        provider_named(checked['provider'])
        return server_from(checked)

    def add(self, server: Server, check: bool) -> list[str]:
        """Add a server; returns the models it has, as far as is known. It is asked for them first, where `check`."""
        if server.name in self._registry.list():
            raise duplicate(server.name)
        models = self._checked(server) if check else list(server.models)
        self._registry.add(server)
        self._see(server.name)
        return models

    def update(self, name: str, check: bool, **changes: Any) -> Server:
        """Change fields of a server; what it would be is checked before it is stored."""
        server = replace(self._registry.get(name), **changes)
        load_server({key: value for key, value in _document(server).items()})
        provider_named(server.provider)
        if check:
            self._checked(server)
        changed = self._registry.update(name, **changes)
        self._see(name)
        return changed

    def remove(self, name: str) -> None:
        self._registry.remove(name)
        self._see(name)

    def enable(self, name: str, enabled: bool) -> None:
        self._registry.update(name, enabled=enabled)
        self._see(name)

    def check(self, server: Server) -> list[str]:
        """The ids of the models a server has. Raises RegistryError with the reason when it cannot be used."""
        if server.managed:
            return self._check_managed(server)
        provider = provider_named(server.provider)
        url = server.url or ''
        if server.api_key_env and not server.key(self._variables):
            raise RegistryError(f'The environment variable {server.api_key_env} is not set here.')
        key = server.key(self._variables)
        headers = {**provider.auth_headers(key), **server.headers}
        try:
            answer = self._http_session.get(provider.models_url(url), headers, CHECK_TIMEOUT)
            health = judge(provider, answer, server.models, bool(key))
            if health.state != UP:
                raise RegistryError(_cause(health, key, provider.key_env))
        except (UpstreamError, RegistryError) as error:
            hide(error, secrets_of(key, server.headers))
            raise RegistryError(error.message) from error
        return list(server.models) if health.models is None else [entry['id'] for entry in health.models]

    def all(self) -> list[tuple[Server, ServerStatus]]:
        """Every server and its state as last seen."""
        status = self._status.current()
        return [(server, seen(server, status.of(name))) for name, server in self._registry.list().items()]

    def get(self, name: str) -> tuple[Server, ServerStatus]:
        server = self._registry.get(name)
        return server, seen(server, self._status.current().of(name))

    def servers(self) -> Servers:
        return self._registry.list()

    def _checked(self, server: Server) -> list[str]:
        try:
            return self.check(server)
        except RegistryError as error:
            raise RegistryError(f"The server '{server.name}' cannot be used: {error} {HINT}") from error

    def _check_managed(self, server: Server) -> list[str]:
        if server.gguf is not None:
            for path in filter(None, (server.gguf, server.mmproj)):
                check_gguf(Path(path))
        else:
            check_command(server.command or '')
        return list(server.models) or [server.name]

    def _see(self, name: str) -> None:
        """Have the host look at once, if one runs: the models are then in every worker's list before this returns."""
        with suppress(UnavailableError):
            self._hostlink.probe(name, CHECK_TIMEOUT)


HINT = 'To keep it all the same: --no-check.'


def provider_names() -> list[str]:
    return sorted(PROVIDERS)


def seen(server: Server, status: ServerStatus) -> ServerStatus:
    """The status as a person should read it: a disabled server is just that."""
    return status if server.enabled else replace(status, state=DISABLED, error=None)


def check_gguf(path: Path) -> None:
    """Raises RegistryError unless `path` is a GGUF file."""
    try:
        with path.open('rb') as file:
            magic = file.read(4)
    except OSError as error:
        raise RegistryError(f'{path} cannot be read: {error.strerror}.') from error
    if magic != GGUF_MAGIC:
        raise RegistryError(f'{path} is not a GGUF file.')


def check_command(command: str) -> None:
    """Raises RegistryError unless the command's program is there."""
    try:
        program = next(iter(shlex.split(command)), '')
    except ValueError as error:
        raise RegistryError(f'The command cannot be read: {error}.') from error
    if shutil.which(program) is None:
        raise RegistryError(f"The program '{program}' is not found.")


def _cause(health: Health, key: str | None, key_env: str | None) -> str:
    if health.fault is None:
        error = health.error or health.state
        return error[:1].lower() + error[1:]
    cause = f'it answered {health.fault.status}: {health.fault.message.rstrip(".")}.'
    return cause if key else f'{cause} Give its key: --api-key-env {key_env or "VAR"}, or --api-key-stdin.'


def _document(server: Server) -> dict[str, Any]:
    return {name: getattr(server, name) for name in server.__slots__ if name != 'extra'} | {
        'models': list(server.models), 'headers': dict(server.headers)}
