"""What /proc says about running processes and the sockets they hold."""
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path('/proc')
LISTENING_UNIX = '00010000'  # __SO_ACCEPTCON in /proc/net/unix


@dataclass(frozen=True)
class Process:
    """One process; `started` tells it from a later one with the same pid."""
    pid: int
    parent: int
    session: int
    started: int

    @property
    def command(self) -> str:
        return read(PROC / str(self.pid) / 'cmdline').replace(b'\0', b' ').decode(errors='replace').strip()

    def is_running(self) -> bool:
        return find_process(self.pid) == self

    def __str__(self) -> str:
        return f'{self.pid} ({self.command})'


def read(path: Path) -> bytes:
    """The file's bytes; nothing when its process is gone."""
    try:
        return path.read_bytes()
    except OSError:
        return b''


def find_process(pid: int) -> Process | None:
    """The process, unless it has ended (zombies have)."""
    fields = read(PROC / str(pid) / 'stat').rpartition(b') ')[2].split()
    if not fields or fields[0] in (b'Z', b'X'):
        return None
    return Process(pid, parent=int(fields[1]), session=int(fields[3]), started=int(fields[19]))


def iter_processes() -> Iterator[Process]:
    for name in os.listdir(PROC):
        if name.isdigit() and (process := find_process(int(name))):
            yield process


def list_children(pid: int) -> list[Process]:
    return [process for process in iter_processes() if process.parent == pid]


def list_descendants(pid: int) -> list[Process]:
    found, parents = [], {pid}
    everyone = list(iter_processes())
    while parents:
        children = [process for process in everyone if process.parent in parents]
        found += children
        parents = {process.pid for process in children}
    return found


def list_related(session: int, marker: str) -> set[Process]:
    """The processes of the session, and those with `marker` in environment or command line, whoever their parent is."""
    return {process for process in iter_processes()
            if process.session == session or process.pid != os.getpid() and is_marked(process, marker.encode())}


def is_marked(process: Process, marker: bytes) -> bool:
    return any(marker in read(PROC / str(process.pid) / name) for name in ('environ', 'cmdline'))


def find_owners(inode: str) -> set[int]:
    """The pids that hold the socket."""
    return {process.pid for process in iter_processes() if f'socket:[{inode}]' in list_files(process.pid)}


def list_files(pid: int) -> set[str]:
    """What the process's file descriptors are."""
    folder, found = PROC / str(pid) / 'fd', set()
    try:
        names = os.listdir(folder)
    except OSError:
        return found
    for name in names:
        try:
            found.add(os.readlink(folder / name))
        except OSError:
            continue  # closed meanwhile
    return found


def find_unix_listeners(path: Path) -> set[int]:
    """The pids that listen on the Unix socket."""
    rows = [line.split() for line in read(PROC / 'net' / 'unix').decode().splitlines()[1:]]
    inodes = [row[6] for row in rows if len(row) > 7 and row[7] == str(path) and row[3] == LISTENING_UNIX]
    return {pid for inode in inodes for pid in find_owners(inode)}


def find_connection_owners(client_port: int, server_port: int) -> set[int]:
    """The pids that hold the server's end of a loopback connection."""
    ends = (f'0100007F:{server_port:04X}', f'0100007F:{client_port:04X}')
    rows = [line.split() for line in read(PROC / 'net' / 'tcp').decode().splitlines()[1:]]
    return {pid for row in rows if (row[1], row[2]) == ends for pid in find_owners(row[9])}


def wait_until(holds: Callable[[], object], timeout: float, what: str) -> float:
    """Wait until `holds()`; how long it took, in seconds. AssertionError naming `what` when it never did."""
    start = time.monotonic()
    while not holds():
        assert time.monotonic() - start < timeout, f'not within {timeout} s: {what}'
        time.sleep(0.02)
    return time.monotonic() - start
