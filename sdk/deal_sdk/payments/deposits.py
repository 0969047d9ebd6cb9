"""Tokens that arrive from outside: told to whoever listens, and matched with the invoices that they name.

Owns that a deposit, its event and what it means for an invoice are one SQL transaction, so that each is
there with the others or not at all. It grants nothing: an invoice that is paid waits for its credits in
its own row.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final
from uuid import UUID, uuid5

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.clock import Clock
from deal_sdk.events import EventBus
from deal_sdk.payments.invoice_values import InvoicePayment, outcome_of
from deal_sdk.payments.outbox import DEPOSIT, PaymentOutbox, shown_payment
from deal_sdk.records import Transaction
from deal_sdk.records.among import among
from deal_sdk.records.database import Row
from deal_sdk.records.invoice_tables import invoice_payments, invoices
from deal_sdk.webhooks import OutgoingEvent

_ADDRESS: Final = re.compile(r"(?<![1-9A-HJ-NP-Za-km-z])[1-9A-HJ-NP-Za-km-z]{32,44}(?![1-9A-HJ-NP-Za-km-z])")
_EVENTS: Final = UUID("b4b19a5e-6a35-4d0a-8d3c-5b7d9d2f0c1e")
NAMES_PER_QUERY: Final = 2_000

_invoice = invoices.c
Paid = Callable[[Collection[UUID]], Awaitable[None]]
"""Told after the commit which invoices were paid."""


@dataclass(frozen=True, slots=True)
class Deposit:
    """Tokens that arrived, and what they are for the invoice that they name."""

    payment: Transaction
    names: Collection[str]
    """The transaction's accounts, and the addresses in its memo."""
    settled: InvoicePayment | None = None

    @property
    def data(self) -> dict[str, Any]:
        """Return what the event of it says."""
        settled = self.settled
        return {
            "payment": shown_payment(self.payment),
            "invoice": None
            if settled is None
            else {
                "invoice_id": str(settled.invoice_id),
                "outcome": settled.outcome,
                "excess_base_units": settled.excess,
            },
        }


class DepositBook:
    """Takes in what the history found to have arrived."""

    def __init__(self, clock: Clock, events: EventBus, outbox: PaymentOutbox) -> None:
        """Keep the parts; nobody waits for paid invoices yet.

        Args:
            clock: stamps what is recorded.
            events: told after the commit.
            outbox: written to within it.
        """
        self._clock = clock
        self._events = events
        self._outbox = outbox
        self.on_paid: Paid | None = None

    async def record(
        self, connection: AsyncConnection, found: Sequence[Transaction], names: Mapping[str, Collection[str]]
    ) -> list[Deposit]:
        """Match new deposits with invoices, inside the transaction that records them.

        Args:
            connection: of that transaction, which may be run again.
            found: transfers made elsewhere that were not recorded before, in the order of the chain.
            names: by signature, the accounts of the transaction and the addresses in its memo.
        """
        arrived = [
            Deposit(payment, names.get(payment.signature or "", ()))
            for payment in found
            if payment.type == "deposit"
        ]
        # The database may hand back new rows in another order than it was given them.
        arrived.sort(key=lambda deposit: deposit.payment.slot or 0)
        named = await self._named(connection, arrived)
        deposits = [await self._settle(connection, deposit, named) for deposit in arrived]
        await self._outbox.write(connection, DEPOSIT, [_event(deposit) for deposit in deposits])
        return deposits

    async def committed(self, deposits: Sequence[Deposit]) -> None:
        """Tell of what is recorded by now."""
        if not deposits:
            return
        self._outbox.committed()
        for deposit in deposits:
            self._events.publish(DEPOSIT, **deposit.data)
        paid = {
            deposit.settled.invoice_id
            for deposit in deposits
            if deposit.settled is not None and deposit.settled.outcome in ("exact", "overpaid")
        }
        if paid and self.on_paid is not None:
            await self.on_paid(paid)

    async def _named(self, connection: AsyncConnection, deposits: Sequence[Deposit]) -> dict[str, UUID]:
        """Return the invoices that are named, by their references, and lock them in one order."""
        names = sorted({name for deposit in deposits for name in deposit.names})
        found: dict[str, UUID] = {}
        for start in range(0, len(names), NAMES_PER_QUERY):
            query = sa.select(_invoice.reference, _invoice.id).where(
                among(_invoice.reference, names[start : start + NAMES_PER_QUERY])
            )
            found |= {reference: identity for reference, identity in await connection.execute(query)}
        if found:
            lock = sa.select(_invoice.id).where(among(_invoice.id, list(found.values())))
            await connection.execute(lock.order_by(_invoice.id).with_for_update())
        return found

    async def _settle(
        self, connection: AsyncConnection, deposit: Deposit, named: Mapping[str, UUID]
    ) -> Deposit:
        identities = [named[name] for name in deposit.names if name in named]
        row = await _first_of(connection, deposit.payment, identities) if identities else None
        if row is None:
            return deposit
        payment = deposit.payment
        arrived_at = payment.finalized_at or payment.created_at
        outcome, excess = outcome_of(row, payment.amount, arrived_at)
        now = self._clock.now()
        settled = InvoicePayment(payment.id, row.id, outcome, payment.amount, excess, now)
        await connection.execute(invoice_payments.insert().values(asdict(settled)))
        if outcome in ("exact", "overpaid", "underpaid"):
            changes: dict[str, Any] = {"received": row.received + payment.amount}
            if outcome != "underpaid":
                changes |= {"status": "paid", "paid_at": now}
            await connection.execute(sa.update(invoices).where(_invoice.id == row.id).values(changes))
        return Deposit(payment, deposit.names, settled)


def names_in(account_keys: Sequence[str], memo: str | None) -> tuple[str, ...]:
    """Return every address by which a transaction may name an invoice.

    Args:
        account_keys: the transaction's accounts.
        memo: its memos, as the endpoint lists them.
    """
    return (*account_keys, *(_ADDRESS.findall(memo) if memo else ()))


async def _first_of(connection: AsyncConnection, payment: Transaction, identities: list[UUID]) -> Row | None:
    """Return the invoice that a deposit pays: of several that it names, the oldest one that is open."""
    query = (
        sa.select(invoices)
        .where(among(_invoice.id, identities), _invoice.recipient == payment.to_address)
        .order_by(sa.case((_invoice.status == "open", 0), else_=1), _invoice.created_at, _invoice.id)
        .limit(1)
    )
    return (await connection.execute(query)).one_or_none()


def _event(deposit: Deposit) -> OutgoingEvent:
    payment = deposit.payment
    return OutgoingEvent(
        id=uuid5(_EVENTS, str(payment.id)),
        type=DEPOSIT,
        data=deposit.data,
        timestamp=payment.updated_at,
        subject=str(payment.id),
        sequence=1,
    )
