"""One line a request. It names who, what and how long; never a secret, never a word of a message."""

import logging

from llmhost.services import Call, Services

log = logging.getLogger('llmhost.request')

NAME_LIMIT = 200


def finish(parts: Services, call: Call, status: int) -> None:
    """Log and count a request whose answer is complete."""
    metrics = parts.metrics
    metrics.count_request(call.task, call.server, status, call.elapsed(), call.queued)
    if call.prompt_tokens or call.completion_tokens:
        metrics.count_tokens(call.server, call.prompt_tokens, call.completion_tokens)
    if log.isEnabledFor(logging.INFO):
        log.info('', extra={'fields': describe(call, status)})


def describe(call: Call, status: int) -> dict[str, str | int | float | None]:
    """What the line says. Times in milliseconds."""
    total = call.elapsed()
    return {
        'method': call.line[0],
        'path': call.line[1],
        'status': status,
        'error': call.error,
        'request_id': call.request_id,
        'key': call.key_name,
        'model': call.model[:NAME_LIMIT],
        'server': call.server,
        'attempts': call.attempts,
        'prompt_tokens': call.prompt_tokens,
        'completion_tokens': call.completion_tokens,
        'queue_ms': round(call.queued * 1000, 2),
        'upstream_ms': round(call.upstream * 1000, 2),
        'overhead_ms': round(max(0.0, total - call.queued - call.upstream) * 1000, 2),
        'total_ms': round(total * 1000, 2),
    }
