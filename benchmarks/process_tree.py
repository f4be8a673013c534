"""CPU time and memory of a process and everything under it, from /proc (proc_pid_stat(5))."""

import os
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf('SC_CLK_TCK')
PAGE = os.sysconf('SC_PAGE_SIZE')


@dataclass(frozen=True)
class ProcessStat:
    """`cpu` is seconds in user and kernel mode, with that of children that ended and were waited for."""

    pid: int
    parent: int
    cpu: float
    rss: int


@dataclass(frozen=True)
class TreeUsage:
    """What serves requests, apart from llmhost's host process. `rss` is bytes of the largest process."""

    cpu: float
    rss: int
    host_cpu: float = 0.0
    host_rss: int = 0


def read_tree(root: int, *, has_host: bool = False) -> TreeUsage:
    """With `has_host`, a child of `root` with children of its own is gunicorn's dirty arbiter, its tree the host."""
    stats = _read_stats()
    serving = _list_tree(root, stats)
    host: list[ProcessStat] = []
    if has_host:
        parents = {stat.parent for stat in serving}
        arbiters = [stat for stat in serving if stat.parent == root and stat.pid in parents]
        host = [stat for arbiter in arbiters for stat in _list_tree(arbiter.pid, stats)]
    serving = [stat for stat in serving if stat not in host]
    return TreeUsage(sum(stat.cpu for stat in serving), max((stat.rss for stat in serving), default=0),
                     sum(stat.cpu for stat in host), max((stat.rss for stat in host), default=0))


def _list_tree(root: int, stats: dict[int, ProcessStat]) -> list[ProcessStat]:
    found = [stats[root]] if root in stats else []
    for stat in found:
        found.extend(child for child in stats.values() if child.parent == stat.pid)
    return found


def _read_stats() -> dict[int, ProcessStat]:
    stats = {}
    for entry in Path('/proc').iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / 'stat').read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended since the folder was listed
            stats[int(entry.name)] = _parse_stat(int(entry.name), text)
    return stats


def _parse_stat(pid: int, text: str) -> ProcessStat:
    values = text.rpartition(')')[2].split()  # the name before it may hold blanks and brackets
    return ProcessStat(pid, int(values[1]), sum(map(int, values[11:15])) / TICKS, int(values[21]) * PAGE)
