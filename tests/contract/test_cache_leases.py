"""Who may fill an entry: the stale-set race, loads across processes, versions and stale values."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from deal_sdk.cache import CachePolicy, Versioned
from deal_sdk.cache.entries import DEFAULT_LEASE_SECONDS
from deal_sdk.clock import ManualClock
from deal_sdk.errors import InvalidInputError
from deal_sdk.limits import Store
from tests.contract.cache_world import Process, Source, processes, until
from tests.contract.store_backends import keys_of


class TestStaleSetRace:
    """What breaks cashews and aiocache: a read starts, write and delete happen, the old value lands."""

    async def test_the_old_value_does_not_land_after_a_write_and_a_delete(self, pair: list[Process]) -> None:
        mine, _ = pair
        source = Source("old")
        source.answered.clear()
        reading = asyncio.create_task(mine.cache.get_or_load("key", source.read))
        await source.asked.wait()
        source.value = "new"
        await mine.cache.delete("key")
        source.answered.set()

        assert await reading == "old"
        assert await mine.cache.find("key") is None
        assert await mine.cache.get_or_load("key", source.read) == "new"

    async def test_not_even_when_another_process_deletes(self, pair: list[Process]) -> None:
        mine, other = pair
        source = Source("old")
        source.answered.clear()
        reading = asyncio.create_task(mine.cache.get_or_load("key", source.read))
        await source.asked.wait()
        source.value = "new"
        await other.cache.delete("key")
        assert await other.cache.get_or_load("key", Source("new").read) == "new"
        source.answered.set()

        assert await reading == "old"
        assert await mine.cache.get("key") == "new"

    async def test_who_asks_after_another_processs_delete_does_not_join_the_load_before_it(
        self, pair: list[Process]
    ) -> None:
        mine, other = pair
        source = Source("old")
        source.answered.clear()
        early = asyncio.create_task(mine.cache.get_or_load("key", source.read))
        await source.asked.wait()
        source.value = "new"
        await other.cache.delete("key")
        source.asked.clear()
        late = asyncio.create_task(mine.cache.get_or_load("key", source.read))
        await source.asked.wait()
        source.answered.set()

        assert await asyncio.gather(early, late) == ["old", "new"]
        assert await mine.cache.get("key") == "new"

    async def test_a_tag_that_ends_during_the_load_ends_what_is_stored(self, pair: list[Process]) -> None:
        mine, other = pair
        source = Source("old")
        source.answered.clear()
        reading = asyncio.create_task(mine.cache.get_or_load("key", source.read, tags=["user"]))
        await source.asked.wait()
        source.value = "new"
        await other.cache.invalidate_tags("user")
        source.answered.set()

        assert await reading == "old"
        assert await mine.cache.get("key") is None
        assert await mine.cache.get_or_load("key", source.read, tags=["user"]) == "new"

    async def test_a_lost_store_makes_no_lease_valid(self, pair: list[Process], store: Store) -> None:
        mine, _ = pair
        source = Source("old")
        source.answered.clear()
        reading = asyncio.create_task(mine.cache.get_or_load("key", source.read))
        await source.asked.wait()
        for key in await keys_of(store):
            await store.command("DEL", key)
        source.answered.set()

        assert await reading == "old"
        assert await mine.cache.get("key") is None


class TestAcrossProcesses:
    async def test_a_second_process_waits_for_the_load_of_the_first(self, pair: list[Process]) -> None:
        first, second = pair
        source, unread = Source("value"), Source("second")
        source.answered.clear()
        loading = asyncio.create_task(first.cache.get_or_load("key", source.read))
        await source.asked.wait()
        waiting = asyncio.create_task(second.cache.get_or_load("key", unread.read))
        await second.clock.advance(0.05)
        source.answered.set()

        assert await loading == "value"
        assert await second.soon(waiting) == "value"
        assert unread.reads == 0

    async def test_the_wait_is_bounded_and_its_own_value_is_not_stored(self, pair: list[Process]) -> None:
        first, second = pair
        slow = Source("slow")
        slow.answered.clear()
        loading = asyncio.create_task(first.cache.get_or_load("key", slow.read))
        await slow.asked.wait()
        waiting = asyncio.create_task(second.cache.get_or_load("key", Source("direct").read))
        started_seconds = second.clock.monotonic()
        assert await second.soon(waiting, step_seconds=0.05) == "direct"
        # A slow answer of the store lets the clock run on meanwhile; the lease would have taken 30 seconds.
        assert second.clock.monotonic() - started_seconds < DEFAULT_LEASE_SECONDS / 2
        assert await second.cache.get("key") is None

        slow.answered.set()
        assert await loading == "slow"
        assert await second.cache.get("key") == "slow"

    async def test_a_crashed_loader_holds_nobody_up_twice(
        self, pair: list[Process], store: Store, clock: ManualClock
    ) -> None:
        first, second = pair
        crashed = Source()
        crashed.answered.clear()
        loading = asyncio.create_task(first.cache.get_or_load("key", crashed.read))
        await crashed.asked.wait()
        await clock.advance(2.0)

        # Its lease is as old as anyone waits, so nobody waits any more.
        assert await second.cache.get_or_load("key", Source("direct").read) == "direct"
        await clock.advance(28.0)
        assert await second.cache.get_or_load("key", Source("stored").read) == "stored"
        assert await second.cache.get("key") == "stored"
        crashed.answered.set()
        assert await loading == "old"
        assert await second.cache.get("key") == "stored"

    async def test_a_failed_load_lets_the_next_one_begin_at_once(self, pair: list[Process]) -> None:
        first, second = pair

        async def fail() -> None:
            raise LookupError

        with pytest.raises(LookupError):
            await first.cache.get_or_load("key", fail)
        assert await second.cache.get_or_load("key", Source("value").read) == "value"
        assert await first.cache.get("key") == "value"

    async def test_a_cancelled_load_lets_the_next_one_begin_at_once(
        self, pair: list[Process], store: Store, clock: ManualClock
    ) -> None:
        first, second = pair
        source = Source()
        source.answered.clear()
        loading = asyncio.create_task(first.cache.get_or_load("key", source.read))
        await source.asked.wait()
        await first.cache.close()
        with pytest.raises(asyncio.CancelledError):
            await loading
        assert await second.cache.get_or_load("key", Source("value").read) == "value"
        assert await second.cache.get("key") == "value"


class TestVersions:
    async def test_an_older_version_never_replaces_a_newer_one(self, pair: list[Process]) -> None:
        cache = pair[0].cache
        assert await cache.set("key", "new", version=10)
        assert not await cache.set("key", "old", version=9)
        assert await cache.get("key") == "new"
        assert await cache.set("key", "newer", version=11)
        assert await cache.get("key") == "newer"

    async def test_not_by_a_load_either(self, pair: list[Process]) -> None:
        mine, other = pair
        lagging = Source(Versioned("old", 2**53))
        lagging.answered.clear()
        loading = asyncio.create_task(mine.cache.get_or_load("key", lagging.read))
        await lagging.asked.wait()
        await other.cache.set("key", "new", version=2**53 + 1)
        await other.cache.delete("key")
        lagging.answered.set()
        await loading

        assert await mine.cache.get_or_load("key", Source(Versioned("old", 2**53)).read) == "old"
        assert await mine.cache.get("key") is None
        assert await mine.cache.get_or_load("key", Source(Versioned("new", 2**53 + 1)).read) == "new"
        assert await mine.cache.get("key") == "new"

    async def test_out_of_range_are_refused(self, pair: list[Process]) -> None:
        cache = pair[0].cache
        for version in (-1, 2**64, True, 1.0):
            with pytest.raises(InvalidInputError):
                await cache.set("key", 1, version=version)  # type: ignore[arg-type]
            with pytest.raises(InvalidInputError):
                await cache.get_or_load("key", Source(Versioned(1, version)).read)  # type: ignore[arg-type]
        assert await cache.get("key") is None


class TestStaleWhileRevalidate:
    @pytest.fixture
    async def pair(self, store: Store, clock: ManualClock) -> AsyncIterator[list[Process]]:
        async with processes(store, clock, policy=CachePolicy(stale_seconds=60)) as pair:
            yield pair

    async def test_a_stale_value_is_served_at_once_and_loaded_again_behind_it(
        self, pair: list[Process], clock: ManualClock
    ) -> None:
        mine, other = pair
        source = Source("old")
        await mine.cache.get_or_load("key", source.read, ttl_seconds=10)
        await clock.advance(11)
        source.value, source.asked = "new", asyncio.Event()
        source.answered.clear()

        assert await mine.cache.get_or_load("key", source.read, ttl_seconds=10) == "old"
        await source.asked.wait()
        assert await mine.cache.get_or_load("key", source.read, ttl_seconds=10) == "old"
        assert await other.cache.get_or_load("key", Source("unread").read, ttl_seconds=10) == "old"
        source.answered.set()
        await until(lambda: mine.has("key"))
        assert await other.cache.get_or_load("key", Source("unread").read) == "new"
        assert source.reads == 2
        assert mine.requests("stale") == 2

    async def test_but_not_beyond_the_bound(self, pair: list[Process], clock: ManualClock) -> None:
        cache = pair[0].cache
        await cache.set("key", "old", ttl_seconds=10)
        await clock.advance(69.9)
        assert await cache.get_or_load("key", Source("new").read) == "old"
        await pair[0].cache.delete("key")
        await cache.set("key", "old", ttl_seconds=10)
        await clock.advance(70)
        assert await cache.get_or_load("key", Source("new").read) == "new"

    async def test_nor_after_a_change(self, pair: list[Process], clock: ManualClock) -> None:
        mine, other = pair
        await mine.cache.set("key", "old", ttl_seconds=10)
        await clock.advance(11)
        await other.cache.delete("key")
        assert await mine.cache.get_or_load("key", Source("new").read) == "new"

    async def test_a_refresh_that_fails_is_logged_and_tried_again(
        self, pair: list[Process], clock: ManualClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache = pair[0].cache
        await cache.set("key", "old", ttl_seconds=10)
        await clock.advance(11)
        failed = asyncio.Event()

        async def fail() -> None:
            failed.set()
            raise LookupError

        assert await cache.get_or_load("key", fail) == "old"
        await failed.wait()

        async def is_logged() -> bool:
            return "was not refreshed: LookupError" in caplog.text

        await until(is_logged)
        assert await cache.get_or_load("key", Source("new").read) == "old"
        await until(lambda: pair[0].has("key"))
        assert await cache.get("key") == "new"

    async def test_a_refresh_under_way_ends_with_the_cache(
        self, pair: list[Process], clock: ManualClock
    ) -> None:
        cache = pair[0].cache
        await cache.set("key", "old", ttl_seconds=10)
        await clock.advance(11)
        source = Source("new")
        source.answered.clear()
        assert await cache.get_or_load("key", source.read) == "old"
        await source.asked.wait()
        before = len(asyncio.all_tasks())
        await cache.close()
        assert len(asyncio.all_tasks()) < before
