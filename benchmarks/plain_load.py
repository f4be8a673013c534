"""Whole requests as fast as they are answered, on keep-alive connections: by wrk where installed, else asyncio."""

import asyncio
import shutil
import time
from pathlib import Path

from benchmarks.http_request import HTTPRequest
from benchmarks.http_response import HTTPResponse, HTTPResponseError
from benchmarks.load_result import PlainLoad, find_percentile
from benchmarks.wrk import run_wrk

ANSWER_TIMEOUT = 30.0


def run_plain_load(request: HTTPRequest, *, clients: int, seconds: float, folder: Path) -> PlainLoad:
    wrk = shutil.which('wrk')
    if wrk:
        return run_wrk(wrk, request, clients=clients, seconds=seconds, folder=folder)
    return asyncio.run(_run_clients(request, clients, seconds))


async def _run_clients(request: HTTPRequest, clients: int, seconds: float) -> PlainLoad:
    start = time.perf_counter()
    latencies: list[float] = []
    failures: list[Exception] = []
    await asyncio.gather(*(_run_client(request, start + seconds, latencies, failures) for _ in range(clients)))
    taken = time.perf_counter() - start
    latencies.sort()
    return PlainLoad(len(latencies), taken, p50=find_percentile(latencies, 50), p99=find_percentile(latencies, 99),
                     failed=len(failures))


async def _run_client(request: HTTPRequest, deadline: float, latencies: list[float], failures: list[Exception]) -> None:
    """One connection, opened again whenever the server closes it."""
    while time.perf_counter() < deadline:
        reader, writer = await asyncio.open_connection('127.0.0.1', request.port)
        try:
            await _ask_until(deadline, request.encode(), reader, writer, latencies)
        except (HTTPResponseError, OSError, TimeoutError) as error:
            failures.append(error)
            await asyncio.sleep(0.01)
        finally:
            writer.close()


async def _ask_until(deadline: float, wire: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter,
                     latencies: list[float]) -> None:
    keeps_alive = True
    while keeps_alive and time.perf_counter() < deadline:
        asked = time.perf_counter()
        writer.write(wire)
        response = HTTPResponse()
        while not response.complete:
            data = await asyncio.wait_for(reader.read(65536), ANSWER_TIMEOUT)
            if data:
                response.feed(data)
            else:
                response.close()
        if response.status != 200:
            raise HTTPResponseError(f'HTTP {response.status}')
        latencies.append(time.perf_counter() - asked)
        keeps_alive = response.keeps_alive
