"""One product measured: started, warmed, loaded with requests, then with streams, and stopped."""

import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.load_result import PlainLoad, StreamLoad
from benchmarks.plain_load import run_plain_load
from benchmarks.process_tree import TreeUsage, read_tree
from benchmarks.processes import NotRun, Processes
from benchmarks.product import Product, Site, Started
from benchmarks.readiness import wait_until_answers
from benchmarks.stream_load import run_stream_load

WARM_UP = 1.0


@dataclass(frozen=True)
class Loads:
    """How hard and how long: `clients` connections for plain requests, `streams` for streams, `seconds` each."""

    clients: int
    streams: int
    seconds: float


@dataclass(frozen=True)
class Row:
    """What was measured of one product. CPU is seconds over the run; RSS is bytes after it. A `reason` says what was
    not run and why."""

    name: str
    start_seconds: float | None = None
    plain: PlainLoad | None = None
    plain_usage: TreeUsage | None = None
    stream: StreamLoad | None = None
    stream_usage: TreeUsage | None = None
    reason: str = ''


def measure_direct(site: Site, loads: Loads) -> Row:
    """The upstream itself, asked by the same clients: what every latency is compared to."""
    plain = site.build_plain(site.upstream.plain_port)
    wait_until_answers(plain, site.processes, timeout=10)
    return Row('direct', plain=run_plain_load(plain, clients=loads.clients, seconds=loads.seconds,
                                              folder=site.processes.folder),
               stream=run_stream_load(site.build_stream(site.upstream.stream_port), streams=loads.streams,
                                      seconds=loads.seconds))


def measure_product(product: Product, site: Site, loads: Loads) -> Row:
    """Never raises for a product that is missing, fails to start or fails under load: its row says so."""
    row = Row(product.name)
    try:
        began = time.monotonic()
        started = product.start(site)
        wait_until_answers(started.plain, site.processes, product.start_timeout)
        row = replace(row, start_seconds=time.monotonic() - began)
        row = _measure_plain(row, started, loads, site.processes.folder)
        return _measure_streams(row, started, loads)
    except (NotRun, OSError, subprocess.SubprocessError) as error:
        return replace(row, reason=_explain(error, site.processes, row))


def _measure_plain(row: Row, started: Started, loads: Loads, folder: Path) -> Row:
    run_plain_load(started.plain, clients=loads.clients, seconds=WARM_UP, folder=folder)
    before = read_tree(started.pid, has_host=started.has_host)
    plain = run_plain_load(started.plain, clients=loads.clients, seconds=loads.seconds, folder=folder)
    usage = _subtract(read_tree(started.pid, has_host=started.has_host), before)
    if not plain.requests:
        raise NotRun(f'none of {plain.failed} plain requests was answered')
    return replace(row, plain=plain, plain_usage=usage)


def _measure_streams(row: Row, started: Started, loads: Loads) -> Row:
    if not started.stream:
        return row
    run_stream_load(started.stream, streams=loads.streams, seconds=WARM_UP)
    before = read_tree(started.pid, has_host=started.has_host)
    stream = run_stream_load(started.stream, streams=loads.streams, seconds=loads.seconds)
    usage = _subtract(read_tree(started.pid, has_host=started.has_host), before)
    return replace(row, stream=stream, stream_usage=usage)


def _subtract(after: TreeUsage, before: TreeUsage) -> TreeUsage:
    return replace(after, cpu=after.cpu - before.cpu, host_cpu=after.host_cpu - before.host_cpu)


def _explain(error: Exception, processes: Processes, row: Row) -> str:
    part = 'streams ' if row.plain else ''
    words = f' (its last line: {processes.last_words()})' if processes.has_ended() else ''
    return f'{part}not run: {error}{words}'
