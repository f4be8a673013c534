"""What a client named, brought down to servers: presets and fallback lists."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from llmhost.errors import LLMHostError, UnknownModelError
from llmhost.gateway.access import matches
from llmhost.gateway.call import Call
from llmhost.gateway.routing import Candidate, Router, Table
from llmhost.providers import CHAT, RERANK
from llmhost.schemas import RerankRequest, applies
from llmhost.storage.presets import Preset

Document = dict[str, Any]
Step = tuple[str, Preset | None]
"""The id of a model, and the preset that led to it."""

SAME = {'max_tokens': 'max_completion_tokens', 'max_completion_tokens': 'max_tokens'}
"""Parameters that say the same thing: a client that gives one of them has given the other."""


def models_named(payload: Mapping[str, Any]) -> list[str]:
    """What a request asks for, in order: its `model`, then its `models`, which is OpenRouter's fallback list.

    https://openrouter.ai/docs/features/model-routing
    """
    model, models = payload.get('model'), payload.get('models')
    names = [model, *models] if models and isinstance(models, list) else [model]
    return [name for name in names if name and isinstance(name, str)]


def resolve(router: Router, call: Call, names: Sequence[str]) -> list[Candidate]:
    """The servers to ask for what a request names, best first; those known to be unwell come last.

    A name that leads nowhere is skipped as long as another leads somewhere. Raises as `Router.candidates`.
    """
    table = router.table()
    if len(names) == 1 and names[0] not in table.presets:
        return router.candidates(names[0], call.task, table)
    steps = iter_steps(table, [name for name in names if matches(call.allowed, name)])
    found = _find(router, table, dict.fromkeys(steps), call.task)
    return sorted(_with_own_fallbacks(found), key=router.is_unwell)


def iter_steps(table: Table, names: Sequence[str]) -> Iterator[Step]:
    """What was asked for, in order, and after it what the presets among it fall back to."""
    presets = [table.presets.get(name) for name in names]
    for name, preset in zip(names, presets):
        yield (preset.model, preset) if preset else (name, None)
    for preset in filter(None, presets):
        yield from ((model, preset) for model in preset.fallbacks)


def _find(router: Router, table: Table, steps: Iterable[Step], task: str) -> dict[Step, list[Candidate]]:
    """The candidates of each step. Where none has any, the first error is raised; one that may pass goes before."""
    found: dict[Step, list[Candidate]] = {}
    errors: list[LLMHostError] = []
    for model, preset in steps:
        try:
            candidates = router.candidates(model, task, table)
        except LLMHostError as error:
            errors.append(_of_preset(error, model, preset))
            candidates = []
        found[model, preset] = [replace(one, preset=preset) for one in candidates] if preset else candidates
    if len(errors) == len(found):
        raise next((error for error in errors if not isinstance(error, UnknownModelError)), errors[0])
    return found


def _of_preset(error: LLMHostError, model: str, preset: Preset | None) -> LLMHostError:
    """The error in words of what the client named."""
    if preset is None or not isinstance(error, UnknownModelError):
        return error
    return UnknownModelError(f"The preset '{preset.name}' stands for the model '{model[:200]}', which no server has.")


def _with_own_fallbacks(found: Mapping[Step, list[Candidate]]) -> Iterator[Candidate]:
    """The candidates in order. Where a server that falls back by itself is the only one, it is told to what.

    That includes what no server here is known to have: such a server has more models than it need list.
    """
    route, *others = {id(one.route): one.route for group in found.values() for one in group}.values()
    by_itself = route.provider.takes_fallback_models and not others and not any(preset for _, preset in found)
    later = [group[0].model if group else model for (model, _), group in found.items()] if by_itself else []
    for group in found.values():
        later = later[1:]
        yield from (replace(one, fallbacks=tuple(later)) for one in group) if later else group


def payload_for(candidate: Candidate, payload: Document, task: str) -> Document:
    """The payload with the candidate's preset worked in: `payload` itself where there is nothing to change."""
    preset = candidate.preset
    if preset is None and 'models' not in payload:
        return payload
    changed = {name: value for name, value in payload.items() if name != 'models'}
    if candidate.fallbacks:
        changed['models'] = candidate.fallbacks
    if preset is None:
        return changed
    if preset.system and task == CHAT:
        changed['messages'] = [{'role': 'system', 'content': preset.system}, *payload['messages']]
    return changed | missing_params(preset, payload, task)


def rerank_request_for(candidate: Candidate, request: RerankRequest) -> RerankRequest:
    """The request with the candidate's preset worked in."""
    if candidate.preset is None:
        return request
    params = missing_params(candidate.preset, request.extra, RERANK)
    top_n = params.pop('top_n', None) or params.pop('top_k', None)
    return replace(request, top_n=request.top_n or top_n, extra={**params, **request.extra})


def missing_params(preset: Preset, payload: Mapping[str, Any], task: str) -> Document:
    """The preset's parameters for `task` that the client gives no value of its own."""
    return {
        name: value for name, value in preset.params.items()
        if payload.get(name) is None and payload.get(SAME.get(name, name)) is None and applies(task, name, value)
    }
