"""Fetching a model file over HTTP: resumed where it broke off, checked before it gets its name."""

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn, Protocol

from llmhost.errors import FetchError, UpstreamBrokenError, UpstreamConnectError, UpstreamError, UpstreamStatusError
from llmhost.upstream.origin import split_url
from llmhost.upstream.sessions import Download, UpstreamSession
from llmhost.upstream.transport import Exchange, silent_too_long
from llmhost.weights.checks import digest_of, need_space, why_not_gguf
from llmhost.weights.part import Part
from llmhost.weights.sources import HF, HUGGING_FACE, ModelFile, url_of

CONNECT_TIMEOUT = 15.0
READ_TIMEOUT = 60.0
RETRIES = 5
"""How often in a row it is tried again without anything new coming."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
PARTIAL, RANGE_NOT_SATISFIABLE = 206, 416
CONTENT_RANGE = re.compile(r'bytes (\d+)-\d+/(\d+|\*)')
SHA256 = re.compile('[0-9a-f]{64}')


class Watch(Protocol):
    """Whom a fetch keeps informed."""

    def tell(self, text: str) -> None:
        """A line for a person."""

    def progress(self, done: int, total: int | None) -> None:
        """Bytes that are here, and bytes of the whole file."""


class Downloader:
    """Fetches files from http(s) addresses and from Hugging Face (`HF_TOKEN`, `HF_ENDPOINT` of `variables`)."""

    def __init__(
        self,
        http_session: UpstreamSession,
        variables: Mapping[str, str],
        pause: Callable[[float], None] = time.sleep,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        self._http_session = http_session
        self._endpoint = variables.get('HF_ENDPOINT') or HUGGING_FACE
        self._token = variables.get('HF_TOKEN')
        self._pause = pause
        self._read_timeout = read_timeout

    def fetch(self, file: ModelFile, folder: Path, watch: Watch) -> Path:
        """Fetch `file` to `folder`, going on where an earlier run stopped.

        Raises FetchError: a wrong file leaves nothing behind, a broken connection or a full disk what came so far.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = Part(folder, file)
        try:
            self._fetch_all(file, part, watch)
            _check(file, part, watch)
            part.finish(folder / file.name)
        finally:
            part.close()
            if not part.resume_headers():
                part.discard()
        return folder / file.name

    def _fetch_all(self, file: ModelFile, part: Part, watch: Watch) -> None:
        """Fetch what is missing, in as many requests as it takes."""
        failures, reached = 0, False
        while not _is_whole(file, part):
            before = part.size
            try:
                self._receive(file, part, watch)
                return
            except UpstreamError as error:
                failures = failures + 1 if part.size <= before else 1
                reached = reached or not isinstance(error, UpstreamConnectError)
                if failures > RETRIES or not _is_passing(error, reached):
                    _give_up(error, file, part)
                self._wait(error, failures, watch)

    def _wait(self, error: UpstreamError, failures: int, watch: Watch) -> None:
        seconds = min(max(FIRST_PAUSE * 2 ** (failures - 1), error.retry_after or 0), LONGEST_PAUSE)
        watch.tell(f'{error.message} Trying again in {seconds:g} s.')
        self._pause(seconds)

    def _receive(self, file: ModelFile, part: Part, watch: Watch) -> None:
        """One request and its answer. Raises UpstreamError where it broke off, FetchError where the file is a wrong one."""
        url = url_of(file, self._endpoint)
        download = self._http_session.download(
            url, part.resume_headers(), self._own_headers(url), CONNECT_TIMEOUT, self._read_timeout)
        with download.exchange as exchange:
            self._admit(file, part, download)
            need_space(part.path.parent, (file.size or part.total or part.size) - part.size)
            self._copy(file, part, exchange, watch)
        if file.size and part.size < file.size:
            raise UpstreamBrokenError(f'{exchange.origin} ended after {part.size} of {file.size} bytes.')

    def _own_headers(self, url: str) -> dict[str, str]:
        """The token, for Hugging Face alone."""
        is_hub = split_url(url)[0] == split_url(self._endpoint)[0]
        return {'Authorization': f'Bearer {self._token}'} if self._token and is_hub else {}

    def _admit(self, file: ModelFile, part: Part, download: Download) -> None:
        """Look at the answer's head: go on with the part, or start anew."""
        exchange = download.exchange
        if exchange.status == PARTIAL and part.size:
            found = CONTENT_RANGE.fullmatch(exchange.headers.get('content-range', ''))
            if not found or int(found[1]) != part.size or _validator_of(exchange.headers) not in (part.validator, None):
                part.discard()
                raise UpstreamBrokenError(f'{exchange.origin} answered with another range than asked for.')
        elif exchange.status == RANGE_NOT_SATISFIABLE and part.size:
            part.discard()
            raise UpstreamBrokenError(f'{exchange.origin} has no more of it: starting anew.')
        elif exchange.status != 200:
            raise self._refusal(file, exchange)
        else:
            part.begin(**_notes_of(download))
        if file.size and part.total and part.total != file.size:
            _refuse(part, f'{file.origin} has {part.total} bytes, not the {file.size} expected.')

    def _copy(self, file: ModelFile, part: Part, exchange: Exchange, watch: Watch) -> None:
        total = part.total or file.size
        seen = False
        while data := exchange.read(self._read_timeout):
            part.append(data)
            if not seen and part.size >= 4:
                seen = True
                _check_start(file, part)
            if total and part.size > total:
                _refuse(part, f'{file.origin} has more than the {total} bytes expected.')
            watch.progress(part.size, total)
        if data is None:
            raise silent_too_long(exchange.origin, self._read_timeout)

    def _refusal(self, file: ModelFile, exchange: Exchange) -> UpstreamStatusError:
        """An answer that holds no file, in words."""
        status, text = exchange.status, f'{exchange.origin} answered {exchange.status}'
        if status == 404:
            text = f'There is no file {file.origin} (404)'
        elif status in (401, 403) and file.source.startswith(HF):
            cure = 'the token in HF_TOKEN may not read it' if self._token else 'set HF_TOKEN to a token that may read it'
            text += f' to {file.origin}: there is no such repository, or it is not open to all; {cure}'
        elif status in (401, 403):
            text += f' to {file.origin}: it is not open to all'
        seconds = exchange.headers.get('retry-after', '')
        return UpstreamStatusError(f'{text}.', status=status, retry_after=float(seconds) if seconds.isdecimal() else None)


