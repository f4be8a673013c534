"""The printed tables (Markdown, so that they paste) and the JSON file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.figures import Figures

PLAIN = (('name', 'plain requests', ''), ('cpu_ms_per_request', 'CPU ms/request', '.3f'),
         ('cpu_ms_per_request_x_echo', 'x echo', '.2f'), ('cpu_ms_per_request_x_nginx', 'x nginx', '.1f'),
         ('requests_per_second', 'requests/s', '.0f'), ('added_p50_ms', 'added p50 ms', '.2f'),
         ('added_p99_ms', 'added p99 ms', '.2f'), ('failed', 'failed', 'd'), ('worker_rss_mb', 'worker MB', '.0f'),
         ('start_seconds', 'start s', '.1f'))
STREAM = (('name', 'streams', ''), ('cpu_us_per_chunk', 'CPU µs/chunk', '.1f'),
          ('cpu_us_per_chunk_x_nginx', 'x nginx', '.2f'), ('stream_p50_seconds', 'stream s (p50)', '.2f'),
          ('added_frame_p50_ms', 'added p50 ms', '.2f'), ('added_frame_p99_ms', 'added p99 ms', '.2f'),
          ('lost', 'lost', 'd'), ('disordered', 'out of order', 'd'), ('broken_streams', 'broken streams', 'd'))


def build_report(machine: Mapping[str, str], all_figures: Sequence[Figures]) -> str:
    head = [f'{name}: {value}' for name, value in machine.items()]
    streamed = [figures for figures in all_figures if 'chunks' in figures]
    return '\n'.join([*head, '', *_build_table(PLAIN, [f for f in all_figures if 'requests' in f]), '',
                      *_build_table(STREAM, streamed), '', *_build_notes(all_figures)]).rstrip()


def save_report(path: Path, machine: Mapping[str, str], all_figures: Sequence[Figures]) -> None:
    path.write_text(json.dumps({'machine': machine, 'rows': all_figures}, indent=2, ensure_ascii=False) + '\n')


def _build_table(columns: Sequence[tuple[str, str, str]], rows: Sequence[Figures]) -> list[str]:
    cells = [[title for _, title, _ in columns]]
    cells += [[format(row[key], form) if key in row else '-' for key, _, form in columns] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(columns))]
    lines = ['| ' + ' | '.join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + ' |' for row in cells]
    rule = '|' + '|'.join(['-' * (widths[0] + 2), *('-' * (width + 1) + ':' for width in widths[1:])]) + '|'
    return [lines[0], rule, *lines[1:]]


def _build_notes(all_figures: Sequence[Figures]) -> list[str]:
    notes = []
    for row in all_figures:
        if 'host_rss_mb' in row:
            notes.append(f'{row["name"]}\'s host process, not counted above: '
                         f'{row.get("host_cpu_ms_per_request", 0):.4f} ms/request, '
                         f'{row.get("host_cpu_us_per_chunk", 0):.2f} µs/chunk, {row["host_rss_mb"]:.0f} MB')
        if 'reason' in row:
            notes.append(f'{row["name"]}: {row["reason"]}')
    return notes
