"""How fast an endpoint is asked: the rate in any second, the pauses it asks for, and the bound of waits."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deal_sdk.chain.pacing import BURST_SECONDS, FIRST_PAUSE_SECONDS, MAX_UNTOLD_PAUSE_SECONDS, Pace
from deal_sdk.clock import ManualClock
from deal_sdk.errors import RpcRateLimitedError
from tests.unit.chain.scripted import pass_time, settle


def pace_of(clock, rate=None, wait=5.0):
    return Pace("node", clock=clock, calls_per_second=rate, max_wait_seconds=wait)


@pytest.fixture
def clock():
    return ManualClock()


async def test_without_bounds_nothing_waits(clock):
    pace = pace_of(clock)
    for _ in range(10_000):
        await pace.admit(100)
    assert pace.wait_seconds() == 0
    assert pace.burst_calls is None


async def test_a_burst_passes_and_the_rest_waits_in_its_order(clock):
    pace = pace_of(clock, rate=10.0)
    left: list[tuple[int, float]] = []

    async def leave(number: int) -> None:
        await pace.admit(5)
        left.append((number, round(clock.monotonic(), 3)))

    tasks = [asyncio.create_task(leave(number)) for number in range(5)]
    await pass_time(clock, 2.0)
    assert left == [(0, 0.0), (1, 0.0), (2, 0.5), (3, 1.0), (4, 1.5)]
    await asyncio.gather(*tasks)


async def test_a_wait_beyond_the_bound_is_refused_and_takes_nothing(clock):
    pace = pace_of(clock, rate=10.0, wait=1.0)
    await pace.admit(10)
    with pytest.raises(RpcRateLimitedError) as caught:
        await pace.admit(11)
    assert caught.value.retry_after_seconds == pytest.approx(1.1)
    assert pace.wait_seconds() == pytest.approx(0.1)


@given(
    rate=st.floats(0.5, 500),
    requests=st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 20)), min_size=1, max_size=60),
)
def test_no_second_ever_sees_more_than_the_rate_and_one_burst(rate, requests):
    async def play() -> list[tuple[float, int]]:
        clock = ManualClock()
        pace = pace_of(clock, rate=rate, wait=10**6)
        left: list[tuple[float, int]] = []

        async def leave(calls: int) -> None:
            await pace.admit(calls)
            left.append((clock.monotonic(), calls))

        tasks = []
        for pause, calls in requests:
            await clock.advance(pause)
            tasks.append(asyncio.create_task(leave(min(calls, max(1, int(rate))))))
            await asyncio.sleep(0)
        while not all(task.done() for task in tasks):
            await clock.advance(0.5)
            await settle()
        return left

    left = asyncio.run(play())
    burst = max(1.0, rate * BURST_SECONDS)
    for start, _ in left:
        inside = sum(calls for at, calls in left if start <= at < start + 1.0)
        assert inside <= rate + burst + 1e-6


async def test_a_pause_holds_all_calls_back_for_as_long_as_was_asked(clock):
    pace = pace_of(clock)
    pace.slow_down(2.0)
    assert pace.wait_seconds() == 2.0
    waiting = asyncio.create_task(pace.admit(1))
    await pass_time(clock, 1.9)
    assert not waiting.done()
    await pass_time(clock, 0.2)
    assert waiting.done()


async def test_a_pause_that_grows_while_one_waits_is_waited_out(clock):
    pace = pace_of(clock)
    pace.slow_down(1.0)
    waiting = asyncio.create_task(pace.admit(1))
    await pass_time(clock, 0.5)
    pace.slow_down(2.0)
    await pass_time(clock, 1.0)
    assert not waiting.done()
    await pass_time(clock, 1.1)
    assert waiting.done()


async def test_a_pause_beyond_the_bound_is_told_instead(clock):
    pace = pace_of(clock, wait=5.0)
    pace.slow_down(60.0)
    with pytest.raises(RpcRateLimitedError) as caught:
        await pace.admit(1)
    assert caught.value.retry_after_seconds == 60.0
    await clock.advance(55)
    assert pace.wait_seconds() == 5.0


async def test_an_endpoint_that_names_no_time_gets_ever_longer_pauses(clock):
    pace = pace_of(clock)
    pauses = []
    for _ in range(8):
        pace.slow_down(None)
        pace.slow_down(None)
        pauses.append(pace.wait_seconds())
        await clock.advance(pauses[-1])
    assert pauses[:4] == [FIRST_PAUSE_SECONDS * factor for factor in (1, 2, 4, 8)]
    assert pauses[-1] == MAX_UNTOLD_PAUSE_SECONDS
    pace.answered()
    pace.slow_down(None)
    assert pace.wait_seconds() == FIRST_PAUSE_SECONDS
