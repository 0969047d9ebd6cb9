"""Estimates that are good enough while they are read again, and never hold a payment up for long.

Owns their ages, the one reading under way for each, and the bound on waiting. It never raises what a
reading raised: an estimate that cannot be had is None, and its user has something safer to fall back on.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from deal_sdk.clock import Clock, wait_within
from deal_sdk.errors import ChainError
from deal_sdk.flights import Flights

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

MAX_ESTIMATES: Final = 1_024
MAX_WAIT_SECONDS: Final = 2.0
RETRY_SECONDS: Final = 2.0


@dataclass(slots=True)
class _Entry(Generic[Value]):
    value: Value | None
    due_at_seconds: float


class Estimates(Generic[Value]):
    """Values by key, each read once for all who ask at the same time."""

    def __init__(self, name: str, *, clock: Clock, refresh_seconds: float) -> None:
        """Start without any.

        Args:
            name: of what is estimated, for the log.
            clock: measures their ages.
            refresh_seconds: from this age on, a `get` has a newer one read in the background.
        """
        self._name = name
        self._clock = clock
        self._refresh_seconds = refresh_seconds
        self._entries: OrderedDict[Hashable, _Entry[Value]] = OrderedDict()
        self._flights: Flights[None] = Flights()

    async def get(self, key: Hashable, read: Callable[[], Awaitable[Value | None]]) -> Value | None:
        """Return what is known for a key, waiting at most two seconds where nothing is.

        Args:
            key: what is estimated.
            read: called where nothing is known or it has aged; None means that it could not tell.

        Returns:
            The estimate, however old, or None while there is none.
        """
        entry = self._entries.get(key)
        if entry is not None and self._clock.monotonic() < entry.due_at_seconds:
            return entry.value
        reading = self._flights.start(key, lambda: self._read(key, read))
        if entry is None:
            await wait_within(self._clock, reading, MAX_WAIT_SECONDS)
            entry = self._entries.get(key)
        return entry.value if entry is not None else None

    def forget(self, key: Hashable) -> None:
        """Drop an estimate that proved wrong, and what is being read of it."""
        self._entries.pop(key, None)
        self._flights.leave(key)

    async def close(self) -> None:
        """Cancel the readings under way."""
        await self._flights.close()

    async def _read(self, key: Hashable, read: Callable[[], Awaitable[Value | None]]) -> None:
        value: Value | None = None
        try:
            value = await read()
        except ChainError as error:
            logger.warning("no %s could be read: %s", self._name, error.message)
        pause_seconds = RETRY_SECONDS if value is None else self._refresh_seconds
        known = self._entries.pop(key, None)
        if value is None and known is not None:
            value = known.value
        if len(self._entries) >= MAX_ESTIMATES:
            self._entries.popitem(last=False)
        self._entries[key] = _Entry(value, self._clock.monotonic() + pause_seconds)
