"""The head of a GGUF file: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import struct
from typing import BinaryIO

MAGIC = b'GGUF'
STRING, ARRAY = 8, 9
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value, by its type's number."""
POOLING_KEY = b'.pooling_type'
LAST_PREFIX = b'tokenizer.'
"""Writers put the vocabulary last: what comes from there on is long, and says nothing of the model's use."""
LENGTH_LIMIT = 1 << 20
POOLINGS = {1: 'mean', 2: 'cls', 3: 'last', 4: 'rank'}
"""llama.cpp's names for them; a model that says nothing is pooled by the mean."""


def pooling_name(path: str) -> str:
    """The pooling to serve a model with. A file that cannot be read is left to whoever serves it to complain about."""
    try:
        return POOLINGS.get(pooling_of(path) or 0, POOLINGS[1])
    except OSError:
        return POOLINGS[1]


def pooling_of(path: str) -> int | None:
    """How the model pools its tokens into one vector, as it says itself; None where it does not say.

    A file that cannot be understood says nothing. Raises OSError.
    """
    with open(path, 'rb') as file:
        try:
            return _find_pooling(file)
        except (struct.error, KeyError, ValueError):
            return None


def _find_pooling(file: BinaryIO) -> int | None:
    magic, _, _, count = struct.unpack('<4sIQQ', file.read(24))
    if magic != MAGIC:
        return None
    for _ in range(count):
        key = _read_string(file)
        if key.startswith(LAST_PREFIX):
            return None
        kind = _read_number(file, '<I')
        if key.endswith(POOLING_KEY):
            return _read_number(file, '<I')
        _skip(file, kind)
    return None


def _skip(file: BinaryIO, kind: int) -> None:
    if kind == STRING:
        _read_string(file)
    elif kind == ARRAY:
        item, length = _read_number(file, '<I'), _read_number(file, '<Q')
        if length > LENGTH_LIMIT:
            raise ValueError('An array is too long.')
        for _ in range(length):
            _skip(file, item)
    else:
        file.seek(SIZES[kind], 1)


def _read_string(file: BinaryIO) -> bytes:
    length = _read_number(file, '<Q')
    if length > LENGTH_LIMIT:
        raise ValueError('A string is too long.')
    return file.read(length)


def _read_number(file: BinaryIO, form: str) -> int:
    number: int = struct.unpack(form, file.read(struct.calcsize(form)))[0]
    return number
