"""What is read of a model file's head."""

import struct
from pathlib import Path

import pytest

from llmhost.host.gguf import pooling_name

HEAD = struct.Struct('<4sIQQ')


def text(value: bytes) -> bytes:
    return struct.pack('<Q', len(value)) + value


def entry(key: bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack('<I', kind) + value


def pooling(number: int) -> bytes:
    return entry(b'bert.pooling_type', 4, struct.pack('<I', number))


NAME = entry(b'general.name', 8, text(b'x'))
LIST = entry(b'general.tags', 9, struct.pack('<IQ', 8, 2) + text(b'a') + text(b'bc'))
FLOAT = entry(b'bert.epsilon', 6, struct.pack('<f', 0.5))
TOKENS = entry(b'tokenizer.ggml.tokens', 9, struct.pack('<IQ', 8, 0))


@pytest.mark.parametrize(('entries', 'name'), [
    ([NAME, LIST, FLOAT, pooling(4)], 'rank'), ([pooling(2)], 'cls'), ([pooling(3), NAME], 'last'), ([pooling(1)], 'mean'),
    ([NAME], 'mean'), ([], 'mean'), ([pooling(0)], 'mean'), ([pooling(99)], 'mean'), ([TOKENS, pooling(4)], 'mean'),
])
def test_pooling_is_what_the_model_says(entries: list[bytes], name: str, tmp_path: Path) -> None:
    path = tmp_path / 'm.gguf'
    path.write_bytes(HEAD.pack(b'GGUF', 3, 0, len(entries)) + b''.join(entries))
    assert pooling_name(str(path)) == name


@pytest.mark.parametrize('content', [
    b'', b'GGUF', b'<html>', HEAD.pack(b'GGUF', 3, 0, 2 ** 60), HEAD.pack(b'GGUF', 3, 0, 1) + struct.pack('<Q', 2 ** 60),
    HEAD.pack(b'GGUF', 3, 0, 1) + entry(b'a', 77, b''),
    HEAD.pack(b'GGUF', 3, 0, 1) + entry(b'a', 9, struct.pack('<IQ', 8, 2 ** 60)),
])
def test_file_that_cannot_be_understood_is_pooled_by_the_mean(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / 'm.gguf'
    path.write_bytes(content)
    assert pooling_name(str(path)) == 'mean'
    assert pooling_name(str(tmp_path / 'missing')) == 'mean'
