"""How much memory there is, and how much of it the managed servers use: what Linux says in /proc, and nothing elsewhere."""

import os
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from llmhost.errors import UnavailableError

PROC = Path('/proc')
GROUP, RESIDENT = 2, 21
"""Fields of /proc/PID/stat, counted from behind the name: the process group and the resident pages."""


def check_fits(model: Path) -> None:
    """Raises UnavailableError where a model file is larger than the memory that is free."""
    try:
        size = model.stat().st_size
    except OSError:
        return  # llama.cpp's start names the reason
    free = available_bytes()
    if free is not None and size > free:
        raise UnavailableError(f'It needs about {_gigabytes(size)} GB of memory, {_gigabytes(free)} GB are free.')


def available_bytes() -> int | None:
    """What can be had without swapping; None where that is not known."""
    with suppress(OSError, ValueError):
        for line in (PROC / 'meminfo').read_text().splitlines():
            if line.startswith('MemAvailable:'):
                return int(line.split()[1]) * 1024
    return None


def resident_bytes(groups: Collection[int]) -> dict[int, int]:
    """The resident memory of these process groups; those that are not found are left out."""
    pages: Counter[int] = Counter()
    if not groups or not PROC.is_dir():
        return {}
    for name in os.listdir(PROC):
        if name.isdigit():
            with suppress(OSError, ValueError, IndexError):  # it ended meanwhile
                fields = (PROC / name / 'stat').read_bytes().rpartition(b') ')[2].split()
                if (group := int(fields[GROUP])) in groups:
                    pages[group] += int(fields[RESIDENT])
    page_size = os.sysconf('SC_PAGE_SIZE')
    return {group: count * page_size for group, count in pages.items()}


def _gigabytes(size: int) -> str:
    return f'{size / 1e9:.1f}'
