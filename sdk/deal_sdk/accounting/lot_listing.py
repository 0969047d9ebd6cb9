"""Users' lots as their readers see them, and what of a balance is past its expiry."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.accounting.lots import Lot, pool_turn
from deal_sdk.records.credit_tables import credit_accounts, credit_holds
from deal_sdk.records.lot_tables import DEFAULT_LOT_PRIORITY, credit_lot_holds, credit_lots

_account = credit_accounts.c
_hold = credit_holds.c
_lot = credit_lots.c
_part = credit_lot_holds.c


@dataclass(frozen=True, slots=True)
class CreditLot:
    """Credits that were granted together, or all those that never expire and have no turn of their own."""

    id: UUID | None
    """None for the credits that are in no lot."""
    priority: int
    granted: int | None
    """None for the credits that are in no lot."""
    remaining: int
    """Less than nothing where a debt is in no lot."""
    held: int
    """Of what remains, put aside for operations under way."""
    expires_at: datetime | None
    created_at: datetime | None
    expired_at: datetime | None = None
    """When its expiry was entered."""

    def to_dict(self) -> dict[str, Any]:
        """Return the lot as JSON-serialisable data."""
        times = {name: getattr(self, name) for name in ("expires_at", "created_at", "expired_at")}
        return {
            "id": None if self.id is None else str(self.id),
            "priority": self.priority,
            "granted": self.granted,
            "remaining": self.remaining,
            "held": self.held,
            **{name: None if time is None else time.isoformat() for name, time in times.items()},
        }


def lapsed(user_id: UUID, now: datetime) -> sa.ColumnElement[int]:
    """Build the sum of the credits that are past their expiry, and in no hold that still counts.

    Args:
        user_id: whose.
        now: the present.
    """
    is_over = sa.and_(_lot.account_id == user_id, _lot.remaining > 0, _lot.expires_at <= now)
    free = sa.select(sa.func.coalesce(sa.func.sum(_lot.remaining - _lot.held), 0)).where(is_over)
    overdue = (
        sa.select(sa.func.coalesce(sa.func.sum(_part.amount), 0))
        .select_from(credit_holds)
        .join(credit_lot_holds, _part.hold_id == _hold.id)
        .join(credit_lots, _lot.id == _part.lot_id)
        .where(_hold.account_id == user_id, _hold.state == "live", _hold.expires_at <= now, is_over)
    )
    total: sa.ColumnElement[int] = free.scalar_subquery() + overdue.scalar_subquery()
    return total


def due_accounts(now: datetime, *, after: UUID | None, limit: int) -> sa.Select[Any]:
    """Build the query for the accounts that have something to expire, in the order of their ids.

    A lot whose free credits are gone waits for its holds: those whose time is over free it.

    Args:
        now: the present.
        after: the last id of the page before.
        limit: how many.
    """
    overdue = sa.exists().where(
        _part.lot_id == _lot.id, _hold.id == _part.hold_id, _hold.state == "live", _hold.expires_at <= now
    )
    query = (
        sa.select(_lot.account_id)
        .where(_lot.remaining > 0, _lot.expires_at <= now, sa.or_(_lot.remaining > _lot.held, overdue))
        .distinct()
        .order_by(_lot.account_id)
        .limit(limit)
    )
    return query if after is None else query.where(_lot.account_id > after)


async def lots_of(
    connection: AsyncConnection, user_id: UUID, now: datetime, *, include_spent: bool
) -> list[CreditLot]:
    """Read a user's lots in the order in which they are spent.

    Args:
        connection: a snapshot.
        user_id: whose.
        now: the present.
        include_spent: also those that are empty, or past their expiry and in no hold.
    """
    query = sa.select(credit_lots).where(_lot.account_id == user_id)
    rows = (await connection.execute(query if include_spent else query.where(_lot.remaining > 0))).all()
    lots = sorted((Lot(**row._mapping) for row in rows), key=lambda lot: lot.turn)
    head = sa.select(_account.balance, _account.held, _account.in_lots).where(_account.id == user_id)
    account = (await connection.execute(head)).one_or_none()
    found = [
        (lot.turn, _listed(lot))
        for lot in lots
        if include_spent or lot.held > 0 or (lot.remaining > 0 and not lot.has_lapsed(now))
    ]
    if account is not None:
        pool = account.balance - account.in_lots
        held = account.held - sum(lot.held for lot in lots)
        if pool != 0 or held != 0:
            plain = CreditLot(None, DEFAULT_LOT_PRIORITY, None, pool, held, None, None)
            found.append((pool_turn(), plain))
    return [lot for _, lot in sorted(found, key=lambda one: one[0])]


def _listed(lot: Lot) -> CreditLot:
    return CreditLot(
        lot.id,
        lot.priority,
        lot.amount,
        lot.remaining,
        lot.held,
        lot.expires_at,
        lot.created_at,
        lot.expired_at,
    )
