"""One request on its way: what the log line, the metrics and the answer's headers tell of it."""

import time
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Call:
    """Filled in as the request goes on. Times are `time.perf_counter` seconds; `answering` is set once bytes were sent on.

    `allowed` are the key's globs, `model` is what the client named first, `upstream_model` the id its server knew it by.
    """

    request_id: str
    task: str
    key_name: str | None = None
    allowed: tuple[str, ...] = ()
    model: str = ''
    upstream_model: str = ''
    server: str = ''
    attempts: int = 0
    queued: float = 0.0
    upstream: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    answering: bool = False
    error: str | None = None
    line: tuple[str, str] = ('', '')
    started: float = field(default_factory=time.perf_counter)

    def elapsed(self) -> float:
        return time.perf_counter() - self.started

    def overhead(self) -> float:
        """The time spent in llmhost itself so far."""
        return max(0.0, self.elapsed() - self.queued - self.upstream)

    def count_usage(self, usage: Any) -> None:
        """Take the tokens from an answer's usage object, if it is one."""
        if isinstance(usage, dict):
            self.prompt_tokens = _tokens(usage.get('prompt_tokens', usage.get('total_tokens')))
            self.completion_tokens = _tokens(usage.get('completion_tokens'))


def _tokens(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
