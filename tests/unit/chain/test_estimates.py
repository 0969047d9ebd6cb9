"""Estimates: shared while they are read, old ones kept when nothing newer can be had."""

from __future__ import annotations

import asyncio

import pytest

from deal_sdk.chain.estimates import MAX_ESTIMATES, MAX_WAIT_SECONDS, RETRY_SECONDS, Estimates
from deal_sdk.clock import ManualClock
from deal_sdk.errors import RpcTimeoutError
from tests.unit.chain.scripted import settle


class Reads:
    def __init__(self) -> None:
        self.value: int | None = 1
        self.error: Exception | None = None
        self.hangs = False
        self.count = 0

    async def __call__(self) -> int | None:
        self.count += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return self.value


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def estimates(clock):
    estimates: Estimates[int] = Estimates("test", clock=clock, refresh_seconds=10)
    yield estimates
    await estimates.close()


@pytest.fixture
def reads() -> Reads:
    return Reads()


async def test_the_first_users_share_one_reading(estimates, reads):
    assert await asyncio.gather(*(estimates.get("a", reads) for _ in range(50))) == [1] * 50
    assert await estimates.get("a", reads) == 1
    assert reads.count == 1
    await estimates.get("b", reads)
    assert reads.count == 2


async def test_an_aged_one_is_handed_out_while_it_is_read_again(estimates, reads, clock):
    await estimates.get("a", reads)
    reads.value = 2
    await clock.advance(10)
    assert await estimates.get("a", reads) == 1
    await settle()
    assert await estimates.get("a", reads) == 2
    assert reads.count == 2


@pytest.mark.parametrize("failure", [RpcTimeoutError("late"), None])
async def test_a_reading_that_fails_keeps_the_last_one_and_is_tried_again_later(
    estimates, reads, clock, failure
):
    await estimates.get("a", reads)
    await clock.advance(10)
    reads.error, reads.value = failure, None
    await estimates.get("a", reads)
    await settle()
    reads.error, reads.value = None, 3
    assert await estimates.get("a", reads) == 1
    assert reads.count == 2
    await clock.advance(RETRY_SECONDS)
    await estimates.get("a", reads)
    await settle()
    assert await estimates.get("a", reads) == 3


async def test_a_first_reading_that_fails_is_none_and_not_repeated_for_each_user(estimates, reads, clock):
    reads.error = RpcTimeoutError("late")
    assert [await estimates.get("a", reads) for _ in range(20)] == [None] * 20
    assert reads.count == 1
    reads.error = None
    await clock.advance(RETRY_SECONDS)
    assert await estimates.get("a", reads) is None
    await settle()
    assert await estimates.get("a", reads) == 1


async def test_a_reading_that_hangs_holds_nobody_up_for_long(estimates, reads, clock):
    reads.hangs = True
    getting = asyncio.create_task(estimates.get("a", reads))
    await settle()
    assert not getting.done()
    await clock.advance(MAX_WAIT_SECONDS)
    assert await getting is None
    assert reads.count == 1


async def test_a_forgotten_one_is_read_anew(estimates, reads):
    await estimates.get("a", reads)
    estimates.forget("a")
    reads.value = 4
    assert await estimates.get("a", reads) == 4


async def test_their_number_is_bounded(estimates, reads):
    for number in range(MAX_ESTIMATES + 1):
        await estimates.get(number, reads)
    before = reads.count
    await estimates.get(1, reads)
    assert reads.count == before
    await estimates.get(0, reads)
    assert reads.count == before + 1
