"""A circuit breaker: an endpoint that keeps failing is left alone, and tried again by one request.

Owns its three states. What counts as a failure is for the caller to say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from deal_sdk.clock import Clock

BreakerState = Literal["closed", "half_open", "open"]

MAX_OPEN_FACTOR: Final = 4
"""How far failed trials lengthen the pause: when all endpoints were down, they must be found up again."""


class CircuitBreaker:
    """Opens after failures in a row; after a pause lets one trial through, whose end decides."""

    def __init__(
        self,
        *,
        clock: Clock,
        failures_to_open: int,
        open_seconds: float,
        on_change: Callable[[BreakerState], None] = lambda state: None,
    ) -> None:
        """Prepare a closed breaker.

        Args:
            clock: measures how long it is open.
            failures_to_open: how many failures in a row open it.
            open_seconds: how long it stays open; each failed trial doubles that, up to four times it.
            on_change: told each new state.
        """
        self._clock = clock
        self._failures_to_open = failures_to_open
        self._first_open_seconds = open_seconds
        self._open_seconds = open_seconds
        self._on_change = on_change
        self._failures = 0
        self._opened_at_seconds: float | None = None
        self._trial_is_under_way = False

    @property
    def is_closed(self) -> bool:
        """Return whether everything may pass."""
        return self._opened_at_seconds is None

    @property
    def state(self) -> BreakerState:
        """Return "open" while nothing may pass, "half_open" when a trial may, else "closed"."""
        if self._opened_at_seconds is None:
            return "closed"
        age_seconds = self._clock.monotonic() - self._opened_at_seconds
        return "open" if age_seconds < self._open_seconds else "half_open"

    def enter(self) -> bool:
        """Return whether a request may pass; one that does must end in one of the three below."""
        if self._opened_at_seconds is None:
            return True
        if self._trial_is_under_way or self.state == "open":
            return False
        self._trial_is_under_way = True
        self._on_change("half_open")
        return True

    def succeeded(self) -> None:
        """Close: whatever answers is alive, also when the request left before the breaker opened."""
        self._failures = 0
        self._trial_is_under_way = False
        if self._opened_at_seconds is not None:
            self._opened_at_seconds = None
            self._open_seconds = self._first_open_seconds
            self._on_change("closed")

    def failed(self) -> None:
        """Count a failure, or take it as the end of the trial."""
        self._failures += 1
        if self._trial_is_under_way:
            self._open_seconds = min(self._open_seconds * 2, self._first_open_seconds * MAX_OPEN_FACTOR)
            self._open()
        elif self._opened_at_seconds is None and self._failures >= self._failures_to_open:
            self._open()

    def abandoned(self) -> None:
        """Forget a request that was cancelled, so that another may be the trial."""
        self._trial_is_under_way = False

    def _open(self) -> None:
        self._trial_is_under_way = False
        self._opened_at_seconds = self._clock.monotonic()
        self._on_change("open")
