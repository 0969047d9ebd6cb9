"""Keeps this process's lease alive and takes over what others left, by a loop of its own."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol
from uuid import UUID

import sqlalchemy as sa

from deal_sdk.clock import Clock
from deal_sdk.errors import DatabaseError, TokenError
from deal_sdk.metrics import Metrics
from deal_sdk.payments.leases import MAX_CLAIMED_AT_ONCE, LeaseHolder, Leases
from deal_sdk.payments.pipeline import PaymentPipeline

logger = logging.getLogger(__name__)


class BatchResumption(Protocol):
    """Carries on the members of batches that are leased here."""

    async def resume(self) -> int:
        """Return how many were taken up."""
        ...


class LeaseKeeper:
    """Renews one holder's lease and drives what becomes free."""

    def __init__(
        self,
        leases: Leases,
        pipeline: PaymentPipeline,
        batches: BatchResumption | None = None,
        *,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        """Wire the parts; the loop begins with `begin`.

        Args:
            leases: this holder's.
            pipeline: drives single payments.
            batches: drives members of batches, which share transactions.
            clock: times the rounds.
            metrics: counts rounds and what is taken over.
        """
        self._leases = leases
        self._pipeline = pipeline
        self._batches = batches
        self._clock = clock
        self._metrics = metrics
        self._takes_over = True
        self._task: asyncio.Task[None] | None = None

    @property
    def owner(self) -> UUID:
        """Return the name under which payments are leased here."""
        return self._leases.owner

    def is_free(self, owner: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        """Return the condition that nobody who is alive holds a row; see `Leases.is_free`."""
        return self._leases.is_free(owner)

    async def holders(self) -> list[LeaseHolder]:
        """Return who holds open payments, here and elsewhere."""
        return await self._leases.holders()

    async def begin(self) -> int:
        """Register the holder, take up what is free, and begin the loop, which `stop` ends.

        Returns:
            How many payments were taken up.

        Raises:
            DatabaseError: the loop is not begun.
        """
        assert self._task is None
        await self._leases.register()
        taken = await self.resume()
        self._task = asyncio.create_task(self._run())
        return taken

    async def stop(self) -> None:
        """Take nothing over any more; what is leased stays leased."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def take_no_more(self) -> None:
        """Leave what becomes free to others from now on; the lease on what is driven here is kept."""
        self._takes_over = False

    async def release(self) -> None:
        """End the lease once nothing is driven any more, so that others take over at once."""
        try:
            await self._leases.release()
        except DatabaseError as error:
            logger.warning("the lease is left to run out: %s (%s)", error.message, error.code)

    async def resume(self) -> int:
        """Take over what is free, and carry on whatever is leased here and not driven.

        Returns:
            How many payments were taken up.

        Raises:
            DatabaseError: what was taken up so far is driven.
        """
        return await self.take_over() + await self._pipeline.resume() + await self._resume_batches()

    async def take_over(self) -> int:
        """Take over every open payment whose holder is dead and drive it; return how many."""
        taken = 0
        has_claimed = False
        while self._takes_over and (claimed := await self._leases.claim()):
            has_claimed = True
            self._metrics.payments_taken_over.inc(len(claimed))
            taken += await self._pipeline.resume(claimed)
            if len(claimed) < MAX_CLAIMED_AT_ONCE:
                break
        return taken + (await self._resume_batches() if has_claimed else 0)

    async def _resume_batches(self) -> int:
        return 0 if self._batches is None else await self._batches.resume()

    async def _run(self) -> None:
        is_behind = False
        while True:
            await self._clock.sleep(self._leases.round_seconds)
            outcome = await self._round(is_behind=is_behind)
            is_behind = outcome == "failed"
            self._metrics.lease_rounds.labels(outcome=outcome).inc()

    async def _round(self, *, is_behind: bool) -> str:
        try:
            is_kept = await self._leases.renew()
            # What a failed round claimed may not be driven yet, so all that is leased is looked at.
            await (self.resume() if is_behind else self.take_over())
        except TokenError as error:
            logger.warning("a round of the lease failed: %s (%s)", error.message, error.code)
            return "failed"
        except Exception:
            logger.exception("a round of the lease failed")
            return "failed"
        if not is_kept:
            logger.warning("the lease had lapsed; others may have taken payments over")
        return "renewed" if is_kept else "lapsed"
