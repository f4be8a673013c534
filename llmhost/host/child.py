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
    """A running process. `pid` is the server's own; its group dies with the guard, and the guard with this process.

    `ended` is done when all of it is gone; its result is the exit status, 128 + n for signal n.
    """

    def __init__(self, guard: Process, line: socket.socket, log_path: Path, log_start: int) -> None:
        self._guard = guard
        self._line = line
        self._log_path = log_path
        self._log_start = log_start
        self.pid = 0
        self.ended = asyncio.create_task(self._wait())

    @classmethod
    async def start(cls, argv: Sequence[str], environment: Mapping[str, str], log_path: Path) -> 'Child':
        """Start `argv`; a program that cannot be run ends at once with status 127. Raises UnavailableError."""
        line, guards_end = socket.socketpair()
        line.setblocking(False)
        try:
            with guards_end, open_log(log_path) as file:
                log_start = file.tell()  # the child's writing moves it
                child = cls(await _start_guard(argv, environment, guards_end, file), line, log_path, log_start)
        except (OSError, ValueError) as error:
            line.close()
            raise UnavailableError(f'It cannot be started: {getattr(error, "strerror", None) or error}.') from error
        except BaseException:
            line.close()
            raise
        await child._read_pid()
        return child

    async def _read_pid(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self.pid = int(await asyncio.wait_for(loop.sock_recv(self._line, 64), BOOT_TIMEOUT))
        except (TimeoutError, OSError, ValueError) as error:
            await self.stop()
            raise UnavailableError('It cannot be started: its guard does not answer.') from error
        except BaseException:
            await self.stop()
            raise

    async def _wait(self) -> int:
        status = await self._guard.wait()
        if status < 0:  # the guard itself was killed: do its duty
            self._kill_group()
        self._line.close()
        return status

    async def stop(self) -> None:
        """TERM, and after a while KILL, for the whole group; returns when it is gone."""
        for kill, timeout in ((self._terminate, TERM_TIMEOUT), (self._kill_group, KILL_TIMEOUT), (self._kill_guard, None)):
            if not self.ended.done():
                kill()
                await asyncio.wait({self.ended}, timeout=timeout)

    def _terminate(self) -> None:
        with suppress(ProcessLookupError):
            self._guard.send_signal(signal.SIGTERM)

    def _kill_group(self) -> None:
        if self.pid:
            with suppress(ProcessLookupError, PermissionError):  # macOS says EPERM of a group of zombies
                os.killpg(self.pid, signal.SIGKILL)

    def _kill_guard(self) -> None:
        log.warning('The guard of process %d does not end; killing it.', self.pid)
        with suppress(ProcessLookupError):
            self._guard.kill()

    def tail(self) -> str:
        """The last few lines of what it has written, as one."""
        with open(self._log_path, 'rb') as file:
            size = file.seek(0, os.SEEK_END)
            start = self._log_start if self._log_start <= size else 0
            file.seek(max(start, size - TAIL_BYTES))
            text = file.read().decode('utf-8', 'replace')
        lines = [ESCAPES.sub('', line).strip() for line in text.splitlines()]
        return ' | '.join([line for line in lines if line][-TAIL_LINES:])[-TAIL_CHARACTERS:]


async def _start_guard(argv: Sequence[str], environment: Mapping[str, str], line: socket.socket, file: BinaryIO) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, '-I', '-S', str(GUARD), '--', *argv,
        stdin=line.fileno(), stdout=file, stderr=STDOUT, env=dict(environment), start_new_session=True,
    )


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
