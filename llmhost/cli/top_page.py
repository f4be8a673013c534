"""A snapshot as lines of text."""

import math
import time
from collections.abc import Mapping, Sequence

import click

from llmhost.cli.output import ago, printable
from llmhost.services import ServerView, Snapshot

TITLES = ('SERVER', 'STATE', 'SINCE', 'RUN', 'WAIT', 'REQ/S', 'TOK/S', 'FAILED', 'MEMORY', 'KEYS / WHY')
TO_THE_RIGHT = frozenset({3, 4, 5, 6, 7, 8})
COLOURS = {'up': 'green', 'loading': 'yellow', 'rate_limited': 'yellow', 'down': 'red', 'misconfigured': 'red'}
STATE_COLUMN = 1
UNKNOWN = '-'
ERRORS_SHOWN = 8
ERRORS_SHARE = 4
"""The part of the screen that is theirs even where there are more servers than lines."""


def render(snapshot: Snapshot, width: int, height: int | None, coloured: bool) -> list[str]:
    """Lines of at most `width` columns. Where there are more servers than `height` lines, the busy and the broken stay."""
    head = head_of(snapshot)
    errors = errors_of(snapshot)
    servers = sorted(snapshot.servers, key=importance)
    hidden = 0
    if height is not None:
        errors = errors[:max(height // ERRORS_SHARE, height - len(head) - len(servers) - 1)]
        room = max(1, height - len(head) - len(errors) - 1)
        hidden = len(servers) - room + 1 if len(servers) > room else 0
        servers = servers[:len(servers) - hidden]
    table = table_of(sorted(servers, key=lambda server: server.name), width, coloured) if snapshot.servers else []
    rest = [f'… and {hidden} more', *errors] if hidden else errors
    return [*(line[:width] for line in head), *table, *(line[:width] for line in rest)]


def head_of(snapshot: Snapshot) -> list[str]:
    """Where, when, and what goes on in all."""
    first = f'llmhost {snapshot.url}  {time.strftime("%H:%M:%S", time.localtime(snapshot.at))}'
    if snapshot.fault:
        return [first, '', printable(snapshot.fault)]
    rates = snapshot.per_second
    at_servers = sum(sum((server.waiting or {}).values()) for server in snapshot.servers)
    waiting = at_servers + (snapshot.waiting or 0)
    return [
        f'{first}  host {snapshot.host}',
        f'requests {number(snapshot.running)} running of {number(snapshot.slots)}, {waiting} waiting  ·  '
        f'{rate(rates.requests)} requests/s  ·  {rate(rates.completion_tokens)} tokens/s, prompt {rate(rates.prompt_tokens)}  ·  '
        f'{number(snapshot.open_streams)} open streams',
        '',
        *([] if snapshot.servers else ['No servers yet. Add one: flask servers add NAME URL']),
    ]


def table_of(servers: Sequence[ServerView], width: int, coloured: bool) -> list[str]:
    """A line a server under the titles; columns as wide as their longest cell."""
    rows = [TITLES, *(cells_of(server) for server in servers)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(TITLES))]
    lines = []
    for row in rows:
        cells = [cell.rjust(size) if column in TO_THE_RIGHT else cell.ljust(size)
                 for column, (cell, size) in enumerate(zip(row, widths))]
        lines.append(paint(cells, width, row, coloured))
    return lines


def paint(cells: Sequence[str], width: int, row: Sequence[str], coloured: bool) -> str:
    """The cells as a line of `width` columns; the titles bold, the state in its colour."""
    line = '  '.join(cells)[:width].rstrip()
    if not coloured:
        return line
    if row is TITLES:
        return click.style(line, bold=True)
    start = len(cells[0]) + 2
    end = start + len(cells[STATE_COLUMN])
    colour = COLOURS.get(row[STATE_COLUMN])
    return line[:start] + click.style(line[start:end], fg=colour) + line[end:] if colour else line


def cells_of(server: ServerView) -> tuple[str, ...]:
    running = number(None if server.running is None else sum(server.running.values()))
    return (
        server.name,
        server.state,
        UNKNOWN if server.since is None else ago(server.since).removesuffix(' ago'),
        f'{running}/{server.capacity}' if server.capacity is not None else running,
        number(None if server.waiting is None else sum(server.waiting.values())),
        rate(server.per_second.requests),
        rate(server.per_second.completion_tokens),
        str(server.failed or UNKNOWN),
        size_of(server.memory),
        printable(' '.join((keys_of(server) or why(server)).split())),
    )


def why(server: ServerView) -> str:
    """What keeps it from being used, and how much longer where that is known."""
    left = 0 if server.until is None else math.ceil(server.until - time.time())
    return f'{server.error or ""} ({left} s more)' if left > 0 else server.error or ''


def keys_of(server: ServerView) -> str:
    """Who uses it and who waits for it: `ann 2+5` is two running and five waiting."""
    running: Mapping[str, int] = server.running or {}
    waiting: Mapping[str, int] = server.waiting or {}
    names = sorted({*running, *waiting}, key=lambda key: (-running.get(key, 0) - waiting.get(key, 0), key))
    return ', '.join(
        f'{key or "(no key)"} {running.get(key, 0)}{f"+{waiting[key]}" if waiting.get(key) else ""}' for key in names)


def errors_of(snapshot: Snapshot) -> list[str]:
    """The last errors, newest first, under a title."""
    lines = [
        f'{ago(seen.at):>10}  {seen.server}: {printable(" ".join(seen.error.split()))}' for seen in snapshot.errors[:ERRORS_SHOWN]
    ]
    return ['', 'ERRORS', *lines] if lines else []


def importance(server: ServerView) -> tuple[bool, bool, str]:
    """The busy first, then the broken."""
    return not (server.running or server.waiting), server.error is None, server.name


def number(value: int | None) -> str:
    return UNKNOWN if value is None else str(value)


def rate(value: float | None) -> str:
    return UNKNOWN if value is None else f'{value:.0f}' if value >= 100 else f'{value:.1f}'


def size_of(amount: int | None) -> str:
    """Bytes in the unit that leaves few digits."""
    if amount is None:
        return UNKNOWN
    gib = amount / 2**30
    return f'{gib:.1f} GB' if gib >= 1 else f'{amount / 2**20:.0f} MB'
