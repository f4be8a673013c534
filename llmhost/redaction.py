"""Servers quote what they were sent: their errors leave without the keys and header values that llmhost gave them."""

from collections.abc import Iterable, Iterator, Mapping

from llmhost.errors import LLMHostError

MASK = '***'
KEY_MIN, VALUE_MIN = 4, 8
"""Shorter texts are no secrets, and would be found in ordinary words."""
LIMITS = {'message': 2000, 'param': 200, 'code': 64, 'type': 64}


def secrets_of(api_key: str | None, headers: Mapping[str, str]) -> tuple[str, ...]:
    """What must not be shown of a server's key and headers, the longest first."""
    words = {word for value in headers.values() for word in value.split() if len(word) >= VALUE_MIN}
    if api_key and len(api_key) >= KEY_MIN:
        words.add(api_key)
    return tuple(sorted(words, key=len, reverse=True))


def hide(error: LLMHostError, secrets: Iterable[str]) -> None:
    """Take `secrets` out of everything the error says, and then cut it short: half a secret would not be found."""
    secrets = tuple(secrets)
    for name in _texts_of(error):
        setattr(error, name, redact(getattr(error, name), secrets)[:LIMITS[name]])
    error.args = (error.message,)


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text without `secrets`."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def _texts_of(error: LLMHostError) -> Iterator[str]:
    return (name for name in LIMITS if isinstance(getattr(error, name), str))
