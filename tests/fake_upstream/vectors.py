"""Vectors without a model: a hashed bag of words, so that texts which share words are near each other."""
import base64
import math
import re
import struct
import zlib


def embed(item: str | list[int], dimensions: int) -> list[float]:
    """A unit vector for a text or a list of tokens; the same for the same words in any order and case."""
    vector = [0.0] * dimensions
    for word in words_of(item):
        digest = zlib.crc32(word.encode())
        vector[digest % dimensions] += 1.0 if digest & 0x10000 else -1.0
    length = math.sqrt(math.fsum(value * value for value in vector))
    return [value / length for value in vector] if length else [1.0] + [0.0] * (dimensions - 1)


def words_of(item: str | list[int]) -> list[str]:
    return re.findall(r'\w+', item.lower()) if isinstance(item, str) else [f'#{token}' for token in item]


def count_tokens(item: str | list[int]) -> int:
    return max(len(words_of(item)), 1)


def rank(query: str, documents: list[str]) -> list[tuple[int, float]]:
    """(index, score) of each document, best first; a score is the share of the query's words it holds, from 0 to 1."""
    asked = set(words_of(query))
    scores = [len(asked & set(words_of(document))) / max(len(asked), 1) for document in documents]
    return sorted(enumerate(scores), key=lambda pair: -pair[1])


def encode_base64(vector: list[float]) -> str:
    """Little-endian 32-bit floats, as OpenAI encodes them."""
    return base64.b64encode(struct.pack(f'<{len(vector)}f', *vector)).decode()
