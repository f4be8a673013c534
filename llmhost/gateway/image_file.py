"""Image files as data URLs (RFC 2397)."""

import base64
from pathlib import Path

from llmhost.errors import ConsoleError

SIZE_LIMIT = 20 * 1024 * 1024
MIB = 1024 * 1024
SIGNATURES = {
    b'\x89PNG\r\n\x1a\n': 'image/png',
    b'\xff\xd8\xff': 'image/jpeg',
    b'GIF87a': 'image/gif',
    b'GIF89a': 'image/gif',
}


def data_url_of(path: Path) -> str:
    """The file's content; its type is that of the content, whatever it is called. Raises ConsoleError."""
    try:
        if not path.is_file():
            raise ConsoleError(f'{path} is {"not a file" if path.exists() else "not there"}.')
        if path.stat().st_size > SIZE_LIMIT:
            raise ConsoleError(f'{path} has {path.stat().st_size / MIB:.0f} MiB; an image may have {SIZE_LIMIT // MIB}.')
        data = path.read_bytes()
    except OSError as error:
        raise ConsoleError(f'{path} cannot be read: {error.strerror}.') from error
    kind = type_of(data)
    if kind is None:
        raise ConsoleError(f'{path} is no image that models take: PNG, JPEG, GIF or WebP.')
    return f'data:{kind};base64,{base64.b64encode(data).decode()}'


def type_of(data: bytes) -> str | None:
    """The media type by the first bytes (https://mimesniff.spec.whatwg.org/#matching-an-image-type-pattern)."""
    if data[:4] == b'RIFF' and data[8:12] == b'WEBP':
        return 'image/webp'
    return next((kind for start, kind in SIGNATURES.items() if data.startswith(start)), None)
