"""Hedged reads: who is asked when, whose answer counts, and how much they may cost."""

from __future__ import annotations

import asyncio

import pytest

from deal_sdk.chain.hedging import (
    MAX_DELAY_SECONDS,
    MAX_SAVED_HEDGES,
    MIN_DELAY_SECONDS,
    UNKNOWN_DELAY_SECONDS,
    HedgeBudget,
    first_answer,
    hedge_delay_seconds,
)
from deal_sdk.clock import ManualClock
from deal_sdk.errors import RpcRefusedError, RpcTimeoutError
from tests.unit.chain.scripted import pass_time, settle

REFUSAL = RpcRefusedError("no such parameter", rpc_code=-32602)


class Runner:
    """An endpoint that answers, or fails, after a time of the clock."""

    def __init__(self, clock, seconds, result):
        self.clock, self.seconds, self.result = clock, seconds, result
        self.asked = 0
        self.was_cancelled = False

    async def __call__(self):
        self.asked += 1
        try:
            await self.clock.sleep(self.seconds)
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.fixture
def clock():
    return ManualClock()


async def race(clock, first, second, *, seconds=3.0, allowed=True):
    task = asyncio.create_task(
        first_answer(first, second, delay_seconds=0.5, may_hedge=lambda: allowed, clock=clock)
    )
    await pass_time(clock, seconds)
    assert task.done()
    return task


async def test_a_quick_first_answer_asks_nobody_else(clock):
    first, second = Runner(clock, 0.4, "first"), Runner(clock, 0, "second")
    assert (await race(clock, first, second)).result() == "first"
    assert second.asked == 0


async def test_a_slow_first_loses_to_the_second_and_is_cancelled(clock):
    first, second = Runner(clock, 2.5, "first"), Runner(clock, 0.2, "second")
    task = await race(clock, first, second, seconds=0.8)
    assert task.result() == "second"
    assert first.was_cancelled


async def test_a_first_that_still_wins_has_the_second_cancelled(clock):
    first, second = Runner(clock, 0.8, "first"), Runner(clock, 2, "second")
    assert (await race(clock, first, second, seconds=1)).result() == "first"
    assert second.was_cancelled


async def test_without_allowance_the_first_is_waited_for(clock):
    first, second = Runner(clock, 2, "first"), Runner(clock, 0, "second")
    assert (await race(clock, first, second, allowed=False)).result() == "first"
    assert second.asked == 0


@pytest.mark.parametrize(("first_seconds", "second_seconds"), [(0.7, 1.0), (2.0, 0.1)])
async def test_one_failure_waits_for_the_others_answer(clock, first_seconds, second_seconds):
    lost = RpcTimeoutError("late")
    first_fails = first_seconds < second_seconds
    first = Runner(clock, first_seconds, lost if first_fails else "first")
    second = Runner(clock, second_seconds, "second" if first_fails else lost)
    assert (await race(clock, first, second)).result() == ("second" if first_fails else "first")


async def test_a_refusal_that_holds_everywhere_is_an_answer(clock):
    first, second = Runner(clock, 0.6, REFUSAL), Runner(clock, 10, "second")
    task = await race(clock, first, second, seconds=0.7)
    assert task.exception() is REFUSAL
    assert second.was_cancelled


async def test_two_failures_are_a_failure(clock):
    first, second = Runner(clock, 0.7, RpcTimeoutError("a")), Runner(clock, 0.7, RpcTimeoutError("b"))
    assert isinstance((await race(clock, first, second)).exception(), RpcTimeoutError)


async def test_cancelling_the_caller_cancels_both(clock):
    first, second = Runner(clock, 2, "first"), Runner(clock, 2, "second")
    task = asyncio.create_task(
        first_answer(first, second, delay_seconds=0.5, may_hedge=lambda: True, clock=clock)
    )
    await pass_time(clock, 1)
    task.cancel()
    await settle()
    assert task.cancelled()
    assert first.was_cancelled
    assert second.was_cancelled


def test_hedges_are_a_bounded_share_of_the_reads():
    budget = HedgeBudget(0.05)
    spent = 0
    for _ in range(1_000):
        budget.earn()
        spent += budget.spend()
    assert 49 <= spent <= 51
    for _ in range(10_000):
        budget.earn()
    assert sum(budget.spend() for _ in range(100)) == MAX_SAVED_HEDGES
    assert HedgeBudget(0).is_off
    assert not HedgeBudget(0).spend()


def test_the_delay_follows_the_usual_latency_within_bounds():
    assert hedge_delay_seconds(None) == UNKNOWN_DELAY_SECONDS
    assert hedge_delay_seconds(0.0001) == MIN_DELAY_SECONDS
    assert hedge_delay_seconds(0.3) == 0.3
    assert hedge_delay_seconds(60) == MAX_DELAY_SECONDS
