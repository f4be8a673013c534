"""One process of a managed server, under its guard."""

import asyncio
import logging
import os
import re
import shutil
import signal
import socket
import sys
from asyncio.subprocess import STDOUT, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from llmhost.errors import UnavailableError

GUARD = Path(__file__).with_name('guard.py')
BOOT_TIMEOUT = 10.0
TERM_TIMEOUT = 5.0
KILL_TIMEOUT = 2.0
LOG_LIMIT_BYTES = 5_000_000
TAIL_BYTES = 8192
TAIL_LINES = 5
TAIL_CHARACTERS = 500
ESCAPES = re.compile(r'\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]')

log = logging.getLogger(__name__)


class Child:
    """A running process. `pid` is the server's own; its group dies with the guard, and the guard with this process."""

    def __init__(self, guard: Process, line: socket.socket, log_path: Path, log_start: int) -> None:
        self._guard = guard
        self._line = line
        self._log_path = log_path
        self._log_start = log_start
        self.pid = 0

    @classmethod
    async def start(cls, argv: Sequence[str], environment: Mapping[str, str], log_path: Path) -> 'Child':
        """Start `argv` (a program that cannot be run shows in `wait` and `tail`). Raises UnavailableError."""
        line, guards_end = socket.socketpair()
        line.setblocking(False)
        try:
            with guards_end, open_log(log_path) as file:
                start = file.tell()
                guard = await asyncio.create_subprocess_exec(
                    sys.executable, '-I', '-S', str(GUARD), '--', *argv,
                    stdin=guards_end, stdout=file, stderr=STDOUT, env=dict(environment), start_new_session=True,
                )
        except (OSError, ValueError) as error:
            line.close()
            raise UnavailableError(f'It cannot be started: {getattr(error, "strerror", None) or error}.') from error
        child = cls(guard, line, log_path, start)
        try:
            await child._read_pid()
        except BaseException:
            await child.stop()
            raise
        return child

    async def _read_pid(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            text = await asyncio.wait_for(loop.sock_recv(self._line, 64), BOOT_TIMEOUT)
            self.pid = int(text)
        except (TimeoutError, OSError, ValueError) as error:
            raise UnavailableError('It cannot be started: its guard does not answer.') from error

    async def wait(self) -> int:
        """Until the process has ended, and all of its group with it; returns the exit status, 128 + n for signal n."""
        status = await self._guard.wait()
        if status < 0:  # the guard itself was killed: do its duty
            self._kill_group()
        self._line.close()
        return status

    async def stop(self) -> None:
        """TERM, and after a while KILL, for the whole group; returns when it is gone. Nothing happens to an ended one."""
        try:
            if self._guard.returncode is None:
                with suppress(ProcessLookupError):
                    self._guard.send_signal(signal.SIGTERM)
                await self._wait_or_kill()
        finally:
            self._line.close()

    async def _wait_or_kill(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.wait(), TERM_TIMEOUT)
            return
        self._kill_group()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.wait(), KILL_TIMEOUT)
            return
        log.warning('The guard of process %d does not end; killing it.', self.pid)
        self._guard.kill()
        await self.wait()

    def _kill_group(self) -> None:
        if self.pid:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def tail(self) -> str:
        """The last few lines of what it has written, on one line."""
        with open(self._log_path, 'rb') as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES, self._log_start if self._log_start <= size else 0))
            text = file.read().decode('utf-8', 'replace')
        lines = [ESCAPES.sub('', line).strip() for line in text.splitlines()]
        return ' | '.join([line for line in lines if line][-TAIL_LINES:])[-TAIL_CHARACTERS:]


def open_log(path: Path) -> BinaryIO:
    """The log to append to, rotated first when it is long."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    rotate_log(path)
    return open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), 'ab')


def rotate_log(path: Path) -> None:
    """Move a long log's content to `<name>.log.1`. The process goes on writing to the same file, which begins anew."""
    with suppress(FileNotFoundError):
        if path.stat().st_size > LOG_LIMIT_BYTES:
            shutil.copyfile(path, path.with_name(path.name + '.1'))
            os.truncate(path, 0)
