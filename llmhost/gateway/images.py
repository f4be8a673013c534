"""Media by URL, and the servers that must not fetch it."""

from collections.abc import Iterator
from typing import Any

from llmhost.errors import InvalidRequestError


def refuse_remote_images(payload: dict[str, Any], server: str) -> None:
    """Raise InvalidRequestError for a URL that a managed server would fetch itself, from inside the LAN.

    llama.cpp fetches `http://` URLs of images without asking where they lead: a door to every address this machine reaches.
    """
    for path, url in _iter_urls(payload['messages']):
        if not url[:5].lower() == 'data:':
            raise InvalidRequestError(
                f"The server '{server}' takes media as data: URLs only; it fetches nothing.",
                param=path, code='unsupported_value')


def _iter_urls(messages: list[Any]) -> Iterator[tuple[str, str]]:
    for number, message in enumerate(messages):
        content = message.get('content')
        for position, part in enumerate(content if isinstance(content, list) else ()):
            for name, value in part.items() if isinstance(part, dict) else ():
                url = value.get('url') if isinstance(value, dict) else value if name.endswith('_url') else None
                if isinstance(url, str):
                    suffix = '.url' if isinstance(value, dict) else ''
                    yield f'messages[{number}].content[{position}].{name}{suffix}', url
