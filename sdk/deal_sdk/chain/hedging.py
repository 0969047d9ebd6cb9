"""Hedged reads: a read that takes unusually long is also asked of a second endpoint.

Owns the race and the bound on the extra load. Only reads are hedged, because asking them twice
changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from deal_sdk.chain._errors import may_succeed_elsewhere
from deal_sdk.clock import Clock
from deal_sdk.errors import ChainError

Value = TypeVar("Value")
Ask = Callable[[], Coroutine[Any, Any, Value]]

UNKNOWN_DELAY_SECONDS: Final = 0.25
"""How long the first endpoint has before its usual latency is known."""
MIN_DELAY_SECONDS: Final = 0.02
MAX_DELAY_SECONDS: Final = 2.0
MAX_SAVED_HEDGES: Final = 10.0


class HedgeBudget:
    """Allows a share of the reads to be asked twice; unused allowance is saved for a bad moment."""

    def __init__(self, share: float) -> None:
        """Begin with one hedge saved up.

        Args:
            share: hedges per read, 0 to 1; 0 allows none.
        """
        self._share = share
        self._saved = min(1.0, share * MAX_SAVED_HEDGES)

    @property
    def is_off(self) -> bool:
        """Return whether no read is ever hedged."""
        return self._share <= 0

    def earn(self) -> None:
        """Count a read."""
        self._saved = min(self._saved + self._share, MAX_SAVED_HEDGES)

    def spend(self) -> bool:
        """Return whether a hedge may be made, and count it."""
        if self._saved < 1:
            return False
        self._saved -= 1
        return True


def hedge_delay_seconds(slow_seconds: float | None) -> float:
    """Return how long to wait for the first endpoint: about what 95 % of its replies take."""
    if slow_seconds is None:
        return UNKNOWN_DELAY_SECONDS
    return min(max(slow_seconds, MIN_DELAY_SECONDS), MAX_DELAY_SECONDS)


async def first_answer(
    ask_first: Ask[Value],
    ask_second: Ask[Value],
    *,
    delay_seconds: float,
    may_hedge: Callable[[], bool],
    clock: Clock,
) -> Value:
    """Ask the second when the first takes too long; whoever answers first wins, the other is cancelled.

    Args:
        ask_first: asks the first endpoint.
        ask_second: asks the second.
        delay_seconds: how long the first has alone.
        may_hedge: looked at once, when the first was too slow.
        clock: measures the delay.

    Raises:
        ChainError: the first's, when it fails before the second is asked; else the last one's.
    """
    first = asyncio.create_task(ask_first())
    timer = asyncio.create_task(clock.sleep(delay_seconds))
    tasks: set[asyncio.Task[Any]] = {first, timer}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if first.done() or not may_hedge():
            return await first
        second = asyncio.create_task(ask_second())
        tasks.add(second)
        return await _faster(first, second)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _faster(first: asyncio.Task[Value], second: asyncio.Task[Value]) -> Value:
    done, pending = await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
    ended = first if first in done else second
    error = ended.exception()
    # An answer that any node would give is an answer, also when it is a refusal.
    if not pending or error is None or not (isinstance(error, ChainError) and may_succeed_elsewhere(error)):
        return ended.result()
    return await pending.pop()
