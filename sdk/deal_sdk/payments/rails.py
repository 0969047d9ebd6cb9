"""The operator's safety rails: caps, a list of destinations, an alarm, and a switch that stops everything.

They are looked at before a payment is recorded, and the switch again before anything is signed. All are
off until the settings, or `pause`, turn them on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.amounts import format_amount
from deal_sdk.clock import Clock
from deal_sdk.errors import InvalidInputError, PaymentsPausedError, SafetyRailError
from deal_sdk.events import EventBus
from deal_sdk.payments.orders import Order, Party
from deal_sdk.records import Database, get_meta, put_meta
from deal_sdk.records.tables import deal_meta, token_transactions

PAUSED: Final = "payments_paused"
SUSPICIOUS_ACTIVITY: Final = "suspicious_activity"
DAY: Final = timedelta(hours=24)
VELOCITY_SECONDS: Final = 60.0
MAX_WATCHED_WALLETS: Final = 100_000
MAX_PAUSE_REASON_LENGTH: Final = 500


@dataclass(frozen=True, slots=True)
class RailBounds:
    """The rails' settings; None and empty mean "off"."""

    max_payment_base_units: int | None = None
    max_daily_base_units: int | None = None
    allowed_destinations: frozenset[str] = frozenset()
    alarm_payments_per_minute: int | None = None


class SafetyRails:
    """Refuses what the operator ruled out, and raises the alarm where a wallet pays unusually often."""

    def __init__(self, bounds: RailBounds, *, clock: Clock, events: EventBus) -> None:
        """Keep the bounds; nothing is counted yet."""
        self._bounds = bounds
        self._clock = clock
        self._events = events
        self._paid_at_seconds: dict[str, deque[float]] = {}

    @property
    def max_payment_base_units(self) -> int | None:
        """Return the most that one payment may move, or None."""
        return self._bounds.max_payment_base_units

    def check(self, order: Order) -> None:
        """Refuse a payment over its cap or to a stranger who is not on the list.

        Users' connected wallets and operator wallets are no strangers.

        Raises:
            SafetyRailError: naming the rail; nothing was recorded.
        """
        self.check_parts(order.amount, order.recipient)

    def check_parts(self, amount: int, recipient: Party | None) -> None:
        """Refuse what `check` refuses, for a payment that is not an order yet.

        Raises:
            SafetyRailError: naming the rail.
        """
        cap = self._bounds.max_payment_base_units
        if cap is not None and amount > cap:
            raise _over_cap("max_payment_amount", amount, cap)
        if recipient is None or not self._bounds.allowed_destinations:
            return
        is_known = recipient.user_id is not None or recipient.operator_name is not None
        if not is_known and recipient.address not in self._bounds.allowed_destinations:
            raise SafetyRailError(
                "the destination is not on the list of allowed ones",
                rail="allowed_destinations",
                address=recipient.address,
            )

    async def left_today(self, connection: AsyncConnection, addresses: Collection[str]) -> dict[str, int]:
        """Return what each debited wallet may still pay today, inside the transaction that records.

        Args:
            connection: of the transaction that holds the wallets' locks.
            addresses: of the wallets about to be debited.

        Returns:
            Base units by address; nothing when there is no daily cap.
        """
        cap = self._bounds.max_daily_base_units
        if cap is None or not addresses:
            return {}
        column = token_transactions.c
        query = (
            sa.select(column.from_address, sa.func.sum(column.amount))
            .where(column.from_address.in_(addresses), column.created_at > self._clock.now() - DAY)
            .where(column.status.not_in(("failed", "expired")), column.instruction.is_not(None))
            .group_by(column.from_address)
        )
        paid = {address: int(amount) for address, amount in await connection.execute(query)}
        return {address: cap - paid.get(address, 0) for address in addresses}

    def note(self, order: Order) -> None:
        """Count a recorded payment, and publish the alarm when its wallet paid too often in a minute."""
        if order.sender is not None:
            self.note_payments(order.sender.address, 1)

    def note_payments(self, address: str, count: int) -> None:
        """Count payments of one wallet that were recorded together; they raise one alarm at most."""
        threshold = self._bounds.alarm_payments_per_minute
        if threshold is None:
            return
        now = self._clock.monotonic()
        if len(self._paid_at_seconds) > MAX_WATCHED_WALLETS:
            self._paid_at_seconds.clear()
        recent = self._paid_at_seconds.setdefault(address, deque())
        recent.extend([now] * count)
        while recent and recent[0] <= now - VELOCITY_SECONDS:
            recent.popleft()
        if len(recent) > threshold:
            self._events.publish(
                SUSPICIOUS_ACTIVITY,
                address=address,
                payments=len(recent),
                seconds=VELOCITY_SECONDS,
            )
            # Told once; the count begins anew, so that a flood of payments is no flood of alarms.
            recent.clear()


def take_daily(left: dict[str, int], order: Order) -> SafetyRailError | None:
    """Take an order out of what its wallet has left today, or return the refusal.

    Args:
        left: base units by address, as `SafetyRails.left_today` returned them; changed in place.
        order: the next one to record.
    """
    return None if order.sender is None else take_daily_amount(left, order.sender.address, order.amount)


def take_daily_amount(left: dict[str, int], address: str, amount: int) -> SafetyRailError | None:
    """Take an amount out of what a wallet has left today, or return the refusal; see `take_daily`."""
    if address not in left:
        return None
    available = left[address]
    if amount > available:
        return _over_cap("max_daily_amount_per_wallet", amount, max(available, 0))
    left[address] = available - amount
    return None


class PauseSwitch:
    """Stops every worker on this database from recording and from signing, until it is released."""

    def __init__(self, database: Database) -> None:
        """Keep the database, which all workers share."""
        self._database = database

    async def pause(self, reason: str) -> None:
        """Stop payments; those whose bytes are already signed are followed to their end.

        Args:
            reason: what the refusals say, 1 to 500 characters.

        Raises:
            InvalidInputError: for no reason, or a longer one.
        """
        if not isinstance(reason, str) or not 1 <= len(reason.strip()) <= MAX_PAUSE_REASON_LENGTH:
            raise InvalidInputError(f"a reason for the pause has 1 to {MAX_PAUSE_REASON_LENGTH} characters")
        await put_meta(self._database, PAUSED, reason.strip())

    async def release(self) -> None:
        """Let payments go on, the recorded ones that were not signed included."""
        delete = deal_meta.delete().where(deal_meta.c.key == PAUSED)

        async def unit(connection: AsyncConnection) -> None:
            await connection.execute(delete)

        await self._database.run(unit)

    async def reason(self) -> str | None:
        """Return why payments are paused, or None when they are not."""
        return await get_meta(self._database, PAUSED)


async def refuse_when_paused(connection: AsyncConnection) -> None:
    """Refuse inside the transaction that would record or sign, so that a pause binds at once.

    Raises:
        PaymentsPausedError: with the operator's reason.
    """
    reason = await connection.scalar(sa.select(deal_meta.c.value).where(deal_meta.c.key == PAUSED))
    if reason:
        raise PaymentsPausedError(f"payments are paused: {reason}", reason=reason)


def _over_cap(rail: str, amount: int, cap: int) -> SafetyRailError:
    return SafetyRailError(
        f"{format_amount(amount)} is over what {rail} leaves: {format_amount(cap)}",
        rail=rail,
        amount=format_amount(amount),
        allowed=format_amount(cap),
    )
