"""One host per data directory."""

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from llmhost.errors import UnavailableError

POLL = 0.05


@asynccontextmanager
async def only_host(path: Path, wait: float) -> AsyncIterator[None]:
    """Hold the lock on `path`; an older host has `wait` seconds to go. The kernel drops the lock when this process dies.

    Raises UnavailableError naming the process that holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        limit = time.monotonic() + wait
        while not _take(descriptor):
            if time.monotonic() > limit:
                owner = os.pread(descriptor, 20, 0).decode('ascii', 'replace').strip() or 'unknown'
                raise UnavailableError(f'Another llmhost (process {owner}) runs on {path.parent.parent}.')
            await asyncio.sleep(POLL)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b'%d\n' % os.getpid(), 0)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
