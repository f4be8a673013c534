"""How log lines look: text for people, JSON for machines. What is said is up to who says it."""

import logging
import logging.config
from datetime import datetime
from typing import Any

import orjson


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
            'time': datetime.fromtimestamp(record.created).astimezone().isoformat(timespec='milliseconds'),
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


def settings(level: str, form: str) -> dict[str, Any]:
    """For `logging.config.dictConfig`: llmhost's and gunicorn's own lines on standard error, all of one form."""
    formatter = JsonFormatter if form == 'json' else TextFormatter
    logger = {'level': level, 'handlers': ['stderr'], 'propagate': False}
    return {
        'version': 1,
        'disable_existing_loggers': False,
        'formatters': {'llmhost': {'()': formatter}},
        'handlers': {'stderr': {'class': 'logging.StreamHandler', 'formatter': 'llmhost'}},
        'loggers': {'llmhost': logger, 'gunicorn.error': logger},
        'root': {'level': 'WARNING', 'handlers': ['stderr']},
    }


def configure(level: str, form: str) -> None:
    """Set llmhost's own loggers up, unless someone did; the root logger is left to whoever embeds the app."""
    logger = logging.getLogger('llmhost')
    if not logger.handlers:
        own = settings(level, form)
        del own['root'], own['loggers']['gunicorn.error']
        logging.config.dictConfig({**own, 'incremental': False})
