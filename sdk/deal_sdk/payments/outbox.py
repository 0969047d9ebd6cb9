"""Payments told to webhooks: each change of a status with its event, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID, uuid5

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.payments.changes import Change
from deal_sdk.records import Transaction, row_to_transaction
from deal_sdk.records.tables import token_transactions
from deal_sdk.webhooks import Outbox, OutgoingEvent

RECORDED: Final = "payment.recorded"
SETTLED: Final = ("payment.confirmed", "payment.finalized", "payment.failed", "payment.expired")
DEPOSIT: Final = "deposit"
PAYMENT_EVENTS: Final = frozenset({RECORDED, *SETTLED, DEPOSIT})
_EVENTS: Final = UUID("8f0c6a5e-7b61-4c5e-9a40-52d6f3f1f0a7")
_INTERNAL: Final = frozenset({"fingerprint", "instruction"})


class PaymentOutbox:
    """Writes the events of payments; without an endpoint that wants them it does nothing."""

    def __init__(self, outbox: Outbox | None) -> None:
        """Write to an outbox, or nowhere."""
        self._outbox = outbox

    @property
    def wants_recorded(self) -> bool:
        """Return whether somebody wants to hear of payments that are recorded."""
        return self._outbox is not None and bool(self._outbox.matching(RECORDED))

    @property
    def wants_settled(self) -> bool:
        """Return whether somebody wants to hear what becomes of payments."""
        return self._outbox is not None and self._outbox.wants_any(SETTLED)

    async def recorded(self, connection: AsyncConnection, rows: Sequence[Mapping[Any, Any]]) -> None:
        """Tell of payments inside the transaction that records them."""
        if self._outbox is None or not rows or not self.wants_recorded:
            return
        payments = [row_to_transaction(row) for row in rows]
        await self._outbox.write(
            connection, [_event(payment, RECORDED, "recorded", 1) for payment in payments]
        )

    async def settled(self, connection: AsyncConnection, changes: Sequence[Change]) -> None:
        """Tell what became of payments inside the transaction that settles them."""
        if self._outbox is None or not self.wants_settled:
            return
        told = [change for change in changes if f"payment.{change.end}" in PAYMENT_EVENTS]
        query = sa.select(token_transactions).where(
            token_transactions.c.id.in_({change.payment_id for change in told})
        )
        rows = (await connection.execute(query)).mappings() if told else ()
        payments = {row["id"]: row_to_transaction(row) for row in rows}
        await self._outbox.write(
            connection, [_event_of(change, payments[change.payment_id]) for change in told]
        )

    async def write(
        self, connection: AsyncConnection, event_type: str, events: Sequence[OutgoingEvent]
    ) -> None:
        """Write events of one type inside the transaction that does what they tell of."""
        if self._outbox is not None and events and self._outbox.matching(event_type):
            await self._outbox.write(connection, events)

    def committed(self) -> None:
        """Tell that the transaction is committed."""
        if self._outbox is not None:
            self._outbox.committed()


NO_OUTBOX: Final = PaymentOutbox(None)
"""For stores whose payments nobody is told of."""


def shown_payment(payment: Transaction) -> dict[str, Any]:
    """Return what an event says of a payment: all but what is the package's own."""
    return {key: value for key, value in payment.to_dict().items() if key not in _INTERNAL}


def _event_of(change: Change, payment: Transaction) -> OutgoingEvent:
    if payment.status != change.end:
        # Both ends came in one transaction; each event shows the payment as it was then.
        payment = replace(payment, status=change.end, slot=change.slot, finalized_at=None, evidence=None)
    # Confirmed before what ends an attempt, and one attempt before the next.
    sequence = change.number * 2 + (change.end != "confirmed")
    return _event(payment, f"payment.{change.end}", f"{change.number}:{change.end}", sequence)


def _event(payment: Transaction, event_type: str, name: str, sequence: int) -> OutgoingEvent:
    return OutgoingEvent(
        id=uuid5(_EVENTS, f"{payment.id}:{name}"),
        type=event_type,
        data={"payment": shown_payment(payment)},
        timestamp=payment.updated_at,
        subject=str(payment.id),
        sequence=sequence,
    )
