"""One lane per endpoint: how much may be under way, and when to leave an endpoint alone for a while."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random
from typing import Final

FAILURES_TO_OPEN: Final = 5
CLAIMED_PER_PLACE: Final = 4
"""Deliveries taken per request that may be under way, so that no place waits for the database."""
MAX_PAUSE_SECONDS: Final = 300.0
MAX_RETRY_SECONDS: Final = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential waiting with jitter, so that what failed together does not come back together."""

    first_seconds: float
    random: Random

    def delay_seconds(self, attempts: int, *, at_most_seconds: float = MAX_RETRY_SECONDS) -> float:
        """Return how long to wait after so many attempts.

        Args:
            attempts: made so far, 1 or more.
            at_most_seconds: the bound before jitter; the wait is half of it or more.
        """
        # The exponent is bounded so that no float overflows.
        full_seconds = min(self.first_seconds * float(1 << min(attempts - 1, 32)), at_most_seconds)
        return full_seconds * (0.5 + self.random.random() / 2)


class Lane:
    """One endpoint's requests in this process: a dead one holds up nobody but itself."""

    def __init__(self, max_in_flight: int, backoff: Backoff) -> None:
        """Begin with a closed circuit.

        Args:
            max_in_flight: requests to the endpoint at once.
            backoff: how long an open circuit lasts.
        """
        self._max_in_flight = max_in_flight
        self._backoff = backoff
        self._failures = 0
        self._open_until_seconds = 0.0
        self.places = asyncio.Semaphore(max_in_flight)
        self.claimed = 0

    def room(self, now_seconds: float) -> int:
        """Return how many deliveries may be claimed; after a pause a single one is tried first."""
        if self.pause_seconds(now_seconds) > 0:
            return 0
        if self._failures >= FAILURES_TO_OPEN:
            return 0 if self.claimed else 1
        return self._max_in_flight * CLAIMED_PER_PLACE - self.claimed

    def pause_seconds(self, now_seconds: float) -> float:
        """Return how long the endpoint is still left alone."""
        return max(self._open_until_seconds - now_seconds, 0.0)

    def succeeded(self) -> None:
        """Note a delivery: the endpoint lives."""
        self._failures = 0
        self._open_until_seconds = 0.0

    def failed(self, now_seconds: float, retry_after_seconds: float | None) -> None:
        """Note a failure; several in a row, or the endpoint's own wish, begin a pause."""
        self._failures += 1
        pause_seconds = retry_after_seconds or 0.0
        if self._failures >= FAILURES_TO_OPEN:
            beyond = self._failures - FAILURES_TO_OPEN + 1
            backoff_seconds = self._backoff.delay_seconds(beyond, at_most_seconds=MAX_PAUSE_SECONDS)
            pause_seconds = max(pause_seconds, backoff_seconds)
        self._open_until_seconds = max(self._open_until_seconds, now_seconds + pause_seconds)
