"""The one model list, merged over all servers."""

from collections.abc import Callable, Sequence
from operator import is_
from typing import Any

import orjson

from llmhost.gateway.routing import Candidate, Router, Table, unknown_model
from llmhost.storage.presets import Preset
from llmhost.storage.status import DOWN, MISCONFIGURED, UP

Document = dict[str, Any]
Built = dict[str, tuple[list[Candidate], Document]]
"""Entries by their ids, each with the candidates it was made of."""

NONE: tuple[list[Candidate], Document] = ([], {})
PRESET = 'preset'
UNSEEN = frozenset({DOWN, MISCONFIGURED})
"""States in which a server lists nothing: what is known of it is from before."""


class Models:
    """What `/v1/models` answers. Read from files alone: it never waits for a server.

    An entry is OpenAI's, and where they are known has `context_length` (tokens, as loaded), `capabilities` (chat, completions,
    embeddings, rerank, tools, vision), `loaded`, and `stale` while its servers are down and it is the last good one. Of a
    model on several servers it says what holds on all that are well.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self._listed: tuple[Table | None, list[Document]] = (None, [])
        self._built: Built = {}
        self._encoded: tuple[list[Document], bytes] = ([], build_list([]))

    def list(self) -> list[Document]:
        """Every model under its bare id; where several servers have the same, under each `server/id` as well; then the presets.

        A preset that leads nowhere is not listed; a model whose id is a preset's name is that preset. Not to be changed.
        """
        table = self._router.table()
        made_of, models = self._listed
        if table is not made_of:
            self._built = build_entries(table, self._built)
            models = [entry for _, entry in self._built.values()] + preset_entries(table)
            self._listed = table, models
        return models

    def allowed(self, allows: Callable[[str], bool]) -> Sequence[Document]:
        """Of the whole list what is allowed. A model whose bare id is not is listed under each `server/id` that is."""
        self.list()
        found = []
        for entry in self._listed[1]:
            if allows(entry['id']):
                found.append(entry)
            else:
                found += self._under_servers(entry['id'], allows)
        return found

    def _under_servers(self, model: str, allows: Callable[[str], bool]) -> Sequence[Document]:
        table = self._router.table()
        usable = [] if model in table.presets else usable_of(table.models.get(model, []))
        named = {f'{one.name}/{one.model}': [one] for one in usable if model == one.model}
        return [build_entry(name, [*ones]) for name, ones in named.items() if allows(name) and name not in self._built]

    def encode(self) -> bytes:
        """The whole list as OpenAI's JSON document."""
        models = self.list()
        made_of, body = self._encoded
        if models is not made_of:
            body = build_list(models)
            self._encoded = models, body
        return body

    def get(self, model: str) -> Document:
        """One model by its bare id or `server/id`, or a preset. Raises UnknownModelError."""
        table = self._router.table()
        preset = table.presets.get(model)
        usable = usable_of_preset(table, preset) if preset else usable_of(table.models.get(model, []))
        if not usable:
            raise unknown_model(model)
        return build_preset_entry(model, usable) if preset else build_entry(model, usable)

    def servers_of(self, model: str) -> tuple[str, ...]:
        """The names of the servers that have `model`, enabled or not."""
        return tuple(candidate.name for candidate in self._router.table().servers_of(model))


def build_list(models: Sequence[Document]) -> bytes:
    """https://platform.openai.com/docs/api-reference/models/list"""
    return orjson.dumps({'object': 'list', 'data': models})


def build_entries(table: Table, before: Built) -> Built:
    """The entries of all models of enabled servers; those of `before` are taken over whose candidates are the same objects."""
    pools = {model: usable for model, candidates in table.models.items() if (usable := usable_of(candidates))}
    for name in table.presets:
        pools.pop(name, None)
    entries = {}
    for model, usable in pools.items():
        if _is_listed(model, usable, pools):
            known, entry = before.get(model, NONE)
            entries[model] = usable, entry if same(known, usable) else build_entry(model, usable)
    return entries


def preset_entries(table: Table) -> list[Document]:
    found = ((name, usable_of_preset(table, preset)) for name, preset in table.presets.items())
    return [build_preset_entry(name, usable) for name, usable in found if usable]


def usable_of_preset(table: Table, preset: Preset) -> list[Candidate]:
    """The usable candidates of the first model it leads to."""
    return next(filter(None, (usable_of(table.servers_of(model)) for model in preset.models)), [])


def build_preset_entry(name: str, candidates: list[Candidate]) -> Document:
    return build_entry(name, candidates) | {'owned_by': PRESET}


def usable_of(candidates: list[Candidate]) -> list[Candidate]:
    """Those on enabled servers; the list itself where all are."""
    for candidate in candidates:
        if not candidate.route.server.enabled:
            return [one for one in candidates if one.route.server.enabled]
    return candidates


def same(some: list[Candidate], others: list[Candidate]) -> bool:
    return len(some) == len(others) and all(map(is_, some, others))


def _is_listed(model: str, candidates: list[Candidate], pools: dict[str, list[Candidate]]) -> bool:
    """A `server/id` is listed where its bare id is not that model's alone."""
    candidate = candidates[0]
    return model == candidate.model or model != f'{candidate.name}/{candidate.model}' or len(pools.get(candidate.model, ())) != 1


def build_entry(model: str, candidates: list[Candidate]) -> Document:
    """What `/v1/models/{id}` answers for a model on these servers."""
    well = [candidate for candidate in candidates if candidate.route.status.state not in UNSEEN]
    told = well or candidates
    entry = {
        'id': model,
        'object': 'model',
        'created': told[0].entry.get('created') or 0,
        'owned_by': ', '.join(candidate.name for candidate in candidates),
        **(common_facts(told) if len(told) > 1 else facts_of(told[0])),
    }
    if not well and any(is_last_good(candidate) for candidate in candidates):
        entry.pop('loaded', None)
        entry['stale'] = True
    return entry


def facts_of(candidate: Candidate) -> Document:
    """What is known of a model on one server."""
    entry = candidate.entry
    facts = {name: entry[name] for name in ('context_length', 'capabilities', 'loaded') if entry.get(name) is not None}
    if candidate.route.server.managed:
        facts['loaded'] = candidate.route.status.state == UP
    return facts


def common_facts(candidates: list[Candidate]) -> Document:
    """What holds on every server: the least context, the capabilities all have; loaded where it is on any."""
    known = [facts_of(candidate) for candidate in candidates]
    contexts = [facts['context_length'] for facts in known if 'context_length' in facts]
    capabilities = [facts['capabilities'] for facts in known if 'capabilities' in facts]
    loaded = [facts['loaded'] for facts in known if 'loaded' in facts]
    common: Document = {'context_length': min(contexts)} if contexts else {}
    if capabilities:
        common['capabilities'] = [word for word in capabilities[0] if all(word in others for others in capabilities)]
    return {**common, 'loaded': any(loaded)} if loaded else common


def is_last_good(candidate: Candidate) -> bool:
    """Whether the model is known from an earlier look at its server. Those of managed ones stand in the registry."""
    return 'created' in candidate.entry and not candidate.route.server.managed
