"""Tells metrics and subscribers of renewals and subscriptions once durable, and webhooks in their commit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.accounting.journal import OBSERVER_TIMEOUT_SECONDS
from deal_sdk.accounting.renewal_results import RenewalResult, SubscriptionResult
from deal_sdk.events import EventBus
from deal_sdk.metrics import Metrics
from deal_sdk.webhooks import Outbox, OutgoingEvent

logger = logging.getLogger(__name__)

OnTierChange = Callable[[UUID], Awaitable[object]]
Said = tuple[str, dict[str, Any]]
"""An event's type and its facts."""

CREDITS_RENEWED: Final = "credits_renewed"
SUBSCRIPTION_STARTED: Final = "subscription_started"
SUBSCRIPTION_EXPIRED: Final = "subscription_expired"
RENEWAL_EVENTS: Final = frozenset({CREDITS_RENEWED, SUBSCRIPTION_STARTED, SUBSCRIPTION_EXPIRED})


class RenewalObserver(Protocol):
    """Whoever takes notice of renewals and subscriptions."""

    async def record(
        self, connection: AsyncConnection, results: Sequence[RenewalResult], at: datetime
    ) -> None:
        """Write what renewals lead to elsewhere, in the transaction that makes them."""
        ...

    async def renewed(self, results: Sequence[RenewalResult]) -> None:
        """Take notice of renewals that are durable."""
        ...

    async def record_subscription(
        self, connection: AsyncConnection, user_id: UUID, result: SubscriptionResult, at: datetime
    ) -> None:
        """Write what a subscription leads to elsewhere, in the transaction that makes it."""
        ...

    async def subscribed(self, user_id: UUID, result: SubscriptionResult) -> None:
        """Take notice of a subscription that is durable."""
        ...


class Unobserved:
    """Takes no notice."""

    async def record(
        self, connection: AsyncConnection, results: Sequence[RenewalResult], at: datetime
    ) -> None:
        """Write nothing."""

    async def renewed(self, results: Sequence[RenewalResult]) -> None:
        """Tell nobody."""

    async def record_subscription(
        self, connection: AsyncConnection, user_id: UUID, result: SubscriptionResult, at: datetime
    ) -> None:
        """Write nothing."""

    async def subscribed(self, user_id: UUID, result: SubscriptionResult) -> None:
        """Tell nobody."""


class RenewalWatch:
    """Counts every renewal by its outcome, and tells what was granted, begun and ended."""

    def __init__(
        self,
        metrics: Metrics,
        events: EventBus,
        *,
        outbox: Outbox | None = None,
        on_tier_change: OnTierChange | None = None,
    ) -> None:
        """Keep the parts.

        Args:
            metrics: count the renewals.
            events: told of them.
            outbox: takes the events for webhooks.
            on_tier_change: told of each user whose tier changed; what it raises is logged, and what hangs
                is ended.
        """
        self._metrics = metrics
        self._events = events
        self._outbox = outbox
        self._on_tier_change = on_tier_change

    async def record(
        self, connection: AsyncConnection, results: Sequence[RenewalResult], at: datetime
    ) -> None:
        """Write the events of renewals for webhooks."""
        await self._write(connection, (said for result in results for said in _of_renewal(result)), at)

    async def renewed(self, results: Sequence[RenewalResult]) -> None:
        """Take notice of renewals."""
        for result in results:
            self._metrics.renewals.labels(outcome=_outcome(result)).inc()
            if result.expired:
                await self._forget(result.user_id)
            self._publish(_of_renewal(result))

    async def record_subscription(
        self, connection: AsyncConnection, user_id: UUID, result: SubscriptionResult, at: datetime
    ) -> None:
        """Write the event of a subscription for webhooks."""
        await self._write(connection, [_of_subscription(user_id, result)], at)

    async def subscribed(self, user_id: UUID, result: SubscriptionResult) -> None:
        """Take notice of a subscription."""
        await self._forget(user_id)
        self._publish([_of_subscription(user_id, result)])

    async def _write(self, connection: AsyncConnection, said: Iterable[Said], at: datetime) -> None:
        if self._outbox is not None and self._outbox.wants_any(RENEWAL_EVENTS):
            told = [OutgoingEvent(uuid4(), event_type, facts, at) for event_type, facts in said]
            await self._outbox.write(connection, told)

    def _publish(self, said: Iterable[Said]) -> None:
        for event_type, facts in said:
            self._events.publish(event_type, **facts)
        if self._outbox is not None:
            self._outbox.committed()

    async def _forget(self, user_id: UUID) -> None:
        if self._on_tier_change is None:
            return
        try:
            async with asyncio.timeout(OBSERVER_TIMEOUT_SECONDS):
                await self._on_tier_change(user_id)
        except Exception:
            logger.exception("a callback after a change of tier failed")


def _of_renewal(result: RenewalResult) -> list[Said]:
    facts = {"user": str(result.user_id), "balance": result.new_balance}
    said: list[Said] = []
    if result.periods and result.success:
        granted = {"amount": result.tokens_added, "periods": result.periods}
        said.append((CREDITS_RENEWED, {**facts, **granted}))
    if result.expired:
        said.append((SUBSCRIPTION_EXPIRED, facts))
    return said


def _of_subscription(user_id: UUID, result: SubscriptionResult) -> Said:
    at = result.subscription_expires_at
    return SUBSCRIPTION_STARTED, {
        "user": str(user_id),
        "tier": result.tier,
        "amount": result.tokens_added,
        "balance": result.new_balance,
        "expires_at": None if at is None else at.isoformat(),
    }


def _outcome(result: RenewalResult) -> str:
    if result.success:
        return "renewed"
    return "failed" if result.failed else result.code or ""
