"""Packed queries return what the query itself returns, on every database."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import sqlalchemy as sa

from deal_sdk.records.among import among, list_parameter
from deal_sdk.records.database import Database
from deal_sdk.records.packed_rows import PackedQuery
from deal_sdk.records.row_inserts import insert_rows
from deal_sdk.records.tables import token_balance_history, token_transactions

IDS = [uuid.UUID(int=number) for number in range(1, 4)]
TIME = datetime(2026, 11, 21, 12, 0, 0, 7, tzinfo=UTC)
PLAN = {"kind": "transfer", "source": 'quote " and ünïcode 💰', "list": [1, None, {"deep": True}]}

payment = token_transactions.c
PAYMENTS = PackedQuery(
    sa.select(payment.id, payment.amount, payment.reason, payment.instruction, payment.created_at).where(
        among(payment.id, list_parameter("b_ids", payment.id)), payment.status.in_(("pending", "confirmed"))
    )
)


async def add_payments(database: Database) -> None:
    common = {"type": "transfer", "status": "pending", "created_at": TIME, "updated_at": TIME}
    rows = [
        {"id": IDS[0], "amount": 2**63 - 1, "reason": None, "instruction": PLAN},
        {"id": IDS[1], "amount": 2**53 + 1, "reason": 'a "reason"\n', "instruction": None},
        {"id": IDS[2], "amount": 1, "reason": "", "instruction": {}},
    ]
    await database.run(lambda connection: insert_rows(connection, token_transactions, rows, common))


async def rows_of(database: Database, ids: list[uuid.UUID]) -> list[tuple[object, ...]]:
    found = await database.read(lambda connection: PAYMENTS.rows(connection, {"b_ids": ids}))
    return sorted(tuple(row) for row in found)


async def test_every_type_comes_back_as_it_went_in(database: Database) -> None:
    await add_payments(database)
    assert await rows_of(database, IDS[:2]) == [
        (IDS[0], 2**63 - 1, None, PLAN, TIME),
        (IDS[1], 2**53 + 1, 'a "reason"\n', None, TIME),
    ]


async def test_none_that_match_are_no_rows(database: Database) -> None:
    await add_payments(database)
    assert await rows_of(database, []) == []
    assert await rows_of(database, [uuid.uuid4()]) == []


async def test_balances_beyond_bigint_are_exact(database: Database) -> None:
    change = {
        "token_account": "account",
        "sequence": 1,
        "owner_address": "owner",
        "signature": "signature",
        "slot": 1,
        "block_index": 0,
        "balance_before": 2**64 - 1,
        "balance_after": 0,
        "change": 1 - 2**64,
        "type": "transfer",
        "created_at": TIME,
    }
    await database.run(lambda connection: insert_rows(connection, token_balance_history, [change]))
    column = token_balance_history.c
    query = PackedQuery(sa.select(column.balance_before, column.change))
    found = await database.read(lambda connection: query.rows(connection, {}))
    assert [tuple(row) for row in found] == [(2**64 - 1, 1 - 2**64)]
