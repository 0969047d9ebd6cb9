"""One timer for all who wait for an answer."""

from __future__ import annotations

import asyncio

import pytest

from deal_sdk.limits.deadlines import Deadlines


class LateError(Exception):
    """What did not come in time ends with."""


def timers() -> int:
    """Return how many timers the event loop has that were not cancelled."""
    return sum(not handle.cancelled() for handle in asyncio.get_running_loop()._scheduled)  # type: ignore[attr-defined]


async def test_what_is_late_fails_and_nothing_else() -> None:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(LateError)
    begun = loop.time()
    late, answered, cancelled, later = (loop.create_future() for _ in range(4))
    for waiting, seconds in ((late, 0.01), (answered, 0.01), (cancelled, 0.01), (later, 0.02)):
        deadlines.watch(begun + seconds, waiting)
    answered.set_result("answer")
    cancelled.cancel()
    for waiting, seconds in ((late, 0.01), (later, 0.02)):
        with pytest.raises(LateError):
            await waiting
        assert loop.time() >= begun + seconds - 0.001
    assert answered.result() == "answer"
    assert timers() == 0


async def test_any_number_has_one_timer_and_those_that_are_done_are_forgotten() -> None:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(LateError)
    for _ in range(100):
        waiting = loop.create_future()
        deadlines.watch(loop.time() + 60, waiting)
        waiting.set_result(None)
    assert timers() == 1
    assert len(deadlines._watched) == 1
    deadlines.close()
    assert timers() == 0


async def test_a_deadline_that_is_over_already_is_noticed_at_once() -> None:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(LateError)
    waiting = loop.create_future()
    deadlines.watch(loop.time() - 1, waiting)
    with pytest.raises(LateError):
        await waiting
