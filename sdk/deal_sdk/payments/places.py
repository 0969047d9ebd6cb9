"""Places for payments in flight: the bound behind which everything else of the pipeline is bounded.

A payment has a place from before its admission to its confirmation, and a seat in a wider room until
it is final. Every queue behind it (commits, sends, statuses) holds at most one entry per payment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from deal_sdk.metrics import Metrics

UNFINAL_PER_PLACE: Final = 16
"""Finality takes about 30 times as long as confirmation, but a confirmed payment costs only memory."""


class Place:
    """One payment's place; whatever is said of it twice counts once."""

    __slots__ = ("_in_flight", "_unfinal", "driver", "is_kept")

    def __init__(self, in_flight: asyncio.Semaphore, unfinal: asyncio.Semaphore) -> None:
        """Hold what was taken of both rooms."""
        self._in_flight: asyncio.Semaphore | None = in_flight
        self._unfinal: asyncio.Semaphore | None = unfinal
        self.is_kept = False
        """Whether it stays taken after the admission, because a payment goes on in it."""
        self.driver: Coroutine[Any, Any, None] | None = None
        """What drives that payment, once the admission that records it is over."""

    def confirmed(self) -> None:
        """Let the next one in; the payment still counts among those that are not final."""
        room, self._in_flight = self._in_flight, None
        if room is not None:
            room.release()

    def end(self) -> None:
        """Give everything back."""
        self.confirmed()
        room, self._unfinal = self._unfinal, None
        if room is not None:
            room.release()


class Places:
    """Hands out places, first come first served."""

    def __init__(self, max_in_flight: int, *, metrics: Metrics) -> None:
        """Bound what is in flight.

        Args:
            max_in_flight: payments between their admission and their confirmation, at least 1.
            metrics: shows how many wait for a place.
        """
        self._in_flight = asyncio.Semaphore(max_in_flight)
        self._unfinal = asyncio.Semaphore(max_in_flight * UNFINAL_PER_PLACE)
        self._metrics = metrics

    async def take(self) -> Place:
        """Wait for a place; whoever is cancelled meanwhile has taken none."""
        if self._in_flight.locked() or self._unfinal.locked():
            with self._metrics.payments_waiting.track_inprogress():
                return await self._take()
        return await self._take()

    async def _take(self) -> Place:
        await self._unfinal.acquire()
        try:
            await self._in_flight.acquire()
        except BaseException:
            self._unfinal.release()
            raise
        return Place(self._in_flight, self._unfinal)
