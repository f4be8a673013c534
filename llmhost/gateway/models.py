"""The one model list, merged over all servers."""

from collections.abc import Callable, Mapping
from typing import Any

from llmhost.gateway.routing import Candidate, Router, Table, unknown_model

Document = dict[str, Any]


class Models:
    """What `/v1/models` answers. Read from files alone: it never waits for a server."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def list(self, allows: Callable[[str], bool] = lambda model: True) -> list[Document]:
        """Every allowed model under its bare id; where several servers have the same, under each `server/id` as well.

        One whose bare id is not allowed is listed under each `server/id` that is.
        """
        table = self._router.table()
        models = []
        for model, candidates in table.models.items():
            usable = [candidate for candidate in candidates if candidate.route.server.enabled]
            if usable and allows(model) and _is_listed(table, model, usable, allows):
                models.append(_entry(table, model, usable))
        return models

    def get(self, model: str) -> Document:
        """One model by its bare id or `server/id`. Raises UnknownModelError."""
        table = self._router.table()
        usable = [candidate for candidate in table.models.get(model, ()) if candidate.route.server.enabled]
        if not usable:
            raise unknown_model(model)
        return _entry(table, model, usable)


def _is_listed(table: Table, model: str, candidates: list[Candidate], allows: Callable[[str], bool]) -> bool:
    candidate = candidates[0]
    if model != f'{candidate.name}/{candidate.model}' or not allows(candidate.model):
        return True
    return sum(one.route.server.enabled for one in table.models.get(candidate.model, ())) > 1


def _entry(table: Table, model: str, candidates: list[Candidate]) -> Document:
    first = candidates[0]
    seen: Mapping[str, Any] = table.entries[f'{first.name}/{first.model}']
    entry = {
        'id': model,
        'object': 'model',
        'created': seen.get('created') or 0,
        'owned_by': ', '.join(candidate.name for candidate in candidates),
    }
    if seen.get('context_length'):
        entry['context_length'] = seen['context_length']
    return entry
