"""A source that answers when the test says so, and the caches that the suites of the cache share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from deal_sdk.cache import CacheManager, CachePolicy
from deal_sdk.clock import ManualClock
from deal_sdk.limits import Store
from deal_sdk.metrics import Metrics

PATIENCE_SECONDS = 60


class Source:
    """A source that answers when the test says so."""

    def __init__(self, value: Any = "old") -> None:
        self.value = value
        self.reads = 0
        self.answered = asyncio.Event()
        self.answered.set()
        self.asked = asyncio.Event()

    async def read(self) -> Any:
        self.reads += 1
        value = self.value
        self.asked.set()
        await self.answered.wait()
        return value


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Give what runs in the background its moment."""
    for _ in range(20_000):
        if await holds():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to hold")


class Process:
    """One process's cache, as far as others can tell."""

    def __init__(self, store: Store, clock: ManualClock, policy: CachePolicy | None = None) -> None:
        self.metrics = Metrics()
        self.cache = CacheManager(store, "profiles", policy=policy, clock=clock, metrics=self.metrics)
        self.clock = clock

    def requests(self, outcome: str) -> float:
        """Return how many requests ended so."""
        labels = {"cache": "profiles", "outcome": outcome}
        return self.metrics.registry.get_sample_value("cache_requests_total", labels) or 0.0

    async def has(self, key: str) -> bool:
        """Return whether a value is cached."""
        return await self.cache.find(key) is not None

    async def soon(self, work: asyncio.Task[Any], *, step_seconds: float = 0.01) -> Any:
        """Let the clock run until a task that waits for it is done."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not work.done():
                await self.clock.advance(step_seconds)
                # A real server's answer takes a moment of real time.
                await asyncio.sleep(0.001)
        return await work


@asynccontextmanager
async def processes(
    store: Store, clock: ManualClock, count: int = 2, policy: CachePolicy | None = None
) -> AsyncIterator[list[Process]]:
    """Open the caches of several processes over one store."""
    opened = [Process(store, clock, policy) for _ in range(count)]
    yield opened
    for process in opened:
        await process.cache.close()


async def serves_itself(process: Process, key: str) -> bool:
    """Read twice, and say whether the second read did without the store."""
    await process.cache.get(key)
    asked = sum(process.requests(outcome) for outcome in ("hit", "miss", "error"))
    await process.cache.get(key)
    return sum(process.requests(outcome) for outcome in ("hit", "miss", "error")) == asked


async def sees(process: Process, key: str, value: Any) -> bool:
    """Say whether a read returns a value, from wherever."""
    return bool(await process.cache.get(key) == value)
