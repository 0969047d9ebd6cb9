"""Reads and writes what renewals keep beside the ledger: series, granted periods, and users' tiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.accounting.periods import Period
from deal_sdk.accounting.series import FREE_TIER, Customer, LastPeriod, Series
from deal_sdk.records import Database
from deal_sdk.records.among import among, list_parameter
from deal_sdk.records.array_rows import insert_arrays, set_excluded
from deal_sdk.records.database import Row
from deal_sdk.records.renewal_tables import credit_renewals, credit_schedules
from deal_sdk.records.row_inserts import insert_rows
from deal_sdk.records.tables import users

_schedule = credit_schedules.c
_renewal = credit_renewals.c
_SERIES: Final = (
    "plan",
    "period",
    "anchor_at",
    "anchor_index",
    "next_index",
    "next_renewal_at",
    "updated_at",
)
_CUSTOMERS: Final = (
    sa.select(
        users.c.id,
        users.c.tier,
        users.c.subscription_expires_at,
        users.c.channel_subscribed_at,
        users.c.tokens_balance,
        _schedule.plan,
        _schedule.period,
        _schedule.anchor_at,
        _schedule.anchor_index,
        _schedule.next_index,
    )
    .join_from(users, credit_schedules, _schedule.user_id == users.c.id, isouter=True)
    .where(among(users.c.id, list_parameter("ids", users.c.id)), users.c.erased_at.is_(None))
)
_GRANTED: Final = sa.select(
    _renewal.user_id, _renewal.plan, sa.func.max(_renewal.period_index), sa.func.max(_renewal.period_end)
).group_by(_renewal.user_id, _renewal.plan)


_DUE: Final = sa.select(
    users.c.id,
    users.c.external_id,
    users.c.tier,
    users.c.channel_subscribed_at,
    _schedule.next_renewal_at,
).join_from(users, credit_schedules, _schedule.user_id == users.c.id, isouter=True)

_insert_series = sqlite.insert(credit_schedules)
_MOVE_SERIES: Final = _insert_series.on_conflict_do_update(
    index_elements=["user_id"], set_={name: _insert_series.excluded[name] for name in _SERIES}
)


@dataclass(frozen=True, slots=True)
class DueUser:
    """A user whose renewal may be due, as found without a lock."""

    user_id: UUID
    external_id: str | None
    tier: str
    channel_since: datetime | None
    next_renewal_at: datetime | None
    """When the next period of its series begins; None where no series has begun."""

    def to_dict(self) -> dict[str, Any]:
        """Return the user as JSON-serialisable data."""
        at = self.next_renewal_at
        return {
            "user_id": str(self.user_id),
            "external_id": self.external_id,
            "tier": self.tier,
            "next_renewal_at": None if at is None else at.isoformat(),
        }


@dataclass(slots=True)
class Changes:
    """What one commit of renewals adds beside the ledger's own rows."""

    now: datetime
    renewals: list[dict[str, Any]] = field(default_factory=list)
    series: dict[UUID, Series] = field(default_factory=dict)
    users: dict[UUID, dict[str, Any]] = field(default_factory=dict)

    def change_user(self, user_id: UUID, **values: Any) -> None:
        """Set columns of a user's row."""
        self.users[user_id] = self.users.get(user_id, {}) | values


async def read_customers(
    connection: AsyncConnection, user_ids: Sequence[UUID], *, tiers: Mapping[UUID, str] | None = None
) -> dict[UUID, Customer]:
    """Read what decides about renewals; of use for writing only after the users' rows were locked.

    Args:
        connection: of the transaction.
        user_ids: whose.
        tiers: whose last periods are read, where that is another plan than the user's tier.
    """
    rows = (await connection.execute(_CUSTOMERS, {"ids": sorted(user_ids)})).all()
    wanted = {row.id: (tiers or {}).get(row.id, row.tier) for row in rows}
    # Within a series its own index tells; the granted periods matter where one has to begin.
    unsure = [row.id for row in rows if row.plan != wanted[row.id] or row.channel_subscribed_at is None]
    granted: dict[tuple[UUID, str], LastPeriod] = {}
    if unsure:
        found = await connection.execute(_GRANTED.where(_renewal.user_id.in_(unsure)))
        granted = {(user_id, plan): LastPeriod(index, end) for user_id, plan, index, end in found}
    return {row.id: _customer(row, granted.get((row.id, wanted[row.id]))) for row in rows}


