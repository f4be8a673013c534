"""When a managed server may be used: its own answers on loopback say so."""

import asyncio
from collections.abc import Sequence

import httpx2

FIRST_PAUSE = 0.02
LAST_PAUSE = 0.25
TIMEOUT = 5.0


async def until_ready(url: str, *, all_of: Sequence[str], any_of: Sequence[str]) -> None:
    """Returns when `all_of` the paths answer 200, and one of `any_of` (if any)."""
    # a proxy set for the outside must never see loopback, and plain http needs no certificates loaded
    async with httpx2.AsyncClient(base_url=url, timeout=TIMEOUT, trust_env=False, verify=False) as client:
        pause = FIRST_PAUSE
        while not await _is_ready(client, all_of, any_of):
            await asyncio.sleep(pause)
            pause = min(LAST_PAUSE, pause * 1.5)


async def _is_ready(client: httpx2.AsyncClient, all_of: Sequence[str], any_of: Sequence[str]) -> bool:
    for path in all_of:
        if not await _answers(client, path):
            return False
    for path in any_of:
        if await _answers(client, path):
            return True
    return not any_of


async def _answers(client: httpx2.AsyncClient, path: str) -> bool:
    try:
        return (await client.get(path)).status_code == 200
    except httpx2.TransportError:
        return False
