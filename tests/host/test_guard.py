"""The guard as a program of its own."""
import signal
import socket
import subprocess
import sys
from collections.abc import Generator

import pytest

from llmhost.host.child import GUARD
from tests.e2e.processes import find_process, wait_until


class Guarded:
    """A command under a guard; `line` is the host's end of the guard's standard input."""

    def __init__(self, *argv: str) -> None:
        self.line, guards_end = socket.socketpair()
        self.line.settimeout(5)
        command = [sys.executable, '-I', '-S', str(GUARD), '--', *argv]
        with guards_end:
            self.guard = subprocess.Popen(command, stdin=guards_end.fileno(), stderr=subprocess.PIPE)
        self.pid = int(self.line.recv(64))

    def close(self) -> None:
        self.line.close()
        self.guard.communicate(timeout=10)


@pytest.fixture
def sleeper() -> Generator[Guarded]:
    guarded = Guarded('sleep', '1000')
    yield guarded
    guarded.close()


@pytest.mark.parametrize(
    ('argv', 'status'),
    [(['sh', '-c', 'exit 7'], 7), (['sh', '-c', 'kill -9 $$'], 137), (['no-such-program'], 127)],
    ids=['status', 'signal', 'missing'],
)
def test_the_guard_ends_as_its_command_does(argv: list[str], status: int) -> None:
    guarded = Guarded(*argv)
    assert guarded.guard.wait(5) == status
    guarded.close()


def test_the_command_leads_a_session_of_its_own(sleeper: Guarded) -> None:
    process = find_process(sleeper.pid)
    assert process is not None
    assert process.session == sleeper.pid


def test_a_terminated_guard_passes_it_on(sleeper: Guarded) -> None:
    sleeper.guard.terminate()
    assert sleeper.guard.wait(5) == 128 + signal.SIGTERM
    assert find_process(sleeper.pid) is None


def test_an_interrupt_from_the_terminal_is_left_to_the_host(sleeper: Guarded) -> None:
    sleeper.guard.send_signal(signal.SIGINT)
    sleeper.guard.send_signal(signal.SIGHUP)
    sleeper.guard.terminate()
    assert sleeper.guard.wait(5) == 128 + signal.SIGTERM


def test_the_command_ends_when_the_host_is_gone(sleeper: Guarded) -> None:
    sleeper.line.close()
    sleeper.guard.wait(5)
    assert find_process(sleeper.pid) is None


def test_a_killed_guard_takes_the_command_along(sleeper: Guarded) -> None:
    process = find_process(sleeper.pid)
    assert process is not None
    sleeper.guard.kill()
    wait_until(lambda: not process.is_running(), 2, 'the end of the command')


def test_what_a_command_leaves_behind_is_killed() -> None:
    guarded = Guarded('sh', '-c', 'sleep 1000 & echo $! >&2')
    _, output = guarded.guard.communicate(timeout=5)
    wait_until(lambda: find_process(int(output)) is None, 2, 'the end of what was left')
    guarded.close()
