"""The beginning of a file that is being fetched, kept so that a later run can go on with it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from llmhost.errors import FetchError
from llmhost.weights.sources import ModelFile

SUFFIX = '.part'
NOTES_SUFFIX = '.part.json'


class Part:
    """`NAME.part`, and beside it `NAME.part.json`: the source, the server's validator, the whole size and SHA-256 it stated."""

    def __init__(self, folder: Path, file: ModelFile) -> None:
        self.path = folder / f'{file.name}{SUFFIX}'
        self._notes_path = folder / f'{file.name}{NOTES_SUFFIX}'
        self._origin = file.origin
        self._notes = self._load_notes()
        self.size = self.path.stat().st_size if self._notes and self.path.is_file() else 0
        self._descriptor: int | None = None

    @property
    def total(self) -> int | None:
        """The whole file's size as the server stated it."""
        return self._notes.get('total')

    @property
    def sha256(self) -> str | None:
        """The whole file's hash as the server stated it."""
        return self._notes.get('sha256')

    @property
    def validator(self) -> str | None:
        """A strong ETag or date by which a server knows the same file again."""
        return self._notes.get('validator')

    def resume_headers(self) -> dict[str, str]:
        """Headers that ask for the rest (RFC 9110 §14.2); none where it could not be told from another file's."""
        if not self.size or self.validator is None:
            return {}
        return {'Range': f'bytes={self.size}-', 'If-Range': self.validator}

    def begin(self, **notes: Any) -> None:
        """Start anew, with what the server said about the file."""
        self.discard()
        self._notes = {'source': self._origin, **notes}
        with _naming(self.path):
            self._notes_path.touch(mode=0o600)
            self._notes_path.write_bytes(orjson.dumps(self._notes))

    def append(self, data: bytes) -> None:
        """Raises FetchError where the disk takes no more; what it took is kept."""
        with _naming(self.path):
            if self._descriptor is None:
                self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            view = memoryview(data)
            while view:
                written = os.write(self._descriptor, view)
                self.size += written
                view = view[written:]

    def start(self) -> bytes:
        """The first bytes."""
        with self.path.open('rb') as file:
            return file.read(64)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def discard(self) -> None:
        """Leave nothing behind."""
        self.close()
        self.path.unlink(missing_ok=True)
        self._notes_path.unlink(missing_ok=True)
        self.size, self._notes = 0, {}

    def finish(self, final: Path) -> None:
        """Give the file its final name, once its bytes are on the disk."""
        with _naming(self.path), self.path.open('rb') as file:
            os.fsync(file.fileno())
        self.path.replace(final)
        self.discard()

    def _load_notes(self) -> Mapping[str, Any]:
        """The notes of an earlier run for the same source, if there are any."""
        try:
            notes = orjson.loads(self._notes_path.read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return {}
        return notes if isinstance(notes, dict) and notes.get('source') == self._origin else {}


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Rename what the disk refuses."""
    try:
        yield
    except OSError as error:
        name = path.name.removesuffix(SUFFIX)
        raise FetchError(
            f'{path} cannot be written: {(error.strerror or str(error)).lower()}. Make room and give the same command again, '
            f'or drop what came: flask models rm {name}') from error