async def write_changes(connection: AsyncConnection, database: Database, changes: Changes) -> None:
    """Add the granted periods, and move series and users on."""
    await insert_rows(connection, credit_renewals, changes.renewals)
    rows = [_series_row(user_id, one, changes.now) for user_id, one in sorted(changes.series.items())]
    if rows and database.dialect == "postgresql":
        tail = f"ON CONFLICT (user_id) DO UPDATE SET {set_excluded(_SERIES)}"
        await insert_arrays(connection, credit_schedules, rows, tail)
    elif rows:
        await connection.execute(_MOVE_SERIES, rows)
    by_columns: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for user_id, values in sorted(changes.users.items()):
        given = {_given(name): value for name, value in values.items()}
        by_columns.setdefault(tuple(sorted(values)), []).append({_given("id"): user_id, **given})
    for columns, rows in by_columns.items():
        update = sa.update(users).where(users.c.id == sa.bindparam(_given("id")))
        set_values = {name: sa.bindparam(_given(name), type_=users.c[name].type) for name in columns}
        await connection.execute(update.values(set_values | {"updated_at": changes.now}), rows)


def due_users(
    now: datetime, tiers: Sequence[str], *, after: UUID | None = None, limit: int | None = None
) -> sa.Select[Any]:
    """Build the query for users whose renewal or expiry may be due, in the order of their ids.

    Args:
        now: the present.
        tiers: the tiers that are renewed.
        after: the last id of the page before.
        limit: how many rows; all by default.
    """
    return _limited(_DUE.where(users.c.tier.in_(tiers), _is_due(now)), after, limit)


def count_due(now: datetime, tiers: Sequence[str]) -> sa.Select[Any]:
    """Build the query for how many users of each tier `due_users` finds."""
    counted = _DUE.with_only_columns(users.c.tier, sa.func.count(), maintain_column_froms=True)
    return counted.where(users.c.tier.in_(tiers), _is_due(now)).group_by(users.c.tier)


def to_due_user(row: Row) -> DueUser:
    """Make a due user of its row."""
    return DueUser(*row)


def _is_due(now: datetime) -> sa.ColumnElement[bool]:
    is_over = sa.or_(
        _schedule.user_id.is_(None),
        _schedule.plan != users.c.tier,
        _schedule.next_renewal_at <= now,
        sa.and_(users.c.tier != FREE_TIER, users.c.subscription_expires_at <= now),
    )
    return sa.and_(users.c.erased_at.is_(None), is_over)


def _limited(query: sa.Select[Any], after: UUID | None, limit: int | None) -> sa.Select[Any]:
    query = query.order_by(users.c.id)
    if after is not None:
        query = query.where(users.c.id > after)
    return query if limit is None else query.limit(limit)


def _given(column: str) -> str:
    # The columns' own names are taken by SQLAlchemy in an UPDATE.
    return f"given_{column}"


def _customer(row: Row, last: LastPeriod | None) -> Customer:
    series = None
    if row.plan is not None:
        period = Period.parse(row.period)
        series = Series(row.plan, period, row.anchor_at, row.anchor_index, row.next_index)
    return Customer(
        row.id,
        row.tier,
        row.subscription_expires_at,
        row.channel_subscribed_at,
        series,
        last,
        row.tokens_balance,
    )


def _series_row(user_id: UUID, series: Series, now: datetime) -> dict[str, Any]:
    return {
        "user_id": user_id,
        "plan": series.plan,
        "period": str(series.period),
        "anchor_at": series.anchor_at,
        "anchor_index": series.anchor_index,
        "next_index": series.next_index,
        "next_renewal_at": series.next_renewal_at,
        "updated_at": now,
    }
