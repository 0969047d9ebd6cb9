"""The stores that every contract test of limits and cache runs over, with a time that the test sets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from deal_sdk.clock import ManualClock
from deal_sdk.limits import Store, open_store
from tests.servers import RedisCluster, RedisServer

BACKENDS: Final = (
    "memory",
    pytest.param("redis", marks=pytest.mark.redis),
    pytest.param("cluster", marks=pytest.mark.redis),
)


@asynccontextmanager
async def opened(
    request: pytest.FixtureRequest, clock: ManualClock | None, *, name: str | None = None
) -> AsyncIterator[Store]:
    """Open the backend that is named, by default by the fixture's parameter."""
    async with open_store(_url(request, name or request.param), test_clock=clock) as store:
        yield store


async def keys_of(store: Store) -> set[bytes]:
    """Return the names of all keys, on every server."""
    return {key for keys in await store.command_everywhere("KEYS", "*") for key in keys}


def _url(request: pytest.FixtureRequest, name: str) -> str:
    if name == "memory":
        return "memory://"
    fixture = {"redis": "redis_server", "cluster": "redis_cluster"}[name]
    server: RedisServer | RedisCluster = request.getfixturevalue(fixture)
    return server.url
