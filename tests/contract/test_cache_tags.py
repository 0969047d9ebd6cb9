"""Tags: what ends together, in one step, whoever stored it and however long ago."""

from __future__ import annotations

import pytest

from deal_sdk.cache import CachePolicy
from deal_sdk.clock import ManualClock
from deal_sdk.errors import InvalidInputError
from deal_sdk.limits import Store
from tests.contract.cache_world import Process, Source, processes
from tests.contract.store_backends import keys_of


async def test_all_entries_of_a_tag_end_with_it_and_no_others(pair: list[Process]) -> None:
    mine, other = pair
    for number in range(5):
        await mine.cache.set(f"tagged-{number}", number, tags=["user-1", f"kind-{number % 2}"])
    await mine.cache.set("plain", "stays")
    await mine.cache.set("other", "stays", tags=["user-2"])

    assert await other.cache.invalidate_tags("user-1")
    keys = [*(f"tagged-{number}" for number in range(5)), "plain", "other"]
    assert await mine.cache.get_many(keys) == {"plain": "stays", "other": "stays"}


async def test_any_of_its_tags_ends_an_entry(pair: list[Process]) -> None:
    cache = pair[0].cache
    for tag in ("a", "b"):
        await cache.set("key", 1, tags=["a", "b"])
        await cache.invalidate_tags(tag)
        assert await cache.get("key") is None


async def test_a_tag_outlives_the_last_of_its_members(pair: list[Process], store: Store) -> None:
    cache = pair[0].cache
    await cache.set("short", 1, ttl_seconds=1, tags=["tag"])
    await cache.set("long", 1, ttl_seconds=3_600, tags=["tag"])
    await cache.set("short", 1, ttl_seconds=1, tags=["tag"])
    (tag,) = [key for key in await keys_of(store) if b"tag:" in key]
    (entry,) = [key for key in await keys_of(store) if b"{long}" in key]
    assert await store.command("PTTL", tag) > await store.command("PTTL", entry)


async def test_a_tag_that_was_lost_never_makes_old_entries_valid_again(
    pair: list[Process], store: Store
) -> None:
    cache = pair[0].cache
    await cache.set("key", "old", tags=["tag"])
    (tag,) = [key for key in await keys_of(store) if b"tag:" in key]
    await store.command("DEL", tag)
    assert await cache.get("key") is None
    await cache.set("another", 1, tags=["tag"])
    assert await cache.get("key") is None
    assert await cache.get("another") == 1


async def test_entries_stored_after_the_end_of_a_tag_live(pair: list[Process]) -> None:
    cache = pair[0].cache
    await cache.set("key", "old", tags=["tag"])
    await cache.invalidate_tags("tag")
    assert await cache.get_or_load("key", Source("new").read, tags=["tag"]) == "new"
    assert await cache.get("key") == "new"


async def test_a_stale_value_is_not_served_once_its_tag_ended(store: Store, clock: ManualClock) -> None:
    async with processes(store, clock, policy=CachePolicy(stale_seconds=60)) as (mine, other):
        await mine.cache.set("key", "old", ttl_seconds=10, tags=["tag"])
        await clock.advance(11)
        await other.cache.invalidate_tags("tag")
        assert await mine.cache.get_or_load("key", Source("new").read, tags=["tag"]) == "new"


async def test_the_end_of_a_tag_is_one_removal_however_many_carry_it(
    pair: list[Process], store: Store
) -> None:
    mine, other = pair
    await mine.cache.set_many({f"key-{number}": number for number in range(50)}, tags=["tag"])
    before = len(await keys_of(store))
    await other.cache.invalidate_tags("tag")
    assert len(await keys_of(store)) == before - 1


async def test_tags_of_another_type_are_repaired(pair: list[Process], store: Store) -> None:
    cache = pair[0].cache
    await cache.set("key", "old", tags=["tag"])
    (tag,) = [key for key in await keys_of(store) if b"tag:" in key]
    await store.command("DEL", tag)
    await store.command("LPUSH", tag, "a list")
    assert await cache.get("key") is None
    assert await cache.get_or_load("key", Source("new").read, tags=["tag"]) == "new"
    assert await cache.get("key") == "new"


async def test_what_is_no_tag_is_refused(pair: list[Process]) -> None:
    cache = pair[0].cache
    for tags in ("text", [""], ["x" * 256], [1], [str(number) for number in range(17)]):
        with pytest.raises(InvalidInputError):
            await cache.set("key", 1, tags=tags)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError):
            await cache.get_or_load("key", Source().read, tags=tags)  # type: ignore[arg-type]
    assert await cache.get("key") is None


async def test_odd_names_neither_meet_nor_break_out(pair: list[Process]) -> None:
    cache = pair[0].cache
    names = ["a", "{a}", "a:b", "a b", "#a", "é", "a}", "entry:{a}", "%61"]
    for name in names:
        await cache.set(name, name, tags=[name])
    assert await cache.get_many(names) == {name: name for name in names}
    await cache.invalidate_tags("a")
    assert await cache.get_many(names) == {name: name for name in names[1:]}
    await cache.delete("#a")
    assert "#a" not in await cache.get_many(names)
