"""Concurrent streams, each connection asking for the next stream when one ended; every frame is checked and timed."""

import asyncio
import re
import time
from contextlib import closing
from dataclasses import dataclass, field

from benchmarks.http_request import HTTPRequest
from benchmarks.http_response import HTTPResponse, HTTPResponseError
from benchmarks.load_result import StreamLoad, find_percentile
from benchmarks.processes import NotRun
from benchmarks.stream_upstream import CHUNKS, INTERVAL

NUMBERED = re.compile(rb'"content": ?"(\d+) (\d+)')
FRAME_TIMEOUT = 30.0
MAX_FAULTS = 100


@dataclass
class _Seen:
    lost: int = 0
    disordered: int = 0
    faults: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    durations: list[float] = field(default_factory=list)


def run_stream_load(request: HTTPRequest, *, streams: int, seconds: float) -> StreamLoad:
    """Streams that began within `seconds`, each to its end. Raises NotRun when not one came through."""
    return asyncio.run(_run_streams(request, streams, seconds))


async def _run_streams(request: HTTPRequest, streams: int, seconds: float) -> StreamLoad:
    seen = _Seen()
    deadline = time.perf_counter() + seconds
    await asyncio.gather(*(_run_connection(request, number / streams, deadline, seen) for number in range(streams)))
    if not seen.durations:
        raise NotRun(f'no stream came through: {seen.faults[0]}')
    ordered = sorted(seen.latencies)
    return StreamLoad(streams=len(seen.durations), chunks=len(ordered),
                      p50=find_percentile(ordered, 50), p99=find_percentile(ordered, 99),
                      stream_p50=find_percentile(sorted(seen.durations), 50),
                      lost=seen.lost, disordered=seen.disordered, broken=len(seen.faults))


async def _run_connection(request: HTTPRequest, phase: float, deadline: float, seen: _Seen) -> None:
    """The phase, a share of one stream's length, spreads the streams: they would tick in step otherwise."""
    await asyncio.sleep(phase * CHUNKS * INTERVAL)
    while time.perf_counter() < deadline and len(seen.faults) < MAX_FAULTS:
        try:
            reader, writer = await asyncio.open_connection('127.0.0.1', request.port)
            with closing(writer):
                keeps_alive = True
                while keeps_alive and time.perf_counter() < deadline:
                    writer.write(request.encode())
                    keeps_alive = await _read_stream(reader, seen)
        except (HTTPResponseError, OSError, TimeoutError) as error:
            seen.faults.append(str(error) or type(error).__name__)
            await asyncio.sleep(0.1)


async def _read_stream(reader: asyncio.StreamReader, seen: _Seen) -> bool:
    """Reads one answer to its end and checks its numbers; whether the connection stays open."""
    asked = time.perf_counter()
    response = HTTPResponse()
    numbers: list[int] = []
    text = b''
    while not response.complete:
        data = await asyncio.wait_for(reader.read(65536), FRAME_TIMEOUT)
        now = time.monotonic_ns()
        if data:
            text += response.feed(data)
        else:
            response.close()
        if response.status not in (0, 200):
            raise HTTPResponseError(f'HTTP {response.status} {text[:120].decode(errors="replace")}')
        events, end, rest = text.rpartition(b'\n\n')
        if end:
            text = rest
            for number, sent in NUMBERED.findall(events):
                numbers.append(int(number))
                seen.latencies.append((now - int(sent)) / 1e9)
    seen.durations.append(time.perf_counter() - asked)
    seen.lost += CHUNKS - len(set(numbers))
    seen.disordered += sum(1 for before, after in zip(numbers, numbers[1:]) if after <= before)
    return response.keeps_alive
