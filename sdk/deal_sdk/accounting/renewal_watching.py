"""Tells metrics and subscribers of renewals and subscriptions, after they are durable."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from uuid import UUID

from deal_sdk.accounting.journal import OBSERVER_TIMEOUT_SECONDS
from deal_sdk.accounting.renewal_results import RenewalResult, SubscriptionResult
from deal_sdk.events import EventBus
from deal_sdk.metrics import Metrics

logger = logging.getLogger(__name__)

OnTierChange = Callable[[UUID], Awaitable[object]]

CREDITS_RENEWED: Final = "credits_renewed"
SUBSCRIPTION_STARTED: Final = "subscription_started"
SUBSCRIPTION_EXPIRED: Final = "subscription_expired"


class RenewalWatch:
    """Counts every renewal by its outcome, and publishes what was granted, begun and ended."""

    def __init__(
        self, metrics: Metrics, events: EventBus, *, on_tier_change: OnTierChange | None = None
    ) -> None:
        """Keep the parts.

        Args:
            metrics: count the renewals.
            events: told of them.
            on_tier_change: told of each user whose tier changed; what it raises is logged, and what hangs
                is ended.
        """
        self._metrics = metrics
        self._events = events
        self._on_tier_change = on_tier_change

    async def renewed(self, results: Sequence[RenewalResult]) -> None:
        """Take notice of renewals."""
        for result in results:
            self._metrics.renewals.labels(outcome=_outcome(result)).inc()
            facts = {"user": str(result.user_id), "balance": result.new_balance}
            if result.periods and result.success:
                self._events.publish(
                    CREDITS_RENEWED, **facts, amount=result.tokens_added, periods=result.periods
                )
            if result.expired:
                await self._forget(result.user_id)
                self._events.publish(SUBSCRIPTION_EXPIRED, **facts)

    async def subscribed(self, user_id: UUID, result: SubscriptionResult) -> None:
        """Take notice of a subscription."""
        await self._forget(user_id)
        at = result.subscription_expires_at
        self._events.publish(
            SUBSCRIPTION_STARTED,
            user=str(user_id),
            tier=result.tier,
            amount=result.tokens_added,
            balance=result.new_balance,
            expires_at=None if at is None else at.isoformat(),
        )

    async def _forget(self, user_id: UUID) -> None:
        if self._on_tier_change is None:
            return
        try:
            async with asyncio.timeout(OBSERVER_TIMEOUT_SECONDS):
                await self._on_tier_change(user_id)
        except Exception:
            logger.exception("a callback after a change of tier failed")


def _outcome(result: RenewalResult) -> str:
    if result.success:
        return "renewed"
    return "failed" if result.failed else result.code or ""
