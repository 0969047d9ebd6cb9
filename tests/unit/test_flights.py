"""Shared loads: joined, left, cancelled and closed."""

from __future__ import annotations

import asyncio

import pytest

from deal_sdk.flights import Flights


class Load:
    def __init__(self, value: int = 1) -> None:
        self.value = value
        self.begun = 0
        self.may_end = asyncio.Event()
        self.was_cancelled = False

    async def __call__(self) -> int:
        self.begun += 1
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        return self.value


async def begun(flights: Flights[int], key: str, load: Load) -> asyncio.Task[int]:
    task = asyncio.create_task(flights.join(key, load))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


async def test_one_load_serves_all_who_wait_for_a_key() -> None:
    flights: Flights[int] = Flights()
    load, other = Load(1), Load(2)
    waiting = [await begun(flights, "a", load) for _ in range(3)]
    apart = await begun(flights, "b", other)
    load.may_end.set()
    other.may_end.set()

    assert await asyncio.gather(*waiting, apart) == [1, 1, 1, 2]
    assert (load.begun, other.begun) == (1, 1)


async def test_the_next_load_begins_after_the_last_ended() -> None:
    flights: Flights[int] = Flights()
    load = Load()
    load.may_end.set()
    await flights.join("a", load)
    await flights.join("a", load)
    assert load.begun == 2


async def test_a_key_that_was_left_is_loaded_anew_and_the_old_load_does_not_displace_it() -> None:
    flights: Flights[int] = Flights()
    old, new = Load(1), Load(2)
    first = await begun(flights, "a", old)
    flights.leave("a")
    second = await begun(flights, "a", new)
    old.may_end.set()
    assert await first == 1
    third = await begun(flights, "a", Load(3))
    new.may_end.set()

    assert await asyncio.gather(second, third) == [2, 2]


async def test_a_load_outlives_those_who_gave_up() -> None:
    flights: Flights[int] = Flights()
    load = Load()
    first = await begun(flights, "a", load)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    second = await begun(flights, "a", load)
    load.may_end.set()

    assert await second == 1
    assert load.begun == 1


async def test_closing_cancels_what_is_under_way() -> None:
    flights: Flights[int] = Flights()
    load = Load()
    waiting = await begun(flights, "a", load)
    await flights.close()

    assert load.was_cancelled
    with pytest.raises(asyncio.CancelledError):
        await waiting
