"""How fast an endpoint may be asked: its rate of calls, and the pauses that it asks for.

Owns the waiting before a request leaves. Waits are bounded: beyond the bound the caller is told when
to come back, and may ask another endpoint meanwhile.
"""

from __future__ import annotations

from typing import Final

from deal_sdk.clock import Clock
from deal_sdk.errors import RpcRateLimitedError

BURST_SECONDS: Final = 1.0
"""How much of its rate an idle endpoint saves up for calls that come together."""
FIRST_PAUSE_SECONDS: Final = 0.5
MAX_UNTOLD_PAUSE_SECONDS: Final = 10.0
_MAX_PAUSE_DOUBLINGS: Final = 8
_NEVER: Final = float("-inf")


class Pace:
    """A token bucket of calls, and a pause in which none leave."""

    def __init__(
        self,
        endpoint: str,
        *,
        clock: Clock,
        calls_per_second: float | None,
        max_wait_seconds: float,
    ) -> None:
        """Prepare a full bucket.

        Args:
            endpoint: the endpoint's name for errors.
            clock: measures and waits.
            calls_per_second: JSON-RPC calls, each one in a batch counted; None for no bound.
            max_wait_seconds: the longest that a request waits here.
        """
        self._endpoint = endpoint
        self._clock = clock
        self._calls_per_second = calls_per_second
        self._capacity = max(1.0, (calls_per_second or 0.0) * BURST_SECONDS)
        self._max_wait_seconds = max_wait_seconds
        self._saved_calls = self._capacity
        self._saved_at_seconds = clock.monotonic()
        self._paused_until_seconds = _NEVER
        self._pauses_in_a_row = 0

    @property
    def burst_calls(self) -> int | None:
        """Return how many calls may leave together, or None for any number."""
        return None if self._calls_per_second is None else int(self._capacity)

    def wait_seconds(self) -> float:
        """Return how long a call would wait now, zero or more."""
        if self._calls_per_second is None and self._paused_until_seconds == _NEVER:
            return 0.0
        now = self._clock.monotonic()
        pause_seconds = max(self._paused_until_seconds - now, 0.0)
        if self._calls_per_second is None:
            return pause_seconds
        self._refill(now)
        return max(pause_seconds, (1.0 - self._saved_calls) / self._calls_per_second, 0.0)

    async def admit(self, calls: int) -> None:
        """Return when a request with so many calls may leave, in the order of asking.

        Raises:
            RpcRateLimitedError: when that would take longer than the bound; nothing was sent.
        """
        if self._calls_per_second is None and self._paused_until_seconds == _NEVER:
            return
        deadline = self._clock.monotonic() + self._max_wait_seconds
        if self._calls_per_second is not None:
            await self._take(calls, self._calls_per_second)
        # Another request may be told to slow down while this one waits.
        while (pause_seconds := self._paused_until_seconds - self._clock.monotonic()) > 0:
            if self._paused_until_seconds > deadline:
                raise self._refusal(pause_seconds)
            await self._clock.sleep(pause_seconds)

    def slow_down(self, retry_after_seconds: float | None) -> None:
        """Let nothing leave for a while.

        Args:
            retry_after_seconds: what the endpoint asked for; without it each refusal in a row doubles
                the pause.
        """
        now = self._clock.monotonic()
        if now >= self._paused_until_seconds:
            # Requests that were under way together are refused together, and count as one.
            self._pauses_in_a_row += 1
        doublings = min(max(self._pauses_in_a_row - 1, 0), _MAX_PAUSE_DOUBLINGS)
        untold_seconds = min(FIRST_PAUSE_SECONDS * 2.0**doublings, MAX_UNTOLD_PAUSE_SECONDS)
        pause_seconds = untold_seconds if retry_after_seconds is None else retry_after_seconds
        self._paused_until_seconds = max(self._paused_until_seconds, now + pause_seconds)

    def answered(self) -> None:
        """Take an answer as the sign that the pace is right."""
        self._pauses_in_a_row = 0

    async def _take(self, calls: int, calls_per_second: float) -> None:
        self._refill(self._clock.monotonic())
        # A debt keeps the order: who comes later waits for more calls to be saved up.
        self._saved_calls -= calls
        wait_seconds = -self._saved_calls / calls_per_second
        if wait_seconds > self._max_wait_seconds:
            self._saved_calls += calls
            raise self._refusal(wait_seconds)
        if wait_seconds > 0:
            await self._clock.sleep(wait_seconds)

    def _refill(self, now: float) -> None:
        assert self._calls_per_second is not None
        earned = (now - self._saved_at_seconds) * self._calls_per_second
        self._saved_calls = min(self._saved_calls + earned, self._capacity)
        self._saved_at_seconds = now

    def _refusal(self, wait_seconds: float) -> RpcRateLimitedError:
        return RpcRateLimitedError(
            f"{self._endpoint} may not be asked now",
            retry_after_seconds=wait_seconds,
            endpoint=self._endpoint,
        )
