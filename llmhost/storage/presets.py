"""Model presets: `presets.json`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from llmhost.errors import DuplicateNameError, RegistryError, UnknownNameError
from llmhost.storage.json_file import Document, JsonFile, Signature, entries_of


@dataclass(frozen=True, slots=True, eq=False)
class Preset:
    """An alias of `model` that brings parameters and a system prompt; `fallbacks` are asked where `model` cannot answer.

    `model` and `fallbacks` are ids of models, never names of presets.
    """

    name: str
    model: str
    system: str | None = field(default=None, repr=False)
    params: Mapping[str, Any] = field(default_factory=dict)
    fallbacks: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def models(self) -> tuple[str, ...]:
        """All it may lead to, in order."""
        return self.model, *self.fallbacks


FIELDS = frozenset(item.name for item in fields(Preset)) - {'extra'}
Presets = dict[str, Preset]


class PresetStore:
    """The presets' verbs. `check` validates one entry's document and fills in its defaults."""

    def __init__(self, path: Path, check: Callable[[Document], Document]) -> None:
        self._check = check
        self._file = JsonFile(path, self._decode)

    def _decode(self, document: Document) -> Presets:
        return {name: self._preset(name, entry) for name, entry in entries_of(document, 'presets').items()}

    def _preset(self, name: str, entry: Document) -> Preset:
        checked = self._check({**entry, 'name': name})
        known = {name: value for name, value in checked.items() if name in FIELDS}
        extra = {name: value for name, value in checked.items() if name not in FIELDS}
        return Preset(**{**known, 'fallbacks': tuple(known['fallbacks'])}, extra=extra)

    def signature(self) -> Signature:
        return self._file.signature()

    def current(self) -> Presets:
        """The presets by name, in the order they were added; the last good ones while the file is broken."""
        return self._file.current()

    def list(self) -> Presets:
        """As `current`, but raises CorruptFileError while the file is broken."""
        return self._file.load()

    def get(self, name: str) -> Preset:
        """Raises UnknownNameError, naming those that exist."""
        return _known(self.list(), name)

    def add(self, name: str, **fields: Any) -> Preset:
        """Raises DuplicateNameError; RegistryError where a field is wrong, or names a preset as a model."""
        preset = self._preset(name, fields)

        def change(document: Document) -> None:
            presets = self._decode(document)
            if name in presets:
                raise DuplicateNameError(
                    f"A preset named '{name}' exists already. "
                    f"Choose another name, or change it with 'flask presets update {name}'.")
            refuse_presets_of_presets(preset, presets)
            document.setdefault('presets', {})[name] = _entry(preset)
        self._file.update(change)
        return preset

    def update(self, name: str, **changes: Any) -> Preset:
        """Replace fields of one preset; returns it as it is now. Raises as `add`, and UnknownNameError."""
        changed: list[Preset] = []

        def change(document: Document) -> None:
            presets = self._decode(document)
            entry = _entry(replace(_known(presets, name), **changes))
            changed.append(self._preset(name, entry))
            if not changes.keys().isdisjoint({'model', 'fallbacks'}):
                refuse_presets_of_presets(changed[0], presets)
            document['presets'][name] = entry
        self._file.update(change)
        return changed[0]

    def remove(self, name: str) -> None:
        """Raises UnknownNameError."""
        def change(document: Document) -> None:
            _known(self._decode(document), name)
            del document['presets'][name]
        self._file.update(change)


def refuse_presets_of_presets(preset: Preset, presets: Presets) -> None:
    """Raises RegistryError where it names another preset. Its own name is that of the model it hides."""
    named = next((model for model in preset.models if model in presets and model != preset.name), None)
    if named is not None:
        raise RegistryError(
            f"preset '{preset.name}': '{named}' is a preset itself, and a preset stands for models alone: "
            f"name '{presets[named].model}', which '{named}' stands for.")


def _entry(preset: Preset) -> Document:
    """What is stored of it: the fields that say something."""
    entry = {name: getattr(preset, name) for name in ('model', 'system', 'params', 'fallbacks')}
    entry['fallbacks'] = list(preset.fallbacks)
    return {name: value for name, value in entry.items() if value not in (None, [], {})} | dict(preset.extra)


def _known(presets: Presets, name: str) -> Preset:
    if name not in presets:
        known = ', '.join(sorted(presets)) or 'none yet'
        raise UnknownNameError(f"There is no preset named '{name}'. Known: {known}.")
    return presets[name]
