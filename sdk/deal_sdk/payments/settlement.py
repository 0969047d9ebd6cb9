"""Writes what became of attempts: payment, attempt, reservation, purchase and account in one transaction.

Changes that say the same of several payments are one statement each. Every statement is guarded by the
state it starts from, so that a late or repeated report changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.payments.changes import Change
from deal_sdk.payments.fee_claims import fees_given_back
from deal_sdk.records.among import among, list_parameter
from deal_sdk.records.purchase_tables import token_purchases
from deal_sdk.records.tables import (
    LIVE_ATTEMPT_STATUSES,
    Json,
    UtcDateTime,
    balance_reservations,
    payment_attempts,
    token_accounts,
    token_transactions,
)


async def settle_changes(
    connection: AsyncConnection, reported: Sequence[Change], at: datetime
) -> list[Change]:
    """Write changes, and return those that were still true.

    Args:
        connection: of the transaction that they share.
        reported: of any attempts, in any order.
        at: the time to record.
    """
    changes = await _still_true(connection, reported)
    for end, statements in _STATEMENTS.items():
        for group in _alike([change for change in changes if change.end == end]):
            parameters = _parameters(group, at)
            for statement in statements:
                await connection.execute(statement, parameters)
    return changes


async def expire_unsigned(connection: AsyncConnection, change: Change) -> None:
    """End a payment as expired of which no attempt is live, in a transaction that holds its lock."""
    parameters = _parameters([change], change.at)
    for statement in _STATEMENTS["expired"]:
        await connection.execute(statement, parameters)


def _alike(changes: Sequence[Change]) -> list[list[Change]]:
    """Group the changes of one end that differ in nothing but their payment and its account."""
    groups: dict[tuple[int, int | None, bytes], list[Change]] = {}
    for change in changes:
        said = change.number, change.slot, orjson.dumps(change.evidence, option=orjson.OPT_SORT_KEYS)
        groups.setdefault(said, []).append(change)
    return list(groups.values())


def _parameters(group: Sequence[Change], at: datetime) -> dict[str, Any]:
    first = group[0]
    return {
        "b_ids": [change.payment_id for change in group],
        "b_accounts": sorted({change.debited_account for change in group if change.debited_account}),
        "b_number": first.number,
        "b_slot": first.slot,
        "b_evidence": dict(first.evidence),
        "b_at": at,
    }


async def _still_true(connection: AsyncConnection, reported: Sequence[Change]) -> list[Change]:
    """Leave out what is said of attempts that ended, for the payment may be at its next one by now."""
    ids = list({change.payment_id for change in reported})
    if connection.dialect.name == "postgresql":
        # Locked first, so that two workers see each other's ends, and in one order, so that neither waits
        # for the other in a circle. SQLite has one writer, which holds every lock.
        lock = sa.select(token_transactions.c.id).where(among(token_transactions.c.id, ids))
        await connection.execute(lock.order_by(token_transactions.c.id).with_for_update())
    column = payment_attempts.c
    query = sa.select(column.payment_id, column.number).where(
        among(column.payment_id, ids), column.status.in_(LIVE_ATTEMPT_STATUSES)
    )
    live: set[tuple[UUID, int]] = {
        (payment_id, number) for payment_id, number in await connection.execute(query)
    }
    changes = []
    for change in reported:
        if (change.payment_id, change.number) not in live:
            continue
        changes.append(change)
        if change.end != "confirmed":
            live.discard((change.payment_id, change.number))
    return changes


_AT: Final = sa.bindparam("b_at", type_=UtcDateTime())
_SLOT: Final = sa.bindparam("b_slot", type_=sa.BigInteger())
_EVIDENCE: Final = sa.bindparam("b_evidence", type_=Json)
_IDS: Final = list_parameter("b_ids", token_transactions.c.id)
_ACCOUNTS: Final = list_parameter("b_accounts", token_accounts.c.address)


def _payment(status: str, allowed: tuple[str, ...], **values: Any) -> sa.Update:
    column = token_transactions.c
    return (
        token_transactions.update()
        .where(among(column.id, _IDS), column.status.in_(allowed))
        .values(status=status, updated_at=_AT, **values)
    )


def _attempt(status: str) -> sa.Update:
    column = payment_attempts.c
    return (
        payment_attempts.update()
        .where(among(column.payment_id, _IDS), column.number == sa.bindparam("b_number"))
        .where(column.status.in_(LIVE_ATTEMPT_STATUSES))
        .values(status=status, evidence=_EVIDENCE, updated_at=_AT)
    )


def _reservation(state: str, landed_slot: Any) -> sa.Update:
    column = balance_reservations.c
    return (
        balance_reservations.update()
        .where(among(column.payment_id, _IDS), column.state != "released")
        .values(state=state, landed_slot=landed_slot)
    )


def _landed_reservation() -> sa.Update:
    column = balance_reservations.c
    # One that was seen confirmed in the same slot says so already, which is the usual case at finalized.
    changes = sa.or_(column.state != "landed", column.landed_slot.is_distinct_from(_SLOT))
    return _reservation("landed", _SLOT).where(changes)


def _purchase(state: str) -> sa.Update:
    column = token_purchases.c
    return (
        token_purchases.update()
        .where(among(column.payment_id, _IDS), column.state == "reserved")
        .values(state=state, updated_at=_AT)
    )


def _landed_accounts() -> sa.Update:
    column = token_accounts.c
    return (
        token_accounts.update()
        .where(among(column.address, _ACCOUNTS), column.last_landed_slot < _SLOT)
        .values(last_landed_slot=_SLOT)
    )


_OPEN: Final = ("pending", "confirmed")
# A confirmed payment leaves the order in which changes of one transaction are written: its end comes later.
_STATEMENTS: Final[Mapping[str, tuple[sa.Update, ...]]] = {
    "confirmed": (
        _payment("confirmed", ("pending",), slot=_SLOT, confirmed_at=_AT),
        _attempt("confirmed"),
        _landed_reservation(),
        _landed_accounts(),
    ),
    "finalized": (
        _payment(
            "finalized",
            _OPEN,
            slot=_SLOT,
            finalized_at=_AT,
            confirmed_at=sa.func.coalesce(token_transactions.c.confirmed_at, _AT),
            evidence=_EVIDENCE,
        ),
        _attempt("finalized"),
        _landed_reservation(),
        _landed_accounts(),
        _purchase("counted"),
    ),
    "failed": (
        _payment("failed", _OPEN, slot=_SLOT, evidence=_EVIDENCE),
        _attempt("failed"),
        _reservation("released", None),
        _purchase("cancelled"),
        fees_given_back(_IDS),
    ),
    "attempt_expired": (
        _payment("pending", _OPEN, slot=None, confirmed_at=None),
        _attempt("expired"),
        _reservation("live", None),
    ),
    "attempt_failed": (
        _payment("pending", _OPEN, slot=None, confirmed_at=None),
        _attempt("failed"),
        _reservation("live", None),
    ),
    "expired": (
        _payment("expired", _OPEN, slot=None, evidence=_EVIDENCE),
        _attempt("expired"),
        _reservation("released", None),
        _purchase("cancelled"),
        fees_given_back(_IDS),
    ),
}
