"""A cache's way to its store: a breaker spares callers the wait for a store that is down.

Owns when the store is left alone and what is logged about it. Never decides what the caller gets instead.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from deal_sdk.chain.breaker import CircuitBreaker
from deal_sdk.clock import Clock
from deal_sdk.errors import StoreUnavailableError
from deal_sdk.limits.outages import OutageLog
from deal_sdk.limits.store import Store

logger = logging.getLogger(__name__)

Reply = TypeVar("Reply")

FAILURES_TO_OPEN: Final = 3
OPEN_SECONDS: Final = 1.0
"""How long a store that failed three times is left alone; failed trials stretch it to four times that."""


class StoreLink:
    """Lets one cache's work through to the store, or refuses it at once while the store is down."""

    def __init__(self, store: Store, name: str, clock: Clock) -> None:
        """Keep the parts.

        Args:
            store: where entries live.
            name: of the cache, for the log.
            clock: measures how long the store is left alone.
        """
        self._store = store
        self._name = name
        self._breaker = CircuitBreaker(
            clock=clock, failures_to_open=FAILURES_TO_OPEN, open_seconds=OPEN_SECONDS
        )
        self._log = OutageLog(logger, clock)
        self._is_down = False

    async def through(self, work: Callable[[], Awaitable[Reply]]) -> Reply:
        """Do work with the store; a whole batch is one piece of work.

        Raises:
            StoreUnavailableError: when the store did not answer, or is left alone.
        """
        if not self._breaker.enter():
            raise StoreUnavailableError(
                "the store is left alone for a moment, because it failed",
                store=self._store.name,
                reason="breaker",
            )
        try:
            reply = await work()
        except StoreUnavailableError as error:
            self._failed(error)
            raise
        except BaseException:
            self._breaker.abandoned()
            raise
        self._breaker.succeeded()
        self._is_down = False
        return reply

    def _failed(self, error: StoreUnavailableError) -> None:
        if error.facts.get("reason") == "refused":
            # It answers, so asking it costs no wait.
            self._breaker.succeeded()
        else:
            self._breaker.failed()
        if not self._is_down:
            self._log.say(error, f"the cache {self._name} reads its source until it is back")
        self._is_down = True
