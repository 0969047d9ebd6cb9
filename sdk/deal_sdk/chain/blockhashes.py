"""One fresh blockhash for all who sign: read once, shared, and never older than a bound.

Owns the cache. A blockhash handed out has nearly its whole life before it, because that life is the
time in which a transaction may land.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from deal_sdk.chain.replies import LatestBlockhash
from deal_sdk.chain.rpc import Rpc
from deal_sdk.clock import Clock
from deal_sdk.errors import ChainError

logger = logging.getLogger(__name__)

DEFAULT_REFRESH_SECONDS: Final = 0.5
DEFAULT_MAX_AGE_SECONDS: Final = 3.0


class BlockhashSource:
    """Hands out the latest confirmed blockhash, with one read under way at a time."""

    def __init__(
        self,
        rpc: Rpc,
        *,
        clock: Clock,
        refresh_seconds: float = DEFAULT_REFRESH_SECONDS,
        max_age_seconds: float = DEFAULT_MAX_AGE_SECONDS,
    ) -> None:
        """Prepare the source; the first `get` reads.

        Args:
            rpc: the endpoint that transactions are sent to.
            clock: measures ages.
            refresh_seconds: from this age on, a `get` also has a newer one read in the background.
            max_age_seconds: from this age on, a `get` waits for a newer one.
        """
        assert 0 < refresh_seconds <= max_age_seconds
        self._rpc = rpc
        self._clock = clock
        self._refresh_seconds = refresh_seconds
        self._max_age_seconds = max_age_seconds
        self._latest: LatestBlockhash | None = None
        self._read_at_seconds = float("-inf")
        self._reading: asyncio.Task[LatestBlockhash] | None = None

    async def get(self) -> LatestBlockhash:
        """Return a blockhash no older than the bound.

        Raises:
            ChainError: when the one at hand is too old and no newer one can be read.
        """
        age_seconds = self._clock.monotonic() - self._read_at_seconds
        if self._latest is not None and age_seconds < self._max_age_seconds:
            if age_seconds >= self._refresh_seconds:
                self._start_reading()
            return self._latest
        # A caller that is cancelled must not take the reading from those who share it.
        return await asyncio.shield(self._start_reading())

    async def close(self) -> None:
        """Cancel the reading under way."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def _start_reading(self) -> asyncio.Task[LatestBlockhash]:
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(_log_failure)
        return self._reading

    async def _read(self) -> LatestBlockhash:
        # Its age counts from before the read: the reply was true at some time since.
        started = self._clock.monotonic()
        latest = await self._rpc.get_latest_blockhash("confirmed")
        current = self._latest
        is_older = current is not None and latest.last_valid_block_height < current.last_valid_block_height
        # A lagging node answers with an older one; what a fork took back must still give way in time.
        if current is not None and is_older and started - self._read_at_seconds < self._max_age_seconds:
            return current
        self._latest, self._read_at_seconds = latest, started
        return latest


def _log_failure(reading: asyncio.Task[LatestBlockhash]) -> None:
    if reading.cancelled():
        return
    error = reading.exception()
    if isinstance(error, ChainError):
        logger.warning("no newer blockhash could be read: %s", error.message)
