"""One look at one server: a few cheap GETs, and what their answers mean. Never a completion."""

import asyncio
import errno
import os
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import orjson

from llmhost.errors import RegistryError
from llmhost.providers import Provider, provider_named
from llmhost.providers.health import judge
from llmhost.redaction import redact, secrets_of
from llmhost.storage.servers import Server
from llmhost.storage.status import DOWN, MISCONFIGURED

BODY_LIMIT_BYTES = 16_000_000
MESSAGE_LIMIT = 200
CA_VARIABLES = ('REQUESTS_CA_BUNDLE', 'SSL_CERT_FILE')

Models = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a probe saw; `models` is None when the server did not list them."""

    state: str
    error: str | None = None
    models: Models | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


def open_client(timeout: float, variables: Mapping[str, str]) -> httpx2.AsyncClient:
    """A client for probes: the system's proxies, and the certificates that requests would trust."""
    bundle = next((variables[name] for name in CA_VARIABLES if variables.get(name)), None)
    return httpx2.AsyncClient(timeout=timeout, verify=_trust(bundle) if bundle else True)


def _trust(bundle: str) -> ssl.SSLContext:
    return ssl.create_default_context(capath=bundle) if os.path.isdir(bundle) else ssl.create_default_context(cafile=bundle)


async def look(client: httpx2.AsyncClient, server: Server, variables: Mapping[str, str], timeout: float) -> Seen:
    """The state of an unmanaged server. The error in it never holds a key or a header's value."""
    key = server.key(variables)
    if server.api_key_env and key is None:
        return Seen(MISCONFIGURED, f'The variable {server.api_key_env}, which holds its key, is not set.')
    began = time.monotonic()
    try:
        provider = provider_named(server.provider)
        headers = {**provider.auth_headers(key), **server.headers}
        answer = await _get(client, provider.models_url(server.url or ''), headers)
        health = judge(provider, answer, server.models, bool(server.api_key or server.api_key_env))
    except RegistryError as error:
        return Seen(MISCONFIGURED, str(error))
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, OSError) as error:
        return Seen(DOWN, _reason(error, timeout))
    seen = _without_secrets(Seen(health.state, health.error, health.models), secrets_of(key, server.headers))
    if seen.models:
        left = timeout - (time.monotonic() - began)
        return replace(seen, models=await detail(client, provider, server.url or '', headers, seen.models, left))
    return seen


async def detail(
    client: httpx2.AsyncClient, provider: Provider, url: str, headers: Mapping[str, str], models: Models, timeout: float,
) -> Models:
    """`models`, and what the server at `url` tells of them elsewhere within `timeout` seconds. What fails is left out."""
    answers = [_first_document(client, provider, urls, headers, timeout) for urls in provider.model_details(url)]
    return provider.merge_details(models, await asyncio.gather(*answers)) if answers else models


async def _first_document(
    client: httpx2.AsyncClient, provider: Provider, urls: tuple[str, ...], headers: Mapping[str, str], timeout: float,
) -> Any:
    """The first answer that is a JSON document and no error; None without one, or when the time is up."""
    try:
        async with asyncio.timeout(timeout):
            for url in urls:
                if (document := await _document(client, provider, url, headers)) is not None:
                    return document
    except TimeoutError:
        pass  # what else it tells is a gain, never a condition
    return None


async def _document(client: httpx2.AsyncClient, provider: Provider, url: str, headers: Mapping[str, str]) -> Any:
    try:
        answer = await _get(client, url, headers)
        document = orjson.loads(answer.body) if answer.status == 200 else None
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, OSError):
        return None
    return None if provider.hidden_error(document) else document


async def _get(client: httpx2.AsyncClient, url: str, headers: Mapping[str, str]) -> Answer:
    body = bytearray()
    async with client.stream('GET', url, headers=headers) as response:
        async for part in response.aiter_bytes():
            body += part
            if len(body) > BODY_LIMIT_BYTES:
                raise httpx2.DecodingError('too long')
        return Answer(response.status_code, response.headers, bytes(body))


def _without_secrets(seen: Seen, secrets: tuple[str, ...]) -> Seen:
    """Servers quote what they were sent: an error is cut short and loses every key and header value."""
    if seen.error is None:
        return seen
    return Seen(seen.state, shown(seen.error, secrets), seen.models)


def shown(error: str, secrets: tuple[str, ...]) -> str:
    return redact(error, secrets)[:MESSAGE_LIMIT]


def _reason(error: Exception, timeout: float) -> str:
    """Why there was no answer, in our own words: the libraries' texts may quote headers and URLs with passwords."""
    match error:
        case httpx2.ConnectTimeout():
            return f'No connection within {timeout:g} s.'
        case httpx2.TimeoutException():
            return f'No answer within {timeout:g} s.'
        case httpx2.ProxyError():
            return 'The proxy set in the environment does not let it through.'
        case httpx2.ConnectError():
            return _connect_reason(error)
        case httpx2.DecodingError():
            return 'Its answer cannot be read.'
        case httpx2.LocalProtocolError() | UnicodeError():
            return 'Its key or one of its headers holds characters that cannot be sent.'
        case httpx2.UnsupportedProtocol() | httpx2.InvalidURL():
            return 'Its URL cannot be used.'
        case httpx2.NetworkError() | httpx2.RemoteProtocolError():
            return 'It broke the connection off.'
    return f'It cannot be asked ({type(error).__name__}).'


def _connect_reason(error: BaseException) -> str:
    """The cause below the library's own errors."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f'Its certificate is not trusted: {cause.verify_message}.'
        if isinstance(cause, ssl.SSLError):
            return 'It does not speak TLS: is the URL http:// rather than https://?'
        if isinstance(cause, socket.gaierror):
            return 'Its host name is not known.'
    for cause in causes:
        if isinstance(cause, OSError) and cause.errno in errno.errorcode:
            return f'{os.strerror(cause.errno or 0)}.'
    return 'It cannot be reached.'


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for part in error.exceptions:
                yield from _causes(part)
        error = error.__cause__ or error.__context__
