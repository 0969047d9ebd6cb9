"""Rows given as one value reach the rows that they name, each with its own values, on every database."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.records.database import Database
from deal_sdk.records.given_rows import given_rows
from deal_sdk.records.row_inserts import insert_rows
from deal_sdk.records.tables import Json, token_transactions

IDS = [uuid.UUID(int=number) for number in range(1, 5)]
COLUMNS: dict[str, Any] = {"id": sa.Uuid(), "slot": sa.BigInteger(), "reason": sa.Text(), "evidence": Json}
TEXT = 'quote " and \\ slash, ünïcode 💰'
EVIDENCE = {"error": {"InstructionError": [0, {"Custom": 2**53 + 1}]}, "none": None, "text": TEXT, "order": 1}


async def add_payments(database: Database) -> None:
    now = database.clock.now()
    common = {"type": "transfer", "status": "pending", "amount": 1, "created_at": now, "updated_at": now}
    rows = [{"id": payment_id} for payment_id in IDS]
    await database.run(lambda connection: insert_rows(connection, token_transactions, rows, common))


def update(database: Database) -> sa.Update:
    given = given_rows(database.dialect, "b_rows", COLUMNS)
    values = {name: given[name] for name in ("slot", "reason", "evidence")}
    return token_transactions.update().where(token_transactions.c.id == given["id"]).values(**values)


async def written(database: Database, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    async def unit(connection: AsyncConnection) -> None:
        await connection.execute(update(database), {"b_rows": rows})

    await database.run(unit)
    column = token_transactions.c
    query = sa.select(column.id, column.slot, column.reason, column.evidence).order_by(column.id)
    return [tuple(row) for row in await database.fetch(query)]


async def test_each_row_gets_its_own_values(database: Database) -> None:
    await add_payments(database)
    assert await written(database, [(IDS[0].hex, 2**63 - 1, TEXT, EVIDENCE), (IDS[2].hex, 7, None, {})]) == [
        (IDS[0], 2**63 - 1, TEXT, EVIDENCE),
        (IDS[1], None, None, None),
        (IDS[2], 7, None, {}),
        (IDS[3], None, None, None),
    ]


async def test_no_rows_change_nothing(database: Database) -> None:
    await add_payments(database)
    assert await written(database, []) == [(payment_id, None, None, None) for payment_id in IDS]


async def test_json_is_kept_as_it_is_inserted(database: Database) -> None:
    """What one way writes and the other way compares is the same text."""
    await add_payments(database)
    await written(database, [(IDS[0].hex, 1, None, EVIDENCE)])

    async def unit(connection: AsyncConnection) -> set[Any]:
        insert = {"id": uuid.UUID(int=9), "type": "transfer", "status": "pending", "amount": 1}
        now = database.clock.now()
        row = {**insert, "evidence": EVIDENCE, "created_at": now, "updated_at": now}
        await insert_rows(connection, token_transactions, [row])
        text = sa.cast(token_transactions.c.evidence, sa.Text)
        found = await connection.scalars(sa.select(text).where(token_transactions.c.evidence.is_not(None)))
        return set(found)

    assert len(await database.run(unit)) == 1
