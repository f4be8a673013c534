"""Runs one command and outlives nobody: `python -I -S guard.py -- COMMAND ARGUMENT…`, with a socket as its standard input.

The command runs in a session and process group of its own; its pid is written to the socket. The whole group is killed when
the socket's other end closes (the host died, however), when the command itself ends, and, on Linux, the command when this
process is killed. SIGTERM is passed on to the group. The exit status is the command's, or 128 + the signal it died of.

Only the standard library, and little of it: one of these runs beside each model server.
"""

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

GRACE = 3.0
TICK = 0.02
CANNOT_RUN = 127
PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> int:
    wakeup, wakeup_end = os.pipe()
    os.set_blocking(wakeup_end, False)
    signal.set_wakeup_fd(wakeup_end)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    child = start(argv)
    try:
        os.write(0, b'%d\n' % child)
    except OSError:
        return stop(child)
    return watch(child, wakeup)


def start(argv: list[str]) -> int:
    """Start the command; returns its pid once it runs (or has failed to)."""
    set_death_signal = linux_prctl()
    guard = os.getpid()
    running, running_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        set_death_signal(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(1)
        run(argv)
    os.close(running_end)
    os.read(running, 1)
    os.close(running)
    return child


def linux_prctl() -> Callable[[int, int], object]:
    """prctl(2), looked up before the fork; elsewhere nothing."""
    found: Callable[[int, int], object] = getattr(ctypes.CDLL(None), 'prctl', lambda option, value: None)
    return found


def run(argv: list[str]) -> NoReturn:
    """Become the command, with nothing to read and the signals as a fresh process has them."""
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    try:
        os.execvp(argv[0], argv)
    except (OSError, ValueError) as error:
        print(f'{argv[0]}: {getattr(error, "strerror", None) or error}', file=sys.stderr, flush=True)
    os._exit(CANNOT_RUN)


def watch(child: int, wakeup: int) -> int:
    """Until the command ends, or the host has died and it was stopped; returns the exit status."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(wakeup, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if wakeup in ready and signal.SIGTERM in os.read(wakeup, 64):
            kill_group(child, signal.SIGTERM)
        status = status_of(child)
        if status is not None:
            kill_group(child, signal.SIGKILL)
            return status
        if 0 in ready and host_is_gone():
            return stop(child)


def host_is_gone() -> bool:
    try:
        return not os.read(0, 64)
    except OSError:
        return True


def stop(child: int) -> int:
    """TERM for the whole group, and KILL for what is left of it after a while."""
    kill_group(child, signal.SIGTERM)
    limit = time.monotonic() + GRACE
    while (status := status_of(child)) is None and time.monotonic() < limit:
        time.sleep(TICK)
    kill_group(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if status is None else status


def status_of(child: int) -> int | None:
    """The exit status of a command that has ended, 128 + the signal as a shell has it; None while it runs."""
    pid, status = os.waitpid(child, os.WNOHANG)
    if not pid:
        return None
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def kill_group(child: int, number: int) -> None:
    try:
        os.killpg(child, number)
    except (ProcessLookupError, PermissionError):  # macOS says EPERM of a group of zombies
        pass


if __name__ == '__main__':
    sys.exit(main(sys.argv[sys.argv.index('--') + 1:]))