def _give_up(error: UpstreamError, file: ModelFile, part: Part) -> NoReturn:
    is_kept = bool(part.resume_headers())
    kept = f' The {part.size >> 20} MB that came are kept: the same command goes on from there.' if is_kept else ''
    raise FetchError(f'{file.name} cannot be fetched: {error.message}{kept}') from error


def _is_passing(error: UpstreamError, reached: bool) -> bool:
    """Whether it is worth to try again. Who could not be reached at all was probably mistyped."""
    if isinstance(error, UpstreamStatusError):
        return error.status in BUSY
    return reached or not isinstance(error, UpstreamConnectError)


def _is_whole(file: ModelFile, part: Part) -> bool:
    return bool(part.size) and part.size == (file.size or part.total)


def _notes_of(download: Download) -> dict[str, str | int | None]:
    """What the answers say about the whole file. Hugging Face states the hash in its redirect:
    https://huggingface.co/docs/huggingface_hub/package_reference/file_download#huggingface_hub.get_hf_file_metadata
    """
    headers = download.exchange.headers
    length = headers.get('content-length', '') if 'content-encoding' not in headers else ''
    linked = [head.get('x-linked-etag', '').strip('"') for head in (*download.redirects[:1], headers)]
    return {
        'validator': _validator_of(headers),
        'total': int(length) if length.isdecimal() else None,
        'sha256': next((etag for etag in linked if SHA256.fullmatch(etag)), None),
    }


def _validator_of(headers: Mapping[str, str]) -> str | None:
    """What If-Range may hold (RFC 9110 §13.1.5): a strong ETag, else the date."""
    if 'content-encoding' in headers:
        return None
    etag = headers.get('etag')
    return headers.get('last-modified') if etag is None else etag if etag.startswith('"') else None


def _check_start(file: ModelFile, part: Part) -> None:
    fault = why_not_gguf(part.start())
    if fault:
        _refuse(part, f'{file.origin} {fault}.')


def _check(file: ModelFile, part: Part, watch: Watch) -> None:
    """Raises FetchError, and leaves nothing behind, unless the whole part is the file."""
    if part.size < 4:
        _refuse(part, f'{file.origin} is not a GGUF file.')
    _check_start(file, part)
    expected = file.sha256 or part.sha256
    watch.tell(f'Checking {file.name} …')
    digest = digest_of(part.path)
    if expected is None:
        watch.tell(f'No SHA-256 is known for it: only its beginning and its length were checked. It is {digest}.')
    elif digest != expected:
        _refuse(part, f'{file.origin} is not the file expected: its SHA-256 is {digest}, not {expected}.')


def _refuse(part: Part, message: str) -> NoReturn:
    part.discard()
    raise FetchError(f'{message} Nothing was kept.')
