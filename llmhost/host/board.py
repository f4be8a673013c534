"""What the host sees of each server, and when it is written to `status.json`."""

import asyncio
import logging
import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from typing import Any

from llmhost.errors import ConsoleError, CorruptFileError
from llmhost.storage.status import ServerStatus, StatusFile

REWRITE_AFTER = 15.0
RETRY_AFTER = 5.0

log = logging.getLogger(__name__)


class StatusBoard:
    """The present status of every server. `run` writes it whenever something changed that a reader cares about.

    `since` moves with the state only; a list of models stays until a new one is seen. What an earlier host saw is kept.
    """

    def __init__(self, file: StatusFile) -> None:
        self._file = file
        self._servers: dict[str, ServerStatus] = dict(file.current().servers)
        self._written: dict[str, ServerStatus] | None = None
        self._written_at = 0.0
        self._changed = asyncio.Event()
        self._lock = asyncio.Lock()

    def of(self, name: str) -> ServerStatus:
        return self._servers.get(name) or ServerStatus()

    def put(
        self,
        name: str,
        state: str,
        *,
        error: str | None = None,
        models: Sequence[Mapping[str, Any]] | None = None,
        url: str | None = None,
        pid: int | None = None,
        until: float | None = None,
    ) -> None:
        """What was seen of a server just now; without `models`, those last seen stay."""
        before, now = self.of(name), time.time()
        self._servers[name] = ServerStatus(
            state=state,
            since=before.since if state == before.state else now,
            checked_at=now,
            error=error,
            models=before.models if models is None else tuple(models),
            url=url,
            pid=pid,
            until=until,
            last_error=error or before.last_error,
            last_error_at=now if error else before.last_error_at,
        )
        self._changed.set()

    def forget(self, name: str) -> None:
        """Another server has the name now."""
        if self._servers.pop(name, None) is not None:
            self._changed.set()

    def keep_only(self, names: Container[str]) -> None:
        for name in [name for name in self._servers if name not in names]:
            self.forget(name)

    async def run(self) -> None:
        """Write changes as they come, until cancelled."""
        while True:
            await self._changed.wait()
            if not await self.flush():
                await asyncio.sleep(RETRY_AFTER)

    async def flush(self) -> bool:
        """Write what is not written yet; False when that failed (it is logged)."""
        async with self._lock:
            self._changed.clear()
            if not self._is_worth_writing():
                return True
            servers = dict(self._servers)
            try:
                await asyncio.to_thread(self._write, servers)
            except (ConsoleError, OSError) as error:
                log.error('The status of the servers cannot be written: %s', error)
                self._changed.set()
                return False
            self._written, self._written_at = servers, time.monotonic()
            return True

    def _write(self, servers: dict[str, ServerStatus]) -> None:
        try:
            self._file.replace(servers)
        except CorruptFileError as error:
            # only the host writes it and all of it is seen anew, so a broken one must not blind the workers for good
            aside = error.path.rename(error.path.with_suffix('.broken.json'))
            log.error('%s It was moved to %s.', error, aside)
            self._file.replace(servers)

    def _is_worth_writing(self) -> bool:
        """The time of a check alone is news only now and then."""
        if self._written is None or time.monotonic() - self._written_at > REWRITE_AFTER:
            return self._servers != self._written
        return _without_times(self._servers) != _without_times(self._written)


def _without_times(servers: Mapping[str, ServerStatus]) -> dict[str, ServerStatus]:
    return {name: replace(status, checked_at=None, last_error_at=None) for name, status in servers.items()}
