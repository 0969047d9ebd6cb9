"""Entries that a process keeps for itself: fast, bounded, and gone once the store is not heard any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from copy import deepcopy
from typing import Any

import pytest

from deal_sdk.cache import CachePolicy
from deal_sdk.clock import ManualClock
from deal_sdk.errors import InvalidInputError
from deal_sdk.limits import Store
from tests.contract.cache_world import Process, Source, processes, sees, serves_itself, until

LOCAL = CachePolicy(local_entries=3, local_ttl_seconds=2.0)


@pytest.fixture
async def pair(store: Store, clock: ManualClock) -> AsyncIterator[list[Process]]:
    async with processes(store, clock, policy=LOCAL) as pair:
        for process in pair:
            await until(lambda process=process: listens(process))  # type: ignore[misc]
        yield pair


async def listens(process: Process) -> bool:
    """Say whether reads are served from the process by now."""
    await process.cache.set("probe", 1)
    return await serves_itself(process, "probe")


async def test_a_second_read_does_without_the_store(pair: list[Process]) -> None:
    mine, _ = pair
    for value in (0, None, "text", {"a": [1, {"b": None}]}, [], False):
        await mine.cache.set("key", value)
        await until(lambda: serves_itself(mine, "key"))
        assert await mine.cache.get("key", "default") == value
        assert await mine.cache.get_or_load("key", Source("unread").read) == value
        assert await mine.cache.get_many(["key"]) == {"key": value}
        assert await mine.cache.get_or_load_many(["key"], fail) == {"key": value}


async def fail(keys: Any) -> Any:
    raise AssertionError("nothing is missing")


@pytest.mark.parametrize("value", [{"list": [1]}, {"flat": 1}, [1, [2]], [1]], ids=str)
async def test_what_a_caller_changes_is_its_own_copy(pair: list[Process], value: Any) -> None:
    mine, _ = pair
    await mine.cache.set("key", value)
    before = deepcopy(value)

    async def spoil() -> bool:
        for found in (
            await mine.cache.get("key"),
            await mine.cache.get_or_load("key", Source().read),
            (await mine.cache.get_many(["key"]))["key"],
        ):
            assert found == before
            inner = found if isinstance(found, list) else found.get("list", found)
            inner.clear()
        return await serves_itself(mine, "key")

    await until(spoil)
    assert await spoil()


@pytest.mark.parametrize("change", ["set", "delete", "tag", "newer version"])
async def test_a_change_elsewhere_ends_it(pair: list[Process], change: str) -> None:
    mine, other = pair
    await mine.cache.set("key", "old", tags=["tag"], version=1)
    await until(lambda: serves_itself(mine, "key"))
    if change == "delete":
        await other.cache.delete("key")
    elif change == "tag":
        await other.cache.invalidate_tags("tag")
    else:
        await other.cache.set("key", "new", version=2)
    expected = "new" if change in ("set", "newer version") else None
    await until(lambda: sees(mine, "key", expected))


async def test_an_own_change_is_seen_at_once(pair: list[Process]) -> None:
    cache = pair[0].cache
    for number in range(20):
        await cache.set("key", number, tags=["tag"])
        assert await cache.get("key") == number
        assert await cache.get("key") == number
    await cache.invalidate_tags("tag")
    assert await cache.get("key") is None
    await cache.set("key", 1)
    assert await cache.get("key") == 1
    await cache.delete("key")
    assert await cache.get("key") is None


async def test_a_read_that_a_change_overtook_is_not_kept(pair: list[Process]) -> None:
    mine, other = pair
    await mine.cache.set("key", 0)
    for number in range(1, 30):
        reading = asyncio.create_task(mine.cache.get("key"))
        await other.cache.set("key", number)
        await reading
        await until(lambda number=number: sees(mine, "key", number))  # type: ignore[misc]


async def test_it_lives_no_longer_than_its_entry_nor_than_the_tiers_own_bound(
    pair: list[Process], clock: ManualClock
) -> None:
    mine, _ = pair
    await mine.cache.set("short", 1, ttl_seconds=1)
    await mine.cache.set("long", 1, ttl_seconds=100)
    await until(lambda: serves_itself(mine, "short"))
    await until(lambda: serves_itself(mine, "long"))
    await clock.advance(1)
    assert await mine.cache.get("short") is None
    assert await mine.cache.get("long") == 1


async def test_it_is_bounded_and_keeps_what_is_used(pair: list[Process]) -> None:
    mine, other = pair
    for key in ("a", "b", "c", "d"):
        await other.cache.set(key, key)
    # Messages are heard in order, so those before this one are behind it.
    await other.cache.set("heard", 1)
    await until(lambda: serves_itself(mine, "heard"))
    for key in ("a", "b", "c", "a", "d"):
        await mine.cache.get(key)
    asked = mine.requests("hit")
    for key in ("a", "c", "d"):
        await mine.cache.get(key)
    assert mine.requests("hit") == asked
    await mine.cache.get("b")
    assert mine.requests("hit") == asked + 1


async def test_large_values_stay_in_the_store(pair: list[Process]) -> None:
    mine, _ = pair
    await mine.cache.set("large", "x" * 70_000)
    for _ in range(3):
        assert not await serves_itself(mine, "large")


async def test_silence_empties_it(pair: list[Process], clock: ManualClock) -> None:
    mine, _ = pair
    await mine.cache.set("key", 1, ttl_seconds=100)
    await until(lambda: serves_itself(mine, "key"))
    # The heartbeat cannot have run within this one step of time.
    await clock.advance(3.0)
    assert not await serves_itself(mine, "other")
    await until(lambda: serves_itself(mine, "key"))


async def test_local_hits_are_counted(pair: list[Process]) -> None:
    mine, _ = pair
    await mine.cache.set("key", 1)
    await mine.cache.get("key")
    for _ in range(100):
        await mine.cache.get("key")
    await mine.cache.close()
    assert mine.requests("local") >= 100


async def test_what_is_no_key_is_refused(pair: list[Process]) -> None:
    for key in ("", "x" * 256, 1, None, ["list"], "\ud800"):
        cache = pair[0].cache
        for ask in (cache.get, cache.find, cache.ttl, cache.delete, cache.invalidate_tags):
            with pytest.raises(InvalidInputError):
                await ask(key)  # type: ignore[operator]
        with pytest.raises(InvalidInputError):
            await cache.set(key, 1)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError):
            await cache.get_or_load(key, Source().read)  # type: ignore[arg-type]


async def test_closing_ends_the_listener(store: Store, clock: ManualClock) -> None:
    before = asyncio.all_tasks()
    async with processes(store, clock, policy=LOCAL) as (mine, _):
        await mine.cache.get("key")
        assert asyncio.all_tasks() > before

    async def nothing_runs_on() -> bool:
        return asyncio.all_tasks() <= before

    # A round trip of the store, which outlives the cache, may be about to end.
    await until(nothing_runs_on)


async def test_a_listener_that_breaks_leaves_nothing_behind_and_is_replaced(
    store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_it(channel: str) -> Any:
        raise RuntimeError("a defect")

    async with processes(store, clock, policy=LOCAL) as (mine, _):
        await until(lambda: listens(mine))
        with monkeypatch.context() as patched:
            patched.setattr(store, "feed", break_it)
            listener = mine.cache._listener
            await listener.close()
            listener._task = None
            for _ in range(3):
                assert not await serves_itself(mine, "probe")
        await clock.advance(5)
        await until(lambda: listens(mine))
        assert caplog.text.count("broke") == 1


async def test_bounds_are_checked() -> None:
    for options in (
        {"local_entries": -1},
        {"local_entries": True},
        {"local_ttl_seconds": 0},
        {"max_value_bytes": 0},
        {"ttl_spread": 0.6},
        {"ttl_spread": -0.1},
        {"stale_seconds": -1},
        {"lease_seconds": 0},
        {"wait_seconds": float("nan")},
        {"negative_ttl_seconds": 0},
    ):
        with pytest.raises(InvalidInputError):
            CachePolicy(**options)  # type: ignore[arg-type]
