"""What a load client saw."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PlainLoad:
    """Answers to whole requests; latencies are seconds."""

    requests: int
    seconds: float
    p50: float
    p99: float
    failed: int


@dataclass(frozen=True)
class StreamLoad:
    """Frames of streams; p50 and p99 are seconds from the upstream's write of a frame to the client's read of it,
    `stream_p50` the seconds from request to end. The numbers of a stream that broke off are in `broken` alone."""

    streams: int
    chunks: int
    p50: float
    p99: float
    stream_p50: float
    lost: int
    disordered: int
    broken: int


def find_percentile(ordered: Sequence[float], percent: float) -> float:
    """The value below which `percent` of the sorted `ordered` lie; 0 where there is none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0
