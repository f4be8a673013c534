"""One provider's server at a time, behind llmhost: it answers with that provider's own samples."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from fake_upstream import FakeUpstream, Reply, read_sample
from fake_upstream.replies import SAMPLES
from front_door import FrontDoor

from llmhost.providers import provider_named

OTHERS = 'openai'
"""Whose sample stands in where a provider of the same dialect has none of its own."""


def sample_of(provider: str, file: str) -> str:
    """The name of a provider's sample."""
    return f'{provider if (SAMPLES / provider / file).exists() else OTHERS}/{file}'


def document_of(provider: str, file: str) -> Any:
    return json.loads(read_sample(sample_of(provider, file)))


def reply_of(provider: str, file: str, **options: Any) -> Reply:
    return Reply.sample(sample_of(provider, file), **options)


def samples(pattern: str, providers: list[str]) -> list[Any]:
    """Parameters (provider, file) for every sample of these providers whose name fits the regular expression."""
    return [
        pytest.param(path.parent.name, path.name, id=f'{path.parent.name}-{path.stem}')
        for path in sorted(SAMPLES.glob('*/*')) if path.parent.name in providers and re.fullmatch(pattern, path.name)
    ]


@pytest.fixture
def serve(door: FrontDoor, upstream: FakeUpstream) -> Callable[..., FrontDoor]:
    """Put `provider`'s server behind the front door; its next requests get these replies."""

    def serve(provider: str, *replies: Reply, **fields: Any) -> FrontDoor:
        root = provider_named(provider).root
        door.add('box', upstream.url + root, provider=provider, **fields)
        upstream.answer('*', *replies)
        return door

    return serve
