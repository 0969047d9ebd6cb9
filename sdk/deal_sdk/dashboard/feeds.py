"""What the live stream tells of: this process's events, the wallets' record, and payments of every process.

Owns the tasks that read them. An outage of the database ends none: each goes on from where it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from deal_sdk.amounts import DEAL_DECIMALS, format_amount, parse_amount
from deal_sdk.client import Deal
from deal_sdk.dashboard.live import LiveHub
from deal_sdk.dashboard.models import LimitHit, Payment
from deal_sdk.errors import TokenError, WatchPositionGoneError
from deal_sdk.events import Event
from deal_sdk.limits.telling import PURCHASE_LIMIT_NEAR, PURCHASE_LIMIT_REACHED, RATE_LIMIT_HIT
from deal_sdk.records import Transaction

logger = logging.getLogger(__name__)

PAYMENT_EVENT: Final = "payment."
PAYMENT_CHANGED: Final = "payment.changed"
WALLET_EVENT: Final = "wallet:"
PAYMENT_POLL_SECONDS: Final = 2.0
PAYMENT_POLL_ROWS: Final = 100
RETRY_SECONDS: Final = 2.0
MAX_HITS: Final = 100
_OPEN: Final = ("pending", "confirmed")
_LIMIT_EVENTS: Final = frozenset({PURCHASE_LIMIT_NEAR, PURCHASE_LIMIT_REACHED, RATE_LIMIT_HIT})


class Feeds:
    """Reads everything that the stream tells of, for as long as the dashboard is served."""

    def __init__(self, deal: Deal, hub: LiveHub) -> None:
        """Keep the parts; `start` reads."""
        self._deal = deal
        self._hub = hub
        self._seen: dict[str, str] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.hits: deque[LimitHit] = deque(maxlen=MAX_HITS)
        """The latest limits that were reached or nearly so, the newest last."""

    async def start(self) -> None:
        """Begin at the present of every feed.

        Raises:
            DatabaseError: when the wallets' record cannot be read.
        """
        self._hub.start_at(await self._deal.monitor.latest_event_id())
        begun = asyncio.Event()
        self._tasks = [
            asyncio.create_task(self._follow_bus(begun)),
            asyncio.create_task(self._unending("the wallets' record", self._follow_wallets)),
            asyncio.create_task(self._unending("payments", self._follow_payments)),
        ]
        await begun.wait()

    async def close(self) -> None:
        """Stop reading."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._hub.close()

    async def _follow_bus(self, begun: asyncio.Event) -> None:
        async with self._deal.events.listen() as events:
            begun.set()
            async for event in events:
                try:
                    self._take(event)
                except Exception:
                    # Anyone may publish on the bus; one event that cannot be shown hides no other.
                    logger.exception("an event of type %s cannot be shown", event.type)

    def _take(self, event: Event) -> None:
        if event.type.startswith(WALLET_EVENT):
            return  # the record tells of these, whichever process made them
        data: Mapping[str, Any] = event.data
        if event.type.startswith(PAYMENT_EVENT):
            payment = _shown_payment(event.data["payment"], self._deal.mint.decimals)
            if self._seen is not None:
                self._seen[payment["id"]] = payment["status"]
            data = {"payment": payment}
        elif event.type in _LIMIT_EVENTS:
            self.hits.append(_hit_of(event))
        self._hub.publish(event.type, data, event.timestamp)

    async def _follow_wallets(self) -> None:
        after = self._hub.position.watch_id
        try:
            async with self._deal.monitor.subscribe(after_event_id=after) as events:
                async for event in events:
                    self._hub.publish(event.type, event.data, event.timestamp, watch_id=event.id)
        except WatchPositionGoneError:
            self._hub.skip_to(await self._deal.monitor.latest_event_id())

    async def _follow_payments(self) -> None:
        while True:
            await self.look_at_payments()
            await self._deal.clock.sleep(PAYMENT_POLL_SECONDS)

    async def look_at_payments(self) -> None:
        """Tell of the payments that other processes made or moved since the last look.

        Raises:
            DatabaseError: when the record cannot be read.
        """
        query = self._deal.transactions.query
        pages = [await query(newest_first=True, limit=PAYMENT_POLL_ROWS)]
        pages += [await query(status=status, newest_first=True, limit=PAYMENT_POLL_ROWS) for status in _OPEN]
        found = {str(payment.id): payment for page in pages for payment in page.items}
        before, self._seen = self._seen, {key: payment.status for key, payment in found.items()}
        if before is None:
            return
        for payment in _changed(list(found.values()), before):
            shown = Payment.of(payment, self._deal.mint.decimals).model_dump(mode="json")
            self._hub.publish(PAYMENT_CHANGED, {"payment": shown}, payment.updated_at)

    async def _unending(self, what: str, follow: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await follow()
            except TokenError as error:
                logger.warning("%s cannot be followed now: %s", what, error.message)
            except Exception:
                logger.exception("following %s failed", what)
            await self._deal.clock.sleep(RETRY_SECONDS)


def _changed(found: Sequence[Transaction], before: Mapping[str, str]) -> list[Transaction]:
    changed = [payment for payment in found if before.get(str(payment.id)) != payment.status]
    return sorted(changed, key=lambda payment: payment.updated_at)


def _shown_payment(payment: Mapping[str, Any], decimals: int) -> dict[str, Any]:
    # The event's amount is written for the decimals of DEAL.
    amount = format_amount(parse_amount(payment["amount"], decimals=DEAL_DECIMALS), decimals=decimals)
    return Payment.model_validate({**payment, "amount": amount}).model_dump(mode="json")


def _hit_of(event: Event) -> LimitHit:
    data = event.data
    maximum = int(data["maximum"])
    return LimitHit(
        type=event.type,
        user=data["user"],
        limit=data["limit"],
        current=data["current"],
        maximum=maximum,
        percent=min(100 * int(data["current"]) // maximum, 100) if maximum else 100,
        operation=data.get("operation"),
        token_mint=data.get("token_mint"),
        at=event.timestamp,
    )
