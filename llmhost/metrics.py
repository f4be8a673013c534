"""What is counted, for Prometheus. Under gunicorn the workers' counts are summed over files they share.

prometheus_client chooses between one process and many when it is first imported, by the variable
`PROMETHEUS_MULTIPROC_DIR`, which `llmhost.serving` sets before a worker starts.
"""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
QUEUE_SECONDS = (0.001, 0.01, 0.1, 0.5, 1, 5, 10, 30)
Sample = tuple[str, str, dict[str, str], float]
"""A gauge read when asked for: name, help, labels, value."""


class Metrics:
    """The counters of one process. Label children are kept, since looking one up costs as much as counting."""

    def __init__(self, observe: Callable[[], Iterable[Sample]], shared_folder: str | None = None) -> None:
        self._shared_folder = shared_folder
        self._registry = CollectorRegistry()
        registry = self._registry
        self._requests = Counter(
            'llmhost_requests_total', 'Requests answered.', ('task', 'server', 'status'), registry=registry)
        self._seconds = Histogram(
            'llmhost_request_seconds', 'From the request to the end of its answer.', ('task',), registry=registry,
            buckets=SECONDS)
        self._first = Histogram(
            'llmhost_first_event_seconds', 'From a streaming request to its first event.', ('task',), registry=registry,
            buckets=SECONDS)
        self._queued = Histogram(
            'llmhost_queue_seconds', 'Waiting for a turn.', registry=registry, buckets=QUEUE_SECONDS)
        self._tokens = Counter(
            'llmhost_tokens_total', 'Tokens, by direction.', ('server', 'direction'), registry=registry)
        self._streams = Gauge(
            'llmhost_open_streams', 'Streams under way.', registry=registry, multiprocess_mode='livesum')
        self._gone = Counter(
            'llmhost_clients_gone_total', 'Clients that left before their answer was complete.', ('task',),
            registry=registry)
        self._children: dict[tuple[str, ...], Counter] = {}
        self._observe = observe

    def count_request(self, task: str, server: str, status: int, seconds: float, queued: float) -> None:
        self._child(self._requests, task, server, str(status)).inc()
        self._seconds.labels(task).observe(seconds)
        self._queued.observe(queued)

    def count_tokens(self, server: str, prompt: int, completion: int) -> None:
        self._child(self._tokens, server, 'prompt').inc(prompt)
        self._child(self._tokens, server, 'completion').inc(completion)

    def count_first_event(self, task: str, seconds: float) -> None:
        self._first.labels(task).observe(seconds)

    def count_client_gone(self, task: str) -> None:
        self._child(self._gone, task).inc()

    def stream_opened(self) -> None:
        self._streams.inc()

    def stream_closed(self) -> None:
        self._streams.dec()

    def render(self) -> bytes:
        """Everything in Prometheus' text format (https://prometheus.io/docs/instrumenting/exposition_formats/)."""
        registry = CollectorRegistry()
        if self._shared_folder:
            MultiProcessCollector(registry, self._shared_folder)  # type: ignore[no-untyped-call]
        else:
            registry.register(_Copied(self._registry))
        registry.register(_Observed(self._observe))
        return generate_latest(registry)

    def _child(self, counter: Counter, *labels: str) -> Counter:
        key = (counter._name, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = counter.labels(*labels)
        return child


class _Copied(Collector):
    """One process's own metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        return self._registry.collect()


class _Observed(Collector):
    """Gauges read at the moment of asking, from what all workers share."""

    def __init__(self, observe: Callable[[], Iterable[Sample]]) -> None:
        self._observe = observe

    def collect(self) -> Iterable[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for name, text, labels, value in self._observe():
            family = families.setdefault(name, GaugeMetricFamily(name, text, labels=tuple(labels)))
            family.add_metric(list(labels.values()), value)
        return families.values()


def iter_readings(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """What `render` wrote, read back: name, labels, value. Raises ValueError where the text is something else."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value
