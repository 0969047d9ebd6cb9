"""What stands before one endpoint: its pace, its breaker, and what its requests say of its health.

Owns the judgement of a whole request. One answer among the replies of a batch shows that the endpoint
is alive; what a single call's refusal means is for its caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from deal_sdk.chain._errors import is_endpoint_failure
from deal_sdk.chain.breaker import CircuitBreaker
from deal_sdk.chain.pacing import Pace
from deal_sdk.clock import Clock
from deal_sdk.errors import ChainError, RpcRateLimitedError, RpcUnavailableError

STALL_SECONDS: Final = 1.0
"""After this long without any reply while some are due, an endpoint is asked last."""
LATENCY_SAMPLES: Final = 64
_SAMPLES_PER_ESTIMATE: Final = 16
_PERCENTILE: Final = 0.95


class LatencyWindow:
    """The durations of the last requests, and the one that only one in twenty exceeds."""

    def __init__(self) -> None:
        """Begin without any."""
        self._samples_seconds: list[float] = []
        self._count = 0
        self._slow_seconds: float | None = None

    @property
    def slow_seconds(self) -> float | None:
        """Return about the 95th percentile, or None before there are enough samples."""
        return self._slow_seconds

    def add(self, duration_seconds: float) -> None:
        """Take in one request's duration."""
        if len(self._samples_seconds) < LATENCY_SAMPLES:
            self._samples_seconds.append(duration_seconds)
        else:
            self._samples_seconds[self._count % LATENCY_SAMPLES] = duration_seconds
        self._count += 1
        if self._count % _SAMPLES_PER_ESTIMATE == 0:
            ordered = sorted(self._samples_seconds)
            self._slow_seconds = ordered[int(len(ordered) * _PERCENTILE)]


class EndpointGuard:
    """Admits requests to one endpoint and learns from how they end."""

    def __init__(
        self, endpoint: str, *, clock: Clock, pace: Pace, breaker: CircuitBreaker | None = None
    ) -> None:
        """Prepare a guard.

        Args:
            endpoint: the endpoint's name for errors.
            clock: measures how long replies are due.
            pace: how fast it may be asked.
            breaker: when it is left alone; without one it is always asked, for there is no other.
        """
        self.pace = pace
        self.breaker = breaker
        self.latency = LatencyWindow()
        self._endpoint = endpoint
        self._clock = clock
        self._under_way = 0
        self._quiet_since_seconds = 0.0

    @property
    def is_stalled(self) -> bool:
        """Return whether replies are due, and none of any kind came for a while."""
        return self._under_way > 0 and self._clock.monotonic() - self._quiet_since_seconds > STALL_SECONDS

    async def admit(self, calls: int) -> None:
        """Return when a request may leave; then it must end in `ended` or `abandoned`.

        Raises:
            RpcRateLimitedError: when the wait would be too long.
            RpcUnavailableError: while the breaker is open.
        """
        await self.pace.admit(calls)
        if self.breaker is not None and not self.breaker.enter():
            raise RpcUnavailableError(
                f"{self._endpoint} failed too often and is left alone for now",
                endpoint=self._endpoint,
                reason="circuit_open",
            )
        if self._under_way == 0:
            self._quiet_since_seconds = self._clock.monotonic()
        self._under_way += 1

    def ended(self, replies: Sequence[Any], duration_seconds: float, *, is_quick: bool) -> None:
        """Learn from a request's replies.

        Args:
            replies: a result or an error for each call.
            duration_seconds: from leaving to the reply.
            is_quick: whether its duration tells of the endpoint and not of the size of what was asked.
        """
        self._under_way -= 1
        failures = [reply for reply in replies if is_endpoint_failure(reply)]
        if len(failures) < len(replies):
            self._answered()
            if is_quick:
                self.latency.add(duration_seconds)
        if failures:
            self._take_in_failures(failures, is_whole_request=len(failures) == len(replies))

    def abandoned(self) -> None:
        """Forget a request that was cancelled under way."""
        self._under_way -= 1
        if self.breaker is not None:
            self.breaker.abandoned()

    def _take_in_failures(self, failures: Sequence[ChainError], *, is_whole_request: bool) -> None:
        slow_down = next((failure for failure in failures if _asks_to_slow_down(failure)), None)
        if slow_down is not None:
            self.pace.slow_down(slow_down.facts["retry_after_seconds"])
        if self.breaker is None:
            return
        if slow_down is not None:
            # It is alive and will say so again: the pace answers for it, not the breaker.
            self.breaker.abandoned()
        elif is_whole_request:
            self.breaker.failed()

    def _answered(self) -> None:
        self._quiet_since_seconds = self._clock.monotonic()
        self.pace.answered()
        if self.breaker is not None:
            self.breaker.succeeded()


def _asks_to_slow_down(failure: ChainError) -> bool:
    return isinstance(failure, RpcRateLimitedError) or failure.facts.get("retry_after_seconds") is not None
