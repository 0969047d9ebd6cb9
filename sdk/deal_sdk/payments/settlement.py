"""Writes what became of attempts: payment, attempt, reservation, purchase and account in one transaction.

Changes that end alike are one statement for each table, whatever they say of each payment. Every statement
is guarded by the state it starts from, so that a late or repeated report changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.payments.changes import AttemptEnd, Change
from deal_sdk.payments.fee_claims import fees_given_back
from deal_sdk.records.among import among, list_parameter
from deal_sdk.records.given_rows import given_rows
from deal_sdk.records.packed_rows import PackedQuery
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

_Types: TypeAlias = Mapping[str, sa.types.TypeEngine[Any]]
_Given: TypeAlias = Mapping[str, sa.ColumnElement[Any]]


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
    for end in _ENDS:
        await _write(connection, end, [change for change in changes if change.end == end], at)
    return changes


async def expire_unsigned(connection: AsyncConnection, change: Change) -> None:
    """End a payment as expired of which no attempt is live, in a transaction that holds its lock."""
    await _write(connection, "expired", [change], change.at)


async def _write(
    connection: AsyncConnection, end: AttemptEnd, changes: Sequence[Change], at: datetime
) -> None:
    if not changes:
        return
    parameters = _parameters(changes, at)
    for statement in end_statements(connection.dialect.name)[end]:
        await connection.execute(statement, parameters)


def _parameters(changes: Sequence[Change], at: datetime) -> dict[str, Any]:
    # Each payment once: of two confirmations the later one is true, which a fork brought about.
    by_payment = {change.payment_id: change for change in changes}
    landed: dict[str, int] = {}
    for change in by_payment.values():
        if change.debited_account and change.slot is not None:
            landed[change.debited_account] = max(change.slot, landed.get(change.debited_account, 0))
    return {
        "b_changes": [
            (change.payment_id.hex, change.number, change.slot, change.evidence)
            for change in by_payment.values()
        ],
        "b_landed": sorted(landed.items()),
        "b_ids": list(by_payment),
        "b_at": at,
    }


async def _still_true(connection: AsyncConnection, reported: Sequence[Change]) -> list[Change]:
    """Leave out what is said of attempts that ended, for the payment may be at its next one by now."""
    ids = {change.payment_id for change in reported}
    if connection.dialect.name == "postgresql":
        # Locked first, so that two workers see each other's ends, and in one order, so that neither waits
        # for the other in a circle. SQLite has one writer, which holds every lock.
        lock = sa.select(token_transactions.c.id).where(among(token_transactions.c.id, ids))
        await connection.execute(lock.order_by(token_transactions.c.id).with_for_update())
    live = {(payment_id, number) for payment_id, number in await _LIVE.rows(connection, {"b_ids": list(ids)})}
    changes = []
    for change in reported:
        if (change.payment_id, change.number) not in live:
            continue
        changes.append(change)
        if change.end != "confirmed":
            live.discard((change.payment_id, change.number))
    return changes


_AT: Final = sa.bindparam("b_at", type_=UtcDateTime())
_IDS: Final = list_parameter("b_ids", token_transactions.c.id)
_LIVE: Final = PackedQuery(
    sa.select(payment_attempts.c.payment_id, payment_attempts.c.number).where(
        among(payment_attempts.c.payment_id, _IDS), payment_attempts.c.status.in_(LIVE_ATTEMPT_STATUSES)
    )
)
_CHANGE: Final[_Types] = {
    "id": sa.Uuid(),
    "number": sa.Integer(),
    "slot": sa.BigInteger(),
    "evidence": Json,
}
_LANDED: Final[_Types] = {"account": token_accounts.c.address.type, "slot": sa.BigInteger()}
_OPEN: Final = ("pending", "confirmed")
# A confirmed payment leaves the order in which changes of one transaction are written: its end comes later.
_ENDS: Final[tuple[AttemptEnd, ...]] = (
    "confirmed",
    "finalized",
    "failed",
    "attempt_expired",
    "attempt_failed",
    "expired",
)


@lru_cache(maxsize=2)
def end_statements(dialect_name: str) -> Mapping[AttemptEnd, tuple[sa.Update, ...]]:
    """Return what writes each end, for all changes that come to it in one transaction."""
    given = given_rows(dialect_name, "b_changes", _CHANGE)
    landed = _landed_accounts(given_rows(dialect_name, "b_landed", _LANDED))
    slot, evidence = given["slot"], given["evidence"]
    ended = {"slot": slot, "evidence": evidence}
    since = sa.func.coalesce(token_transactions.c.confirmed_at, _AT)
    open_again = _payment(given, "pending", _OPEN, slot=None, confirmed_at=None)
    cancelled = (_reservation(given, "released", None), _purchase("cancelled"), fees_given_back(_IDS))
    return {
        "confirmed": (
            _payment(given, "confirmed", ("pending",), slot=slot, confirmed_at=_AT),
            _attempt(given, "confirmed"),
            _landed_reservation(given),
            landed,
        ),
        "finalized": (
            _payment(given, "finalized", _OPEN, **ended, finalized_at=_AT, confirmed_at=since),
            _attempt(given, "finalized"),
            _landed_reservation(given),
            landed,
            _purchase("counted"),
        ),
        "failed": (_payment(given, "failed", _OPEN, **ended), _attempt(given, "failed"), *cancelled),
        "attempt_expired": (open_again, _attempt(given, "expired"), _reservation(given, "live", None)),
        "attempt_failed": (open_again, _attempt(given, "failed"), _reservation(given, "live", None)),
        "expired": (
            _payment(given, "expired", _OPEN, slot=None, evidence=evidence),
            _attempt(given, "expired"),
            *cancelled,
        ),
    }


# The states to start from are parameters: told them beforehand, SQLite would look through all open payments
# for each of the given rows, by the index of those.
def _payment(given: _Given, status: str, allowed: tuple[str, ...], **values: Any) -> sa.Update:
    column = token_transactions.c
    return (
        token_transactions.update()
        .where(column.id == given["id"], column.status.in_(allowed))
        .values(status=status, updated_at=_AT, **values)
    )


def _attempt(given: _Given, status: str) -> sa.Update:
    column = payment_attempts.c
    return (
        payment_attempts.update()
        .where(column.payment_id == given["id"], column.number == given["number"])
        .where(column.status.in_(LIVE_ATTEMPT_STATUSES))
        .values(status=status, evidence=given["evidence"], updated_at=_AT)
    )


def _reservation(given: _Given, state: str, landed_slot: Any) -> sa.Update:
    column = balance_reservations.c
    return (
        balance_reservations.update()
        .where(column.payment_id == given["id"], column.state != "released")
        .values(state=state, landed_slot=landed_slot)
    )


def _landed_reservation(given: _Given) -> sa.Update:
    column, slot = balance_reservations.c, given["slot"]
    # One that was seen confirmed in the same slot says so already, which is the usual case at finalized.
    changes = sa.or_(column.state != "landed", column.landed_slot.is_distinct_from(slot))
    return _reservation(given, "landed", slot).where(changes)


def _purchase(state: str) -> sa.Update:
    column = token_purchases.c
    return (
        token_purchases.update()
        .where(among(column.payment_id, _IDS), column.state == "reserved")
        .values(state=state, updated_at=_AT)
    )


def _landed_accounts(landed: _Given) -> sa.Update:
    column = token_accounts.c
    return (
        token_accounts.update()
        .where(column.address == landed["account"], column.last_landed_slot < landed["slot"])
        .values(last_landed_slot=landed["slot"])
    )
