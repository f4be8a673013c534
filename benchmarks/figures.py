"""The figures a row is read by: costs per request and per chunk, what was added to direct, ratios to the two floors."""

from collections.abc import Mapping, Sequence

from benchmarks.load_result import PlainLoad, StreamLoad
from benchmarks.measurement import Row
from benchmarks.process_tree import TreeUsage

Figures = dict[str, float | int | str]


def build_figures(rows: Sequence[Row]) -> list[Figures]:
    """One mapping a row, in order; a figure that was not measured is absent. The row `direct` comes first."""
    direct = rows[0]
    all_figures = [_build_row(row, direct) for row in rows]
    by_name = {str(figures['name']): figures for figures in all_figures}
    for figures in all_figures:
        for floor, cost in (('echo', 'cpu_ms_per_request'), ('nginx', 'cpu_ms_per_request'),
                            ('nginx', 'cpu_us_per_chunk')):
            _add_ratio(figures, by_name.get(floor, {}), cost, f'{cost}_x_{floor}')
    return all_figures


def _build_row(row: Row, direct: Row) -> Figures:
    figures: Figures = {'name': row.name}
    if row.start_seconds is not None:
        figures['start_seconds'] = row.start_seconds
    if row.plain:
        figures.update(_build_plain(row.plain, direct.plain))
    if row.plain and row.plain_usage:
        figures.update(_build_usage(row.plain_usage, row.plain.requests, 1e3, 'cpu_ms_per_request'))
    if row.stream:
        figures.update(_build_stream(row.stream, direct.stream))
    if row.stream and row.stream_usage:
        figures.update(_build_usage(row.stream_usage, row.stream.chunks, 1e6, 'cpu_us_per_chunk'))
    if row.reason:
        figures['reason'] = row.reason
    return figures


def _build_plain(load: PlainLoad, direct: PlainLoad | None) -> Figures:
    base = direct or load
    return {'requests': load.requests, 'requests_per_second': load.requests / load.seconds, 'failed': load.failed,
            'p50_ms': load.p50 * 1e3, 'p99_ms': load.p99 * 1e3,
            'added_p50_ms': (load.p50 - base.p50) * 1e3, 'added_p99_ms': (load.p99 - base.p99) * 1e3}


def _build_stream(load: StreamLoad, direct: StreamLoad | None) -> Figures:
    base = direct or load
    return {'streams': load.streams, 'chunks': load.chunks, 'stream_p50_seconds': load.stream_p50,
            'lost': load.lost, 'disordered': load.disordered, 'broken_streams': load.broken,
            'frame_p50_ms': load.p50 * 1e3, 'frame_p99_ms': load.p99 * 1e3,
            'added_frame_p50_ms': (load.p50 - base.p50) * 1e3, 'added_frame_p99_ms': (load.p99 - base.p99) * 1e3}


def _build_usage(usage: TreeUsage, count: int, scale: float, name: str) -> Figures:
    figures: Figures = {name: usage.cpu / count * scale, 'worker_rss_mb': usage.rss / 1e6}
    if usage.host_rss:
        figures.update({f'host_{name}': usage.host_cpu / count * scale, 'host_rss_mb': usage.host_rss / 1e6})
    return figures


def _add_ratio(figures: Figures, floor: Mapping[str, float | int | str], cost: str, name: str) -> None:
    own, least = figures.get(cost), floor.get(cost)
    if isinstance(own, float) and isinstance(least, float) and least:
        figures[name] = own / least
