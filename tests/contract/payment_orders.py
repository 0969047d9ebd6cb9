"""Orders, intents and attempts as the payments area makes them, with every field open to a test."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa

from deal_sdk.amounts import BaseUnits
from deal_sdk.chain import SignedTransaction
from deal_sdk.payments.attempts import LiveAttempt
from deal_sdk.payments.changes import AttemptEnd, Change
from deal_sdk.payments.intent_rows import Intent
from deal_sdk.payments.invariants import SQL_INVARIANTS
from deal_sdk.payments.orders import Funds, Order, Party, Plan, PurchaseLimit
from deal_sdk.records import Database

STARTED = datetime(2026, 1, 1, tzinfo=UTC)
_serial = itertools.count(1)


def party(name: str, user_id: UUID | None = None) -> Party:
    return Party(address=f"{name}-wallet", token_account=f"{name}-tokens", user_id=user_id, tier="Business")


ALICE, BOB, CAROL, TREASURY = party("alice"), party("bob"), party("carol"), party("treasury")


def order(
    amount: int = 10,
    *,
    key: str | None = None,
    fingerprint: str = "input",
    sender: Party = ALICE,
    recipient: Party = BOB,
    **details: Any,
) -> Order:
    return Order(
        **{
            "payment_id": uuid4(),
            "type": "transfer",
            "amount": BaseUnits(amount),
            "plan": Plan(
                "transfer",
                sender.address,
                sender.token_account,
                recipient.token_account,
                recipient.address,
            ),
            "sender": sender,
            "recipient": recipient,
            "reason": None,
            "idempotency_key": key,
            "fingerprint": fingerprint,
            "created_at": STARTED,
            **details,
        }
    )


def intent(amount: int = 10, *, balance: int = 1_000, slot: int = 100, **details: Any) -> Intent:
    return Intent(order(amount, **details), Funds(balance, slot))


def by_delegate(
    amount: int = 10, *, delegated: int = 100, balance: int = 1_000, slot: int = 100, **details: Any
) -> Intent:
    """Return an intent that Carol signs with what is left of Alice's approval."""
    sender, recipient = details.get("sender", ALICE), details.get("recipient", BOB)
    plan = Plan("transfer", CAROL.address, sender.token_account, recipient.token_account, recipient.address)
    holder = details.pop("holder", CAROL.address)
    return Intent(order(amount, plan=plan, **details), Funds(balance, slot, holder, delegated))


def purchase(mint: str = "Mint", max_purchases: int = 3) -> PurchaseLimit:
    return PurchaseLimit(mint, max_purchases, "subscription-1")


def attempt(payment_id: UUID, number: int = 1, *, signature: str | None = None) -> LiveAttempt:
    name = signature or f"signature-{next(_serial)}"
    return LiveAttempt(payment_id, number, SignedTransaction(name, name.encode(), 250, 100))


def change(
    payment_id: UUID,
    number: int,
    end: AttemptEnd,
    *,
    slot: int | None = 200,
    account: str | None = ALICE.token_account,
    at: datetime = STARTED,
) -> Change:
    expired = end in ("expired", "attempt_expired")
    shown = None if expired else slot
    return Change(payment_id, number, end, shown, {"end": end, "number": number}, at, account)


async def rows_of(database: Database, table: sa.Table, *conditions: Any) -> list[dict[str, Any]]:
    async with database.reading() as connection:
        found = await connection.execute(sa.select(table).where(*conditions))
        return [dict(row) for row in found.mappings()]


async def broken_rules(database: Database) -> dict[str, list[Any]]:
    """Run every SQL invariant and return the rows that break one."""
    broken: dict[str, list[Any]] = {}
    async with database.reading() as connection:
        for name, query in SQL_INVARIANTS.items():
            rows = (await connection.execute(query)).all()
            if rows:
                broken[name] = list(rows)
    return broken
