"""The manual clock: time that passes only when told, and wakes sleepers in order."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deal_sdk.clock import Clock, ManualClock, SystemClock


async def test_the_system_clock_is_utc_and_never_runs_backwards() -> None:
    clock: Clock = SystemClock()
    assert clock.now().tzinfo is UTC
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)
    before = clock.monotonic()
    await clock.sleep(0.001)
    assert clock.monotonic() >= before + 0.001


async def test_nothing_passes_by_itself() -> None:
    start = datetime(2026, 5, 1, tzinfo=UTC)
    clock = ManualClock(start)
    await asyncio.sleep(0)
    assert (clock.now(), clock.monotonic()) == (start, 0.0)


async def test_both_times_move_together() -> None:
    clock = ManualClock()
    start = clock.now()
    await clock.advance(86_400)
    assert clock.now() - start == timedelta(days=1)
    assert clock.monotonic() == 86_400


async def sleep_and_note(clock: ManualClock, seconds: float, woken: list[tuple[float, float]]) -> None:
    await clock.sleep(seconds)
    woken.append((seconds, clock.monotonic()))


@given(st.lists(st.integers(1, 50), max_size=12), st.integers(0, 60))
async def test_each_sleeper_wakes_at_its_own_time_and_in_order(sleeps: list[int], until: int) -> None:
    clock = ManualClock()
    woken: list[tuple[float, float]] = []
    tasks = [asyncio.create_task(sleep_and_note(clock, seconds, woken)) for seconds in sleeps]
    await asyncio.sleep(0)
    await clock.advance(until)
    assert woken == [(seconds, seconds) for seconds in sorted(sleeps) if seconds <= until]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_sleeper_that_sleeps_again_wakes_within_the_same_advance() -> None:
    clock = ManualClock()
    woken: list[float] = []

    async def tick() -> None:
        for _ in range(3):
            await clock.sleep(1)
            woken.append(clock.monotonic())

    task = asyncio.create_task(tick())
    await asyncio.sleep(0)
    await clock.advance(10)
    await task
    assert woken == [1, 2, 3]
    assert clock.monotonic() == 10


async def test_a_cancelled_sleeper_disturbs_nobody() -> None:
    clock = ManualClock()
    woken: list[tuple[float, float]] = []
    gone = asyncio.create_task(sleep_and_note(clock, 1, woken))
    stays = asyncio.create_task(sleep_and_note(clock, 2, woken))
    await asyncio.sleep(0)
    gone.cancel()
    await clock.advance(5)
    await stays
    assert woken == [(2, 2)]


@pytest.mark.parametrize("seconds", [0, -1.0])
async def test_sleeping_for_no_time_returns_without_an_advance(seconds: float) -> None:
    clock = ManualClock()
    await asyncio.wait_for(clock.sleep(seconds), 20)
    assert clock.monotonic() == 0


async def test_time_cannot_be_moved_backwards() -> None:
    with pytest.raises(AssertionError, match="backwards"):
        await ManualClock().advance(-1)
