"""Many entries at once: the same promises as for one, in one round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from deal_sdk.cache.entries import DEFAULT_LEASE_SECONDS
from deal_sdk.errors import InvalidInputError
from tests.contract.cache_world import Process, Source

KEYS = [f"key-{number}" for number in range(100)]


class Table:
    """A source of many values that answers when the test says so."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = dict(values)
        self.asked_for: list[list[str]] = []
        self.asked = asyncio.Event()
        self.answered = asyncio.Event()
        self.answered.set()

    async def read(self, keys: Sequence[str]) -> dict[str, Any]:
        self.asked_for.append(list(keys))
        found = {key: self.values[key] for key in keys if key in self.values}
        self.asked.set()
        await self.answered.wait()
        return found


@pytest.fixture
def table() -> Table:
    return Table({key: {"name": key} for key in KEYS})


async def test_only_what_is_missing_is_loaded_and_in_one_call(pair: list[Process], table: Table) -> None:
    cache = pair[0].cache
    await cache.set_many({key: "cached" for key in KEYS[:90]})
    found = await cache.get_or_load_many(KEYS, table.read)
    assert found == {key: "cached" for key in KEYS[:90]} | {key: {"name": key} for key in KEYS[90:]}
    assert list(found) == KEYS
    assert table.asked_for == [KEYS[90:]]
    assert await pair[1].cache.get_many(KEYS) == found


async def test_what_does_not_exist_is_left_out_and_asked_for_again(pair: list[Process], table: Table) -> None:
    cache = pair[0].cache
    assert await cache.get_or_load_many(["key-1", "nobody"], table.read) == {"key-1": {"name": "key-1"}}
    table.values["nobody"] = "somebody"
    assert await cache.get_or_load_many(["nobody"], table.read) == {"nobody": "somebody"}


async def test_none_is_a_value(pair: list[Process]) -> None:
    table = Table({"key": None})
    for _ in range(2):
        assert await pair[0].cache.get_or_load_many(["key"], table.read) == {"key": None}
    assert len(table.asked_for) == 1


async def test_nothing_asks_for_nothing(pair: list[Process], table: Table) -> None:
    assert await pair[0].cache.get_or_load_many([], table.read) == {}
    assert await pair[0].cache.get_many([]) == {}
    assert await pair[0].cache.set_many({})
    assert await pair[0].cache.delete()
    assert table.asked_for == []


async def test_a_value_read_before_a_change_is_not_stored_after_it(pair: list[Process], table: Table) -> None:
    mine, other = pair
    table.answered.clear()
    loading = asyncio.create_task(mine.cache.get_or_load_many(KEYS[:3], table.read))
    await table.asked.wait()
    await other.cache.delete("key-0")
    await other.cache.set("key-1", "new")
    table.answered.set()

    assert set(await loading) == set(KEYS[:3])
    assert await other.cache.get_many(KEYS[:3]) == {"key-1": "new", "key-2": {"name": "key-2"}}


async def test_a_tag_that_ends_during_the_load_ends_what_is_stored(pair: list[Process], table: Table) -> None:
    mine, other = pair
    table.answered.clear()
    loading = asyncio.create_task(
        mine.cache.get_or_load_many(KEYS[:2], table.read, tags_of=lambda key: [f"tag-{key}"])
    )
    await table.asked.wait()
    await other.cache.invalidate_tags("tag-key-0")
    table.answered.set()
    await loading
    assert await mine.cache.get_many(KEYS[:2]) == {"key-1": {"name": "key-1"}}


async def test_what_another_process_loads_is_waited_for(pair: list[Process], table: Table) -> None:
    first, second = pair
    source = Source("theirs")
    source.answered.clear()
    loading = asyncio.create_task(first.cache.get_or_load("key-0", source.read))
    await source.asked.wait()
    waiting = asyncio.create_task(second.cache.get_or_load_many(KEYS[:3], table.read))
    await table.asked.wait()
    source.answered.set()
    await loading

    assert await second.soon(waiting) == {
        "key-0": "theirs",
        "key-1": {"name": "key-1"},
        "key-2": {"name": "key-2"},
    }
    assert table.asked_for == [KEYS[1:3]]


async def test_but_not_for_ever(pair: list[Process], table: Table) -> None:
    first, second = pair
    source = Source("theirs")
    source.answered.clear()
    loading = asyncio.create_task(first.cache.get_or_load("key-0", source.read))
    await source.asked.wait()
    waiting = asyncio.create_task(second.cache.get_or_load_many(KEYS[:2], table.read))
    found = await second.soon(waiting, step_seconds=0.05)
    assert found == {"key-0": {"name": "key-0"}, "key-1": {"name": "key-1"}}
    # A slow answer of the store lets the clock run on meanwhile; the lease would have taken 30 seconds.
    assert second.clock.monotonic() < DEFAULT_LEASE_SECONDS / 2
    source.answered.set()
    assert await loading == "theirs"
    assert await second.cache.get("key-0") == "theirs"


async def test_a_failed_load_stores_nothing_and_holds_nobody_up(pair: list[Process], table: Table) -> None:
    first, second = pair

    async def fail(keys: Sequence[str]) -> dict[str, Any]:
        raise LookupError

    with pytest.raises(LookupError):
        await first.cache.get_or_load_many(KEYS[:3], fail)
    assert len(await second.cache.get_or_load_many(KEYS[:3], table.read)) == 3


async def test_bad_keys_tags_and_values_are_refused(pair: list[Process], table: Table) -> None:
    cache = pair[0].cache
    for keys in (["good", ""], ["x" * 256], [1], [["unhashable"]]):
        with pytest.raises(InvalidInputError):
            await cache.get_or_load_many(keys, table.read)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError):
            await cache.get_many(keys)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError):
        await cache.get_or_load_many(["good"], table.read, tags_of=lambda key: "text")
    with pytest.raises(InvalidInputError):
        await cache.get_or_load_many(["good"], Table({"good": object()}).read)
    assert table.asked_for == []
    assert await cache.get_or_load_many(["good"], Table({"good": 1}).read) == {"good": 1}
