"""The cache's promises, on the in-process store and on a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from deal_sdk.cache import CacheManager, Hit
from deal_sdk.clock import ManualClock
from deal_sdk.errors import InvalidInputError
from deal_sdk.limits import Store
from deal_sdk.metrics import Metrics
from tests.contract.store_backends import BACKENDS, keys_of, opened


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


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture(params=BACKENDS)
async def store(request: pytest.FixtureRequest, clock: ManualClock) -> AsyncIterator[Store]:
    async with opened(request, clock) as store:
        yield store


@pytest.fixture
async def cache(store: Store, clock: ManualClock, metrics: Metrics) -> AsyncIterator[CacheManager]:
    cache = CacheManager(store, "profiles", clock=clock, metrics=metrics)
    yield cache
    await cache.close()


class TestValues:
    async def test_come_back_as_they_were(self, cache: CacheManager) -> None:
        for value in (1, "text", None, False, [1, {"a": 2**63}], {"b": "é{}"}):
            assert await cache.set("key", value)
            assert await cache.find("key") == Hit(value, 0.0)

    async def test_none_is_a_value_and_no_miss(self, cache: CacheManager) -> None:
        source = Source(None)
        for _ in range(3):
            assert await cache.get_or_load("key", source.read) is None
        assert source.reads == 1

    async def test_missing_ones_give_the_default(self, cache: CacheManager) -> None:
        assert await cache.get("key") is None
        assert await cache.get("key", "default") == "default"

    async def test_end_with_their_lifetime(self, cache: CacheManager, clock: ManualClock) -> None:
        await cache.set("key", 1, ttl_seconds=10)
        await clock.advance(9.5)
        assert await cache.ttl("key") == 0.5
        assert await cache.find("key") == Hit(1, 9.5)
        await clock.advance(0.5)
        assert await cache.get("key") is None
        assert await cache.ttl("key") is None

    async def test_never_live_without_an_end(self, cache: CacheManager, store: Store) -> None:
        await cache.set("key", 1, ttl_seconds=0.0001)
        await cache.set("key", 1)
        await cache.delete("other")
        for key in await keys_of(store):
            assert await store.command("PTTL", key) > 0

    async def test_go_in_and_out_in_bulk(self, cache: CacheManager) -> None:
        assert await cache.set_many({"a": 1, "b": 2})
        assert await cache.get_many(["a", "b", "c"]) == {"a": 1, "b": 2}
        assert await cache.delete("a", "b")
        assert await cache.get_many(["a", "b"]) == {}

    async def test_of_namespaces_are_apart(
        self, cache: CacheManager, store: Store, clock: ManualClock, metrics: Metrics
    ) -> None:
        other = CacheManager(store, "credits", clock=clock, metrics=metrics)
        await cache.set("key", 1)
        assert await other.get("key") is None

    async def test_that_cannot_be_cached_are_refused(self, cache: CacheManager) -> None:
        with pytest.raises(InvalidInputError):
            await cache.set("key", object())
        for ttl_seconds in (0, -1, float("nan"), float("inf")):
            with pytest.raises(InvalidInputError):
                await cache.set("key", 1, ttl_seconds=ttl_seconds)
        with pytest.raises(InvalidInputError):
            await cache.get("")

    async def test_of_another_program_are_a_miss(self, cache: CacheManager, store: Store) -> None:
        await cache.set("key", 1)
        (key,) = [name for name in await keys_of(store) if b"entry" in name]
        for words in (("SET", key, "not ours"), ("LPUSH", key, "a list")):
            await store.command("DEL", key)
            await store.command(*words)
            assert await cache.get_or_load("key", Source("loaded").read) == "loaded"
            assert await cache.get("key") == "loaded"


class TestStaleFills:
    @pytest.mark.parametrize("change", ["delete", "set"])
    async def test_a_value_read_before_a_change_is_not_stored_after_it(
        self, cache: CacheManager, store: Store, clock: ManualClock, metrics: Metrics, change: str
    ) -> None:
        elsewhere = CacheManager(store, "profiles", clock=clock, metrics=metrics)
        source = Source("old")
        source.answered.clear()
        loading = asyncio.create_task(cache.get_or_load("key", source.read))
        await source.asked.wait()
        source.value = "new"
        if change == "delete":
            await elsewhere.delete("key")
        else:
            await elsewhere.set("key", "new")
        source.answered.set()

        assert await loading == "old"
        assert await cache.get("key") == (None if change == "delete" else "new")
        assert await cache.get_or_load("key", source.read) == "new"

    async def test_who_asks_after_a_change_does_not_join_the_load_before_it(
        self, cache: CacheManager
    ) -> None:
        source = Source("old")
        source.answered.clear()
        early = asyncio.create_task(cache.get_or_load("key", source.read))
        await source.asked.wait()
        source.value = "new"
        await cache.delete("key")
        source.asked.clear()
        late = asyncio.create_task(cache.get_or_load("key", source.read))
        await source.asked.wait()
        source.answered.set()

        assert await asyncio.gather(early, late) == ["old", "new"]
        assert await cache.get("key") == "new"

    async def test_a_load_that_took_too_long_is_not_stored(
        self, cache: CacheManager, clock: ManualClock
    ) -> None:
        source = Source("old")
        source.answered.clear()
        loading = asyncio.create_task(cache.get_or_load("key", source.read))
        await source.asked.wait()
        await clock.advance(60)
        source.answered.set()

        assert await loading == "old"
        assert await cache.get("key") is None


class TestSingleFlight:
    async def test_many_who_miss_load_once(self, cache: CacheManager) -> None:
        source = Source("value")
        values = await asyncio.gather(*(cache.get_or_load("key", source.read) for _ in range(50)))
        assert set(values) == {"value"}
        assert source.reads == 1

    async def test_an_error_reaches_all_who_wait_and_is_not_cached(self, cache: CacheManager) -> None:
        async def fail() -> None:
            raise LookupError("no such user")

        outcomes = await asyncio.gather(
            *(cache.get_or_load("key", fail) for _ in range(3)), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [LookupError] * 3
        assert await cache.get_or_load("key", Source("value").read) == "value"

    async def test_one_who_gives_up_stops_nobody_else(self, cache: CacheManager) -> None:
        source = Source("value")
        source.answered.clear()
        first = asyncio.create_task(cache.get_or_load("key", source.read))
        second = asyncio.create_task(cache.get_or_load("key", source.read))
        await source.asked.wait()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        source.answered.set()

        assert await second == "value"
        assert source.reads == 1


async def test_requests_are_counted(cache: CacheManager, metrics: Metrics) -> None:
    await cache.get("key")
    await cache.set("key", 1)
    await cache.get("key")

    text = metrics.render().decode()
    assert 'cache_requests_total{cache="profiles",outcome="miss"} 1.0' in text
    assert 'cache_requests_total{cache="profiles",outcome="hit"} 1.0' in text
    assert "cache_staleness_seconds_count 1.0" in text
