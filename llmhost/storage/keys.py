"""API keys: `keys.json` holds their SHA-256 only."""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from llmhost.errors import DuplicateNameError, UnknownNameError
from llmhost.storage.json_file import Document, JsonFile, Signature, entries_of

KEY_PREFIX = 'sk-llmhost-'


@dataclass(frozen=True, slots=True)
class Key:
    """A key's record. `models` are globs, `rpm` and `tpm` requests and tokens a minute, `expires` an ISO date."""

    name: str
    sha256: str
    user: str | None = None
    models: tuple[str, ...] = ()
    mcp: tuple[str, ...] = ()
    rpm: int | None = None
    tpm: int | None = None
    expires: str | None = None
    created: str | None = None

    def has_expired(self, today: date) -> bool:
        """A key is good until the end of the day `expires` names (UTC)."""
        return self.expires is not None and today > date.fromisoformat(self.expires)


def digest_of(key: str) -> str:
    return sha256(key.encode()).hexdigest()


FIELDS = tuple(Key.__dataclass_fields__)
Keys = dict[str, Key]


class KeyStore:
    """The keys' verbs. `check` validates one entry's document."""

    def __init__(self, path: Path, check: Callable[[Document], Document]) -> None:
        self._check = check
        self._file = JsonFile(path, self._decode)

    def _decode(self, document: Document) -> Keys:
        """The keys by their digest."""
        keys = [self._key(name, entry) for name, entry in entries_of(document, 'keys').items()]
        return {key.sha256: key for key in keys}

    def _key(self, name: str, entry: Document) -> Key:
        checked = self._check({**entry, 'name': name})
        known = {field: checked[field] for field in FIELDS if field in checked}
        for field in ('models', 'mcp'):
            known[field] = tuple(known.get(field) or ())
        return Key(**known)

    def signature(self) -> Signature:
        return self._file.signature()

    def any(self) -> bool:
        """Whether a key exists at all: with one, every request needs one. A file that cannot be read may hold some."""
        return bool(self._file.current()) or not self._file.known

    def find(self, key: str) -> Key | None:
        """The record of `key`. Looked up by its SHA-256, then compared in constant time."""
        digest = digest_of(key)
        found = self._file.current().get(digest)
        return found if found is not None and hmac.compare_digest(found.sha256, digest) else None

    def list(self) -> list[Key]:
        """Raises CorruptFileError."""
        return list(self._file.load().values())

    def create(self, name: str, **fields: Any) -> str:
        """Make and store a key; returns its text, which cannot be had again. Raises DuplicateNameError."""
        text = KEY_PREFIX + secrets.token_urlsafe(32)
        created = datetime.now(UTC).isoformat(timespec='seconds')
        entry = {'sha256': digest_of(text), 'created': created, **fields}

        def change(document: Document) -> None:
            entries = document.setdefault('keys', {})
            if name in entries:
                raise DuplicateNameError(f"A key named '{name}' exists already. Revoke it first, or choose another name.")
            entries[name] = {field: value for field, value in entry.items() if value not in (None, [], ())}
        self._file.update(change)
        return text

    def revoke(self, name: str) -> None:
        """Raises UnknownNameError."""
        def change(document: Document) -> None:
            if document.get('keys', {}).pop(name, None) is None:
                raise UnknownNameError(f"There is no key named '{name}'.")
        self._file.update(change)
