"""The wiring: every real part, made once, from the settings. Every way in (gunicorn, `flask run`, the CLI, tests) uses it."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from llmhost.config import Config
from llmhost.errors import ConfigurationError
from llmhost.gateway.access import Access, may_use
from llmhost.gateway.attempts import Attempts
from llmhost.gateway.call import Call
from llmhost.gateway.catalogue import Catalogue, Model
from llmhost.gateway.completions import Completions, Order
from llmhost.gateway.console import Console, provider_names
from llmhost.gateway.context import ContextCheck
from llmhost.gateway.dialogue import Dialogue, Pace, Piece
from llmhost.gateway.embedded import Embedded
from llmhost.gateway.limits import Limiter
from llmhost.gateway.models import Models
from llmhost.gateway.overview import Overview, ServerView, Snapshot
from llmhost.gateway.presets import models_named
from llmhost.gateway.rerank import Reranker
from llmhost.gateway.routing import Router, unknown_model
from llmhost.gateway.running import RunningGateway
from llmhost.hostlink import HostLink
from llmhost.leases import Leases
from llmhost.metrics import Metrics, Sample
from llmhost.providers import provider_named
from llmhost.schemas import RerankRequest, load_key, load_preset, load_server
from llmhost.storage.keys import Key, KeyStore
from llmhost.storage.presets import Preset, PresetStore
from llmhost.storage.servers import Server, ServerRegistry
from llmhost.storage.slots import SharedSlots
from llmhost.storage.status import UP, ServerStatus, StatusFile
from llmhost.upstream.sessions import UpstreamSession
from llmhost.weights.download import Downloader

__all__ = ['Call', 'Config', 'Dialogue', 'Key', 'Model', 'Order', 'Overview', 'Pace', 'Piece', 'Preset', 'RerankRequest',
           'Server', 'ServerStatus', 'ServerView', 'Services', 'Snapshot', 'may_use', 'models_named', 'provider_names',
           'unknown_model']

CA_VARIABLES = ('REQUESTS_CA_BUNDLE', 'SSL_CERT_FILE')


class Services:
    """The parts, by name. Those that only serving needs are made when first asked for."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.registry = ServerRegistry(config.data_dir / 'servers.json', load_known_server)
        self.keys = KeyStore(config.data_dir / 'keys.json', load_key)
        self.presets = PresetStore(config.data_dir / 'presets.json', load_preset)
        self.status = StatusFile(config.data_dir / 'status.json')
        ca_file = next((config.variables[name] for name in CA_VARIABLES if config.variables.get(name)), None)
        self.http_session = UpstreamSession(ca_file)
        self.hostlink = HostLink(config.host_socket, self.http_session)
        self.access = Access(self.keys, config)
        self.router = Router(self.registry, self.status, self.presets, config.variables)
        self.leases = Leases(config.lease_socket, config.queue_timeout, config.start_timeout)
        self.models = Models(self.router)

    @cached_property
    def slots(self) -> SharedSlots:
        return SharedSlots(self.config.run_dir, self.config.max_concurrency)

    @cached_property
    def limiter(self) -> Limiter:
        return Limiter(self.slots, self.config.queue_size, self.config.queue_timeout)

    @cached_property
    def attempts(self) -> Attempts:
        return Attempts(self.router, self.http_session, self.hostlink, self.leases, self.limiter, self.config)

    @cached_property
    def completions(self) -> Completions:
        return Completions(self.attempts, ContextCheck(self.http_session), self.config)

    @cached_property
    def reranker(self) -> Reranker:
        return Reranker(self.attempts, self.completions, self.config)

    @cached_property
    def metrics(self) -> Metrics:
        return Metrics(self._observe, self.config.variables.get('PROMETHEUS_MULTIPROC_DIR'))

    @cached_property
    def console(self) -> Console:
        return Console(self.registry, self.status, self.http_session, self.hostlink, self.config)

    @cached_property
    def catalogue(self) -> Catalogue:
        downloader = Downloader(self.http_session, self.config.variables)
        return Catalogue(self.config.data_dir / 'models', self.registry, downloader)

    @cached_property
    def embedded(self) -> Embedded:
        return Embedded(self.console, self.config.data_dir / 'models')

    def open_dialogue(self, model: str | None, system: str | None, url: str | None, key_env: str | None) -> Dialogue:
        """A conversation with the llmhost that runs, here or at `url`. Raises ConfigurationError."""
        return Dialogue(self._running(url, key_env), model, system)

    def open_overview(self, key_env: str | None) -> Overview:
        """A view of the llmhost that runs here. Raises ConfigurationError."""
        return Overview(self._running(None, key_env), self.hostlink, self.status)

    def describe_health(self) -> dict[str, Any]:
        """Whether the host answers, and every server as last seen."""
        servers = {server.name: _health_of(state) for server, state in self.console.all()}
        host_up = self.hostlink.is_up()
        return {'status': 'ok' if host_up else 'degraded', 'host': 'up' if host_up else 'down', 'servers': servers}

    def close(self) -> None:
        """Give back what the operating system lent."""
        self.http_session.close()
        self.leases.close()
        if 'slots' in self.__dict__:
            self.slots.close()

    def _running(self, url: str | None, key_env: str | None) -> RunningGateway:
        key = self.config.variables.get(key_env) if key_env else self.config.api_key
        if key_env and not key:
            raise ConfigurationError(f'The environment variable {key_env} is not set here.')
        return RunningGateway(self.http_session, self.config, url, key)

    def _observe(self) -> Iterator[Sample]:
        """The gauges all workers share."""
        yield 'llmhost_running_requests', 'Requests that hold a slot.', {}, self.slots.running()
        yield 'llmhost_waiting_requests', 'Requests that wait for a slot.', {}, self.slots.waiting()
        yield 'llmhost_slots', 'Requests that may run at once.', {}, self.config.max_concurrency
        status = self.status.current()
        for name in self.registry.current():
            up = float(status.of(name).state == UP)
            yield 'llmhost_server_up', 'Whether the server answered its last probe.', {'server': name}, up


def load_known_server(document: dict[str, Any]) -> dict[str, Any]:
    """A server's entry, checked, and of a provider there is. Raises RegistryError."""
    entry = load_server(document)
    provider_named(entry['provider'])
    return entry


def _health_of(status: ServerStatus) -> dict[str, Any]:
    return {'state': status.state, 'since': status.since, 'error': status.error, 'models': len(status.models)}
