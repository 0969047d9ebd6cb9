"""The volume of payments by time, and who is near a purchase limit: the same on both databases."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from deal_sdk.errors import InvalidInputError
from deal_sdk.limits.purchase_edges import users_near_edge
from deal_sdk.records import Database
from deal_sdk.records.purchase_tables import token_purchases
from deal_sdk.records.tables import token_transactions
from deal_sdk.records.volumes import MAX_BUCKETS, VolumeBucket, payment_volume

HUGE = 2**63 - 1


async def insert(database: Database, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    async with database.transaction() as connection:
        await connection.execute(table.insert(), rows)


def payment(
    at: datetime, amount: int, *, type: str = "transfer", status: str = "finalized"
) -> dict[str, Any]:
    times = {"created_at": at, "updated_at": at}
    return {"id": uuid.uuid4(), "type": type, "status": status, "amount": amount, **times}


def hour(number: int) -> timedelta:
    return timedelta(hours=number)


async def test_payments_are_summed_up_by_bucket_and_no_sum_overflows(database: Database) -> None:
    start = database.clock.now()
    rows = [
        payment(start, HUGE),
        payment(start + hour(1) - timedelta(microseconds=1), HUGE, status="confirmed"),
        payment(start + hour(2), 7, type="reward"),
        payment(start + hour(2), 1, status="failed"),
        payment(start + hour(2), 1, status="pending"),
        payment(start + hour(2), 1, type="deposit"),
        payment(start + hour(3), 1),
        payment(start - timedelta(seconds=1), 1),
    ]
    await insert(database, token_transactions, rows)
    found = await payment_volume(database, since=start, until=start + hour(3), bucket_seconds=3_600)
    first = int(start.timestamp())
    assert found == [
        VolumeBucket(first, 2, 2 * HUGE),  # type: ignore[arg-type]
        VolumeBucket(first + 3_600, 0, 0),  # type: ignore[arg-type]
        VolumeBucket(first + 7_200, 1, 7),  # type: ignore[arg-type]
    ]


async def test_a_period_that_is_none_or_too_fine_is_refused(database: Database) -> None:
    now = database.clock.now()
    for since, bucket_seconds in (
        (now, 60),
        (now + hour(1), 60),
        (now - timedelta(seconds=MAX_BUCKETS + 1), 1),
    ):
        with pytest.raises(InvalidInputError):
            await payment_volume(database, since=since, until=now, bucket_seconds=bucket_seconds)


async def test_users_near_a_purchase_limit_are_found_the_nearest_first(database: Database) -> None:
    now = database.clock.now()

    def bought(user: str, count: int, maximum: int, *, state: str = "counted", age: int = 1) -> list[Any]:
        return [
            {
                "reservation_id": uuid.uuid4().hex,
                "user_id": user,
                "token_mint": "mint",
                "max_purchases": maximum,
                "state": state,
                "created_at": now - hour(age),
                "updated_at": now,
            }
            for _ in range(count)
        ]

    rows = bought("near", 9, 10) + bought("at", 3, 3) + bought("far", 8, 10)
    rows += bought("gone", 3, 3, age=30) + bought("taken-back", 3, 3, state="cancelled")
    await insert(database, token_purchases, rows)
    query = users_near_edge(now - hour(24), 90, 10)
    assert [row.user_id for row in await database.fetch(query)] == ["at", "near"]
    assert len(await database.fetch(users_near_edge(now - hour(24), 90, 1))) == 1
