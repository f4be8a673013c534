"""A JSON document on disk, shared by several processes: lock, write beside, replace. Readers take no lock."""

import json
import logging
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from filelock import FileLock, Timeout

from llmhost.errors import ConsoleError, CorruptFileError, RegistryError

T = TypeVar('T')
Document = dict[str, Any]
Signature = tuple[int, int, int]

VERSION = 1
LOCK_TIMEOUT = 20.0
LOCK_POLL = 0.02
ABSENT: Signature = (0, 0, 0)

log = logging.getLogger(__name__)


class JsonFile(Generic[T]):
    """One file. `decode` turns its document into what readers see, and raises RegistryError for what it cannot use.

    The file has mode 0600 and carries a `version`. It is never overwritten while it cannot be parsed.
    """

    def __init__(self, path: Path, decode: Callable[[Document], T]) -> None:
        self.path = path
        self._decode = decode
        self._refreshing = threading.Lock()
        self._signature: Signature | None = None
        self._value: T = decode({})
        self.known = True
        """False while the file cannot be parsed and no good copy of it was ever seen."""

    def signature(self) -> Signature:
        """What changes whenever the file does: modification time in ns, size, inode."""
        try:
            stat = os.stat(self.path)
        except FileNotFoundError:
            return ABSENT
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    def current(self) -> T:
        """The file's present value; while it cannot be parsed, the last good one (logged once a change)."""
        if self.signature() != self._signature:
            with self._refreshing:
                self._refresh(self.signature())
        return self._value

    def _refresh(self, signature: Signature) -> None:
        """Take the file in. Its signature is noted last: whoever finds it there finds the value that goes with it."""
        if signature == self._signature:
            return
        try:
            self._value, self.known = self.load(), True
        except ConsoleError as error:
            self.known = self.known and self._signature is not None
            log.error('%s %s', error, 'Serving the last good copy.' if self.known else 'There is no good copy to serve.')
        self._signature = signature

    def load(self) -> T:
        """The file's present value. Raises CorruptFileError, or ConsoleError when it cannot be read."""
        return self._decode_own(self._read())

    def update(self, change: Callable[[Document], None]) -> None:
        """Let `change` edit the document in place, under the lock; nothing is written when it raises."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with FileLock(f'{self.path}.lock', timeout=LOCK_TIMEOUT, poll_interval=LOCK_POLL, mode=0o600):
                document = self._read()
                self._decode_own(document)
                change(document)
                self._decode(document)
                self._write(document)
        except Timeout as error:
            raise ConsoleError(f'{self.path} is locked by another process for over {LOCK_TIMEOUT:.0f} s.') from error

    def _decode_own(self, document: Document) -> T:
        """What the file's own document says: a fault in it is the file's."""
        try:
            return self._decode(document)
        except RegistryError as error:
            raise CorruptFileError(self.path, error.message.rstrip('.')) from error

    def _read(self) -> Document:
        try:
            text = self.path.read_text('utf-8-sig')  # some editors put a mark in front
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ConsoleError(f'{self.path} cannot be read: {error.strerror}.') from error
        except UnicodeDecodeError as error:
            raise CorruptFileError(self.path, f'not UTF-8 text (byte {error.start})') from error
        try:
            document = json.loads(text)
        except json.JSONDecodeError as error:
            raise CorruptFileError(self.path, f'not valid JSON: {error.msg}', error.lineno, error.colno) from error
        except RecursionError as error:
            raise CorruptFileError(self.path, 'not usable: nested too deeply') from error
        if not isinstance(document, dict):
            raise CorruptFileError(self.path, 'not a JSON object')
        if isinstance(document.get('version'), int) and document['version'] > VERSION:
            raise CorruptFileError(self.path, f'written by a newer llmhost (version {document["version"]})')
        return document

    def _write(self, document: Document) -> None:
        document['version'] = VERSION
        for left_over in self.path.parent.glob(f'.{self.path.name}.*.tmp'):
            left_over.unlink(missing_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f'.{self.path.name}.', suffix='.tmp', dir=self.path.parent)
        try:
            with os.fdopen(descriptor, 'w', encoding='utf-8') as file:
                json.dump(document, file, indent=2, ensure_ascii=False)
                file.write('\n')
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def entries_of(document: Document, key: str) -> dict[str, Document]:
    """The entries under `key`, by name. Raises RegistryError where a person left them in another form."""
    entries = document.get(key, {})
    if not isinstance(entries, dict):
        raise RegistryError(f'"{key}" must be an object of entries by their names')
    for name, entry in entries.items():
        if not isinstance(entry, dict):
            raise RegistryError(f'the entry "{name[:64]}" of "{key}" must be an object')
    return entries
