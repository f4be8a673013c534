"""Media by URL, and the servers that must not fetch it."""

from collections.abc import Iterator
from typing import Any

from llmhost.errors import InvalidRequestError
from llmhost.gateway.routing import Candidate


def able_to_fetch(candidates: list[Candidate], payload: dict[str, Any]) -> list[Candidate]:
    """The candidates that may be given the request's media: managed servers take `data:` URLs only.

    llama.cpp fetches `http://` URLs itself, from inside the LAN, without asking where they lead. Raises InvalidRequestError
    naming the first such URL when no other candidate is left.
    """
    if not any(candidate.route.server.managed for candidate in candidates):
        return candidates
    remote = next((path for path, url in _iter_urls(payload['messages']) if url[:5].lower() != 'data:'), None)
    if remote is None:
        return candidates
    others = [candidate for candidate in candidates if not candidate.route.server.managed]
    if not others:
        raise InvalidRequestError(
            f"The server '{candidates[0].name}' takes media as data: URLs only; it fetches nothing.",
            param=remote, code='unsupported_value')
    return others


def _iter_urls(messages: list[Any]) -> Iterator[tuple[str, str]]:
    for number, message in enumerate(messages):
        content = message.get('content')
        for position, part in enumerate(content if isinstance(content, list) else ()):
            for name, value in part.items() if isinstance(part, dict) else ():
                url = value.get('url') if isinstance(value, dict) else value if name.endswith('_url') else None
                if isinstance(url, str):
                    suffix = '.url' if isinstance(value, dict) else ''
                    yield f'messages[{number}].content[{position}].{name}{suffix}', url
