"""How many payments were recorded over time, and how much they were, in buckets of one length."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from deal_sdk.amounts import BaseUnits
from deal_sdk.errors import InvalidInputError
from deal_sdk.records.database import Database
from deal_sdk.records.inputs import check_time
from deal_sdk.records.tables import token_transactions

MAX_BUCKETS: Final = 1_000
COUNTED_STATUSES: Final = ("confirmed", "finalized")
COUNTED_TYPES: Final = ("transfer", "service_fee", "reward", "purchase")
"""What users and operators paid one another; what was minted, burned or moved elsewhere is no payment."""
_LIMB: Final = 10**9
_table: Final = token_transactions


@dataclass(frozen=True, slots=True)
class VolumeBucket:
    """What was recorded in one bucket."""

    starts_at_seconds: int
    """Unix time; a multiple of the bucket's length."""
    payments: int
    amount: BaseUnits


async def payment_volume(
    database: Database, *, since: datetime, until: datetime, bucket_seconds: int
) -> list[VolumeBucket]:
    """Sum the payments that happened up by time, empty buckets included, the oldest first.

    Args:
        database: where payments are recorded.
        since: the first bucket has this time in it.
        until: a payment counts when it was recorded before this time.
        bucket_seconds: the length of a bucket, 1 or more; at most 1,000 of them make up the period.

    Raises:
        InvalidInputError: for a period that is none, or has too many buckets.
    """
    first = int(check_time("since", since).timestamp()) // bucket_seconds * bucket_seconds
    last = int(check_time("until", until).timestamp())
    if not 0 < last - first <= MAX_BUCKETS * bucket_seconds:
        raise InvalidInputError(f"a period has 1 to {MAX_BUCKETS} buckets", field="since")
    bucket = _bucket(database.dialect, bucket_seconds).label("bucket")
    # Two parts of each sum, because SQLite's own ends at 64 bits.
    high, low = sa.func.sum(_table.c.amount // _LIMB), sa.func.sum(_table.c.amount % _LIMB)
    query = (
        sa.select(bucket, sa.func.count(), high, low)
        .where(
            _table.c.created_at >= since,
            _table.c.created_at < until,
            _table.c.status.in_(COUNTED_STATUSES),
            _table.c.type.in_(COUNTED_TYPES),
        )
        .group_by(bucket)
    )
    found = {int(row[0]): row for row in await database.fetch(query)}
    return [_made(start, found.get(start)) for start in range(first, last, bucket_seconds)]


def _made(start: int, row: Any | None) -> VolumeBucket:
    if row is None:
        return VolumeBucket(start, 0, BaseUnits(0))
    return VolumeBucket(start, int(row[1]), BaseUnits(int(row[2]) * _LIMB + int(row[3])))


def _bucket(dialect: str, bucket_seconds: int) -> sa.ColumnElement[Any]:
    created_at = _table.c.created_at
    seconds: sa.ColumnElement[Any] = sa.cast(sa.func.floor(sa.extract("epoch", created_at)), sa.BigInteger)
    if dialect == "sqlite":
        # Times are kept as UTC text; strftime would round a fraction up into the next second.
        text = sa.func.substr(sa.type_coerce(created_at, sa.String), 1, 19)
        seconds = sa.cast(sa.func.strftime("%s", text), sa.Integer)
    return seconds - seconds % sa.literal(bucket_seconds, sa.BigInteger())
