"""Payloads to vary, and the fault of one as clients see it."""

from collections.abc import Callable
from typing import Any

import pytest

from llmhost.errors import InvalidRequestError
from llmhost.schemas import validate

MINIMAL: dict[str, dict[str, Any]] = {
    'chat': {'model': 'm', 'messages': [{'role': 'user', 'content': 'hi'}]},
    'completions': {'model': 'm', 'prompt': 'hi'},
    'embeddings': {'model': 'm', 'input': 'hi'},
}


@pytest.fixture
def accept() -> Callable[..., None]:
    """Validates a minimal payload of `task` with these fields added."""

    def check(task: str, **fields: Any) -> None:
        validate(task, MINIMAL[task] | fields)

    return check


@pytest.fixture
def fault() -> Callable[..., tuple[str, str | None, str | None]]:
    """The message, param and code that a minimal payload of `task` gets with these fields added."""

    def check(task: str, **fields: Any) -> tuple[str, str | None, str | None]:
        with pytest.raises(InvalidRequestError) as caught:
            validate(task, MINIMAL[task] | fields)
        error = caught.value
        assert error.type == 'invalid_request_error'
        return error.message, error.param, error.code

    return check
