"""The host's HTTP interface, on a Unix socket that only this user can open."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from math import ceil
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from llmhost.errors import BadRequestError, LLMHostError, NotFoundError, RateLimitError, UnavailableError
from llmhost.host.host import Host
from llmhost.host.signals import parse_signal

BACKLOG = 1024
KEEP_ALIVE = 600
"""Longer than the workers keep an idle connection: they, not we, close it, so none is found stale."""
GRACE = 1
STATUSES: dict[type[LLMHostError], int] = {
    NotFoundError: 404, BadRequestError: 400, RateLimitError: 429, UnavailableError: 503,
}


def build_app(host: Host) -> Starlette:
    started_at = time.time()

    async def health(request: Request) -> JSONResponse:
        return JSONResponse({'pid': os.getpid(), 'started_at': started_at})

    async def start(request: Request) -> JSONResponse:
        return JSONResponse({'url': await host.start(request.path_params['name'])})

    async def probe(request: Request) -> JSONResponse:
        return JSONResponse(asdict(await host.probe(request.path_params['name'])))

    async def signal(request: Request) -> JSONResponse:
        return JSONResponse(asdict(host.signal(request.path_params['name'], parse_signal(await request.body()))))

    async def leases(request: Request) -> JSONResponse:
        return JSONResponse(await host.leases())

    return Starlette(
        routes=[
            Route('/health', health),
            Route('/leases', leases),
            Route('/servers/{name}/start', start, methods=['POST']),
            Route('/servers/{name}/probe', probe, methods=['POST']),
            Route('/servers/{name}/signal', signal, methods=['POST']),
        ],
        exception_handlers={LLMHostError: _answer_error},
    )


async def _answer_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, LLMHostError)
    status = next((status for kind, status in STATUSES.items() if isinstance(error, kind)), 500)
    headers = {'Retry-After': str(ceil(error.retry_after))} if error.retry_after else None
    return JSONResponse({'error': {'message': error.message, 'code': error.code}}, status, headers)


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A Unix socket at `path`, mode 0600; one left behind by a dead host is replaced. Only the holder of the lock may."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        mask = os.umask(0o177)  # from the first moment on: the folder may be a shared one
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        try:
            listener.listen(BACKLOG)
            yield listener
        finally:
            path.unlink(missing_ok=True)


class HostServer(uvicorn.Server):
    """uvicorn without its signals, logging and lifespan; `on_started` is called when it accepts connections."""

    def __init__(self, app: Starlette, on_started: Callable[[], None]) -> None:
        super().__init__(uvicorn.Config(
            app, http='httptools', ws='none', lifespan='off', log_config=None, access_log=False, proxy_headers=False,
            server_header=False, date_header=False, timeout_keep_alive=KEEP_ALIVE, timeout_graceful_shutdown=GRACE,
        ))
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()
