"""Where connections go: scheme, host, port."""

from dataclasses import dataclass
from urllib.parse import urlsplit

DEFAULT_PORTS = {'http': 80, 'https': 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """The far end of a connection. Of scheme `unix`, `host` is the socket's path."""

    scheme: str
    host: str
    port: int = 0

    def __str__(self) -> str:
        if self.scheme == 'unix':
            return 'the llmhost host process'
        host = f'[{self.host}]' if ':' in self.host else self.host
        return f'{self.scheme}://{host}' if self.port == DEFAULT_PORTS[self.scheme] else f'{self.scheme}://{host}:{self.port}'

    @property
    def authority(self) -> str:
        """The value of the `Host` header."""
        return 'localhost' if self.scheme == 'unix' else str(self).partition('://')[2]


def split_url(url: str) -> tuple[Origin, str]:
    """The origin of an absolute URL, and the request target on it."""
    parts = urlsplit(url)
    origin = Origin(parts.scheme, parts.hostname or '', parts.port or DEFAULT_PORTS[parts.scheme])
    return origin, (parts.path or '/') + (f'?{parts.query}' if parts.query else '')
