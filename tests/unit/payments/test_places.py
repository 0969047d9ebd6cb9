"""Places bound what is in flight, and none is ever lost, whoever gives up and when."""

from __future__ import annotations

import asyncio

import pytest

from deal_sdk.metrics import Metrics
from deal_sdk.payments.places import UNFINAL_PER_PLACE, Place, Places
from tests.unit.chain.scripted import settle

PATIENCE_SECONDS = 20


def bounded(max_in_flight: int) -> tuple[Places, Metrics]:
    metrics = Metrics()
    return Places(max_in_flight, metrics=metrics), metrics


def waiting_count(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("payments_waiting")


async def test_so_many_get_one_and_the_others_wait_in_turn() -> None:
    places, metrics = bounded(2)
    first, _ = await places.take(), await places.take()
    order: list[int] = []

    async def take(number: int) -> Place:
        place = await places.take()
        order.append(number)
        return place

    late = [asyncio.create_task(take(number)) for number in range(3)]
    await settle()
    assert (order, waiting_count(metrics)) == ([], 3)
    first.confirmed()
    await settle()
    assert (order, waiting_count(metrics)) == ([0], 2)
    (await late[0]).end()
    await settle()
    assert order == [0, 1]
    late[2].cancel()
    await asyncio.gather(late[2], return_exceptions=True)
    assert waiting_count(metrics) == 0


async def test_a_place_is_given_back_once_however_often_it_is_said() -> None:
    places, _ = bounded(1)
    place = await places.take()
    for _ in range(3):
        place.confirmed()
        place.end()
    await places.take()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await places.take()


async def test_confirmed_ones_are_bounded_too_while_they_wait_for_finality() -> None:
    places, _ = bounded(1)
    confirmed = [await places.take() for _ in range(1)]
    confirmed[0].confirmed()
    for _ in range(UNFINAL_PER_PLACE - 1):
        place = await places.take()
        place.confirmed()
        confirmed.append(place)
    waiting = asyncio.create_task(places.take())
    await settle()
    assert not waiting.done()
    confirmed[3].end()
    await settle()
    assert waiting.done()


@pytest.mark.parametrize("is_given_back_first", [True, False])
async def test_whoever_is_cancelled_while_waiting_takes_no_place_along(is_given_back_first: bool) -> None:
    for ticks in range(6):
        places, metrics = bounded(1)
        place = await places.take()
        waiting = asyncio.create_task(places.take())
        await settle()
        if is_given_back_first:
            place.end()
            for _ in range(ticks):
                await asyncio.sleep(0)
        waiting.cancel()
        taken = (await asyncio.gather(waiting, return_exceptions=True))[0]
        if isinstance(taken, Place):
            taken.end()
        place.end()
        async with asyncio.timeout(PATIENCE_SECONDS):
            (await places.take()).end()
        assert waiting_count(metrics) == 0
