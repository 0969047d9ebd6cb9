"""Time as a dependency: every area asks a `Clock`, so that tests move time by hand.

Owns wall-clock time, monotonic time and sleeping. Never reads a time zone: all times are UTC.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol


class Timer(Protocol):
    """A call that is still to come."""

    def cancel(self) -> object:
        """Take it back; harmless when it was made."""
        ...


class Clock(Protocol):
    """What the package knows of time."""

    def now(self) -> datetime:
        """Return the present wall-clock time, aware and in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start that never run backwards."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of this clock."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call back after `seconds` of this clock, unless the timer is cancelled before."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the present wall-clock time, aware and in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start that never run backwards."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of real time."""
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call back after `seconds` of real time, unless the timer is cancelled before."""
        return asyncio.get_running_loop().call_later(seconds, callback)


class ManualClock:
    """A clock that moves only when told, so that a test waits for nothing and repeats exactly."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        """Start at `start`; nothing passes until `advance` is called."""
        self._now = start
        self._elapsed_seconds = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        """Return the time that the test has set."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds advanced so far."""
        return self._elapsed_seconds

    async def sleep(self, seconds: float) -> None:
        """Return once the clock was advanced past `seconds` from here; at once when that is no time."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        await self._future_in(seconds)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call back once the clock was advanced past `seconds` from here, unless it is cancelled before."""
        future = self._future_in(seconds)
        future.add_done_callback(lambda done: None if done.cancelled() else callback())
        return future

    def _future_in(self, seconds: float) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed_seconds + seconds, next(self._order), future))
        return future

    async def advance(self, seconds: float) -> None:
        """Move time forward and wake, in order, everyone whose sleep ends by then.

        Args:
            seconds: how far to move, zero or more.
        """
        assert seconds >= 0, "time never runs backwards"
        target = self._elapsed_seconds + seconds
        while self._sleepers and self._sleepers[0][0] <= target:
            due, _, future = heapq.heappop(self._sleepers)
            self._move_to(max(due, self._elapsed_seconds))
            if not future.done():
                future.set_result(None)
            await asyncio.sleep(0)
        self._move_to(target)
        await asyncio.sleep(0)

    def _move_to(self, elapsed_seconds: float) -> None:
        self._now += timedelta(seconds=elapsed_seconds - self._elapsed_seconds)
        self._elapsed_seconds = elapsed_seconds


async def wait_within(clock: Clock, future: asyncio.Future[Any], seconds: float) -> bool:
    """Wait for a future, at most for a time of the injected clock, without ever cancelling it.

    Returns:
        Whether the future is done.
    """
    if future.done():
        return True
    woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(_: object = None) -> None:
        if not woken.done():
            woken.set_result(None)

    future.add_done_callback(wake)
    timer = clock.call_later(seconds, wake)
    try:
        await woken
        return future.done()
    finally:
        future.remove_done_callback(wake)
        timer.cancel()
