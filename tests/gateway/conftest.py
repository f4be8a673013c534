from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from fake_upstream import FakeUpstream
from front_door import FrontDoor


@pytest.fixture
def add(door: FrontDoor) -> Iterator[Callable[..., FakeUpstream]]:
    """Start a server and register it under a name."""
    with ExitStack() as stack:

        def add(name: str, dialect: dict[str, Any] | None = None, **fields: Any) -> FakeUpstream:
            upstream = stack.enter_context(FakeUpstream(**(dialect or {})))
            door.add(name, upstream, **fields)
            return upstream

        yield add
