"""Redirects (RFC 9110 §15.4): where to go next, and where never."""

from urllib.parse import urljoin, urlsplit

from requests.exceptions import InvalidURL
from requests.utils import requote_uri

from llmhost.errors import UpstreamStatusError

STATUSES = frozenset({301, 302, 303, 307, 308})
LIMIT = 5


def next_url(url: str, status: int, location: str) -> str:
    """The address an answer of `url` leads to. Raises UpstreamStatusError for one that must not be followed."""
    target = _absolute(url, location)
    if target is None:
        raise UpstreamStatusError(f'{_place(url)} redirects to what is no http address.', status=status)
    if url.startswith('https:') and target.startswith('http:'):
        raise UpstreamStatusError(f'{_place(url)} redirects from https to plain http ({_place(target)}): refused.', status=status)
    return target


def too_many(url: str, status: int) -> UpstreamStatusError:
    return UpstreamStatusError(f'{_place(url)} redirects more than {LIMIT} times.', status=status)


def _absolute(url: str, location: str) -> str | None:
    try:
        target = requote_uri(urljoin(url, location).partition('#')[0])
        parts = urlsplit(target)
        parts.port  # ValueError where it is no port
    except (ValueError, InvalidURL):
        return None
    return target if parts.scheme in ('http', 'https') and parts.hostname else None


def _place(url: str) -> str:
    """An address without its path and query, which may hold a key."""
    parts = urlsplit(url)
    return f'{parts.scheme}://{parts.netloc.rpartition("@")[2]}'
