"""The stores that every contract test of limits and cache runs over, with a time that the test sets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from deal_sdk.clock import ManualClock
from deal_sdk.limits import Store, open_store
from tests.servers import RedisServer

BACKENDS: Final = ("memory", pytest.param("redis", marks=pytest.mark.redis))


@asynccontextmanager
async def opened(
    request: pytest.FixtureRequest, clock: ManualClock | None, *, name: str | None = None
) -> AsyncIterator[Store]:
    """Open the backend that is named, by default by the fixture's parameter."""
    url = "memory://"
    if (name or request.param) == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        url = server.url
    async with open_store(url, test_clock=clock) as store:
        yield store
