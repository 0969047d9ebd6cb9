"""Says that the store is down, once per interval instead of once per call."""

from __future__ import annotations

import logging
from typing import Final

from deal_sdk.clock import Clock
from deal_sdk.errors import TokenError

OUTAGE_LOG_INTERVAL_SECONDS: Final = 5.0


class OutageLog:
    """One area's warnings about a store that fails: the first at once, then a count per interval."""

    def __init__(self, logger: logging.Logger, clock: Clock) -> None:
        """Remember where to log."""
        self._logger = logger
        self._clock = clock
        self._silent_until = float("-inf")
        self._unsaid_count = 0

    def say(self, error: TokenError, consequence: str) -> None:
        """Log what failed and what the caller got instead.

        Args:
            error: the store's failure.
            consequence: for example "allowed without checking"; the latest one is logged.
        """
        now = self._clock.monotonic()
        if now < self._silent_until:
            self._unsaid_count += 1
            return
        unsaid = f" (and {self._unsaid_count} times since the last line)" if self._unsaid_count else ""
        self._logger.warning("%s; %s%s", error.message, consequence, unsaid)
        self._silent_until = now + OUTAGE_LOG_INTERVAL_SECONDS
        self._unsaid_count = 0
