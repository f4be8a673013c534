"""What a managed server's process is started with: its command line and its environment."""

import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from llmhost.config import PREFIX, Config
from llmhost.errors import UnavailableError
from llmhost.host.gguf import pooling_name
from llmhost.providers import PROVIDERS
from llmhost.storage.servers import Server

LLAMACPP = Path(__file__).with_name('llamacpp.py')
HTTP_THREADS_TO_SPARE = 16
LLAMACPP_READY = ('/health', '/v1/models')


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start one managed server. Two launches that are equal need no restart in between.

    It is ready when `all_of` answer 200, or any of `any_of`.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    all_of: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()

    def on(self, port: int) -> list[str]:
        """The command line for `port`."""
        return [part.replace('{port}', str(port)) for part in self.argv]


def launch_of(server: Server, config: Config, servers: Iterable[Server]) -> Launch:
    """Raises UnavailableError when the entry's command cannot be split into words."""
    environment = environment_of(config.variables, servers)
    if server.gguf is not None:
        return Launch(_llamacpp(server, config), environment, all_of=LLAMACPP_READY)
    try:
        argv = tuple(shlex.split(server.command or ''))
    except ValueError as error:
        raise UnavailableError(f"The command of '{server.name}' cannot be read: {error}.") from error
    if not argv:
        raise UnavailableError(f"'{server.name}' has no command to start.")
    return Launch(argv, environment, any_of=LLAMACPP_READY)


def environment_of(variables: Mapping[str, str], servers: Iterable[Server]) -> dict[str, str]:
    """The children's environment: all of ours but llmhost's own settings (keys, database) and the servers' API keys."""
    secret = {server.api_key_env for server in servers} | {provider.key_env for provider in PROVIDERS.values()}
    return {name: value for name, value in variables.items() if name not in secret and not name.startswith(PREFIX)}


def _llamacpp(server: Server, config: Config) -> tuple[str, ...]:
    """llama.cpp ties an HTTP thread to each idle keep-alive connection, so it gets one for every request there may be."""
    threads = config.max_concurrency + HTTP_THREADS_TO_SPARE
    options = {
        '--model': server.gguf, '--port': '{port}', '--http-threads': threads,
        '--context': server.context, '--threads': server.threads, '--pooling': pooling_name(server.gguf or ''),
        '--mmproj': server.mmproj,
    }
    given = [part for name, value in options.items() if value is not None for part in (name, str(value))]
    aliases = [part for model in server.models or (server.name,) for part in ('--alias', model)]
    # by its path and with -P: the child needs neither llmhost nor the working directory on its import path
    return (sys.executable, '-P', str(LLAMACPP), *given, *aliases)
