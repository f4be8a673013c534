"""One line a request. It names who, what and how long; never a secret, never a word of a message."""

import logging

import orjson

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


class TextFormatter(logging.Formatter):
    """`time level logger message`, and for a request `name=value` pairs; what could break the line is escaped."""

    def __init__(self) -> None:
        super().__init__('%(asctime)s %(levelname)s %(name)s %(message)s')
        self._second = 0
        self._time = ''

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, 'fields', None)
        if fields is not None:
            record.msg = ' '.join([f'{name}={_plain(value)}' for name, value in fields.items() if value not in (None, '')])
        return super().format(record)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """The second is formatted once for all lines it sees."""
        if int(record.created) != self._second:
            self._second = int(record.created)
            self._time = super().formatTime(record, '%Y-%m-%d %H:%M:%S')
        return f'{self._time}.{int(record.msecs):03d}'


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, object] = {
            'time': self.formatTime(record, '%Y-%m-%dT%H:%M:%S%z'),
            'level': record.levelname,
            'logger': record.name,
        }
        fields = getattr(record, 'fields', None)
        document.update(fields if fields is not None else {'message': record.getMessage()})
        if record.exc_info:
            document['traceback'] = self.formatException(record.exc_info)
        return orjson.dumps(document).decode()


def _plain(value: object) -> str:
    if not isinstance(value, str):
        return str(value)
    text = value
    return text if text.isprintable() and ' ' not in text and '"' not in text else orjson.dumps(text).decode()


def configure(level: str, form: str) -> None:
    """Send llmhost's own loggers to standard error; the root logger is left to whoever embeds the app."""
    logger = logging.getLogger('llmhost')
    logger.setLevel(level)
    if not logger.handlers:
        handler = logging.StreamHandler()
        logger.addHandler(handler)
        logger.propagate = False
    for existing in logger.handlers:
        existing.setFormatter(JsonFormatter() if form == 'json' else TextFormatter())
