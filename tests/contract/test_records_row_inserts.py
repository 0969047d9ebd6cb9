"""Rows inserted in bulk are those that the compiler would have inserted, on every database."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.errors import ConstraintError, DatabaseError
from deal_sdk.records.database import Database
from deal_sdk.records.row_inserts import add_new_rows, insert_new_rows, insert_rows
from deal_sdk.records.tables import payment_attempts, token_balance_history, token_transactions

TIME = datetime(2026, 11, 21, 12, 0, 0, 7, tzinfo=timezone(timedelta(hours=5, minutes=30)))


def payment(key: str | None, **values: Any) -> dict[str, Any]:
    return {
        "id": uuid.uuid4(),
        "idempotency_key": key,
        "type": "transfer",
        "status": "pending",
        "amount": 2**63 - 1,
        "instruction": {"kind": "transfer", "source": 'quoted " and ünïcode', "destination": None},
        "evidence": None,
        "created_at": TIME,
        "updated_at": TIME.astimezone(UTC),
        **values,
    }


def attempt(payment_id: uuid.UUID, **values: Any) -> dict[str, Any]:
    return {
        "payment_id": payment_id,
        "number": 1,
        "status": "signed",
        "signature": "5" * 88,
        "signed_bytes": bytes(range(256)),
        "last_valid_block_height": 7,
        "context_slot": 8,
        "created_at": TIME,
        "updated_at": TIME,
        **values,
    }


def change(sequence: int) -> dict[str, Any]:
    return {
        "token_account": "account",
        "sequence": sequence,
        "owner_address": "owner",
        "user_id": None,
        "signature": f"signature{sequence}",
        "slot": 2**40,
        "block_index": 1,
        "balance_before": 2**64 - 1,
        "balance_after": 0,
        "change": 1 - 2**64,
        "type": "transfer",
        "reason": None,
        "block_time": None,
        "created_at": TIME,
    }


async def stored_text(database: Database, table: sa.Table) -> list[tuple[Any, ...]]:
    """What the database holds, untouched by the types."""
    columns = ", ".join(column.name for column in table.columns if column.name != "id")

    async def unit(connection: AsyncConnection) -> list[tuple[Any, ...]]:
        rows = await connection.exec_driver_sql(f"SELECT {columns} FROM {table.name} ORDER BY 1, 2")
        return [tuple(row) for row in rows]

    return await database.read(unit)


class TestInsertRows:
    async def test_the_types_write_the_same_as_through_the_compiler(self, database: Database) -> None:
        parents = [payment("a"), payment("b")]
        attempts = [attempt(parents[0]["id"]), attempt(parents[1]["id"], evidence={"slot": 3, "nested": [1]})]

        async def plain(connection: AsyncConnection) -> None:
            for row in [*parents, *attempts, change(1)]:
                await connection.execute(table_of(row).insert(), row)

        async def clear(connection: AsyncConnection) -> None:
            for table in (payment_attempts, token_transactions, token_balance_history):
                await connection.execute(table.delete())

        async def bulk(connection: AsyncConnection) -> None:
            await insert_rows(connection, token_transactions, parents)
            for row in attempts:
                await insert_rows(connection, payment_attempts, [row])
            await insert_rows(connection, token_balance_history, [change(1)])

        stored = []
        for unit in (plain, bulk):
            await database.run(clear)
            await database.run(unit)
            stored.append(await read_all(database))
        assert stored[0] == stored[1]
        # JSON is stored as text on SQLite, whose spaces mean nothing.
        if database.dialect == "sqlite":
            history = await stored_text(database, token_balance_history)
            await database.run(clear)
            await database.run(plain)
            assert await stored_text(database, token_balance_history) == history

    async def test_what_rows_share_is_stored_with_each(self, database: Database) -> None:
        whole = [payment("a", lease_owner=uuid.UUID(int=7)), payment("b", lease_owner=uuid.UUID(int=7))]
        own = [{name: row[name] for name in ("id", "idempotency_key", "instruction")} for row in whole]
        common = {name: value for name, value in whole[0].items() if name not in own[0]}

        async def refill(connection: AsyncConnection, rows: list[dict[str, Any]], shared: Any) -> None:
            await connection.execute(token_transactions.delete())
            await insert_rows(connection, token_transactions, rows, shared)

        await database.run(lambda connection: refill(connection, whole, {}))
        stored = await read_all(database)
        await database.run(lambda connection: refill(connection, own, common))
        assert await read_all(database) == stored

    async def test_a_refused_row_says_which_rule_and_keeps_none(self, database: Database) -> None:
        rows = [payment("a"), payment("b", amount=0)]
        with pytest.raises(ConstraintError) as refused:
            await database.run(lambda connection: insert_rows(connection, token_transactions, rows))
        assert refused.value.facts["constraint"] == "ck_token_transactions_amount"
        assert await stored_text(database, token_transactions) == []

    async def test_a_time_without_a_zone_is_refused(self, database: Database) -> None:
        rows = [payment("a", created_at=datetime(2026, 1, 1))]
        with pytest.raises(DatabaseError):
            await database.run(lambda connection: insert_rows(connection, token_transactions, rows))

    async def test_no_rows_are_no_statement(self, database: Database) -> None:
        await database.run(lambda connection: insert_rows(connection, token_transactions, []))
        assert await stored_text(database, token_transactions) == []


class TestInsertNewRows:
    async def test_only_rows_whose_key_is_free_go_in_and_are_told(self, database: Database) -> None:
        first, again, keyless, other = payment("a"), payment("a"), payment(None), payment(None)

        async def insert(connection: AsyncConnection, *rows: dict[str, Any]) -> set[Any]:
            return await insert_new_rows(
                connection, token_transactions, rows, key="id", unless="idempotency_key"
            )

        assert await database.run(lambda connection: insert(connection, first, keyless)) == {
            first["id"],
            keyless["id"],
        }
        assert await database.run(lambda connection: insert(connection, again, other)) == {other["id"]}
        assert await database.run(insert) == set()
        assert len(await stored_text(database, token_transactions)) == 3

    async def test_twice_in_one_call_goes_in_once(self, database: Database) -> None:
        first, again = payment("a"), payment("a")

        async def unit(connection: AsyncConnection) -> set[Any]:
            rows = [first, again]
            return await insert_new_rows(
                connection, token_transactions, rows, key="id", unless="idempotency_key"
            )

        assert await database.run(unit) == {first["id"]}

    async def test_more_rows_than_one_statement_takes(self, database: Database) -> None:
        taken = [payment(f"key{number}") for number in range(0, 299, 13)]
        rows = [payment(f"key{number}") for number in range(299)]

        async def insert(connection: AsyncConnection, rows: list[dict[str, Any]]) -> set[Any]:
            return await insert_new_rows(
                connection, token_transactions, rows, key="id", unless="idempotency_key"
            )

        await database.run(lambda connection: insert(connection, taken))
        new = {row["id"] for number, row in enumerate(rows) if number % 13}
        assert await database.run(lambda connection: insert(connection, rows)) == new
        assert len(await stored_text(database, token_transactions)) == 299

    async def test_a_transaction_of_the_callers_own_is_the_same(self, database: Database) -> None:
        first, again = payment("a"), payment("a")
        async with database.transaction() as connection:
            rows = [first, again]
            new = await insert_new_rows(
                connection, token_transactions, rows, key="id", unless="idempotency_key"
            )
            await insert_rows(connection, payment_attempts, [attempt(first["id"])])
        assert new == {first["id"]}
        assert len(await stored_text(database, payment_attempts)) == 1


class TestAddNewRows:
    async def test_only_rows_whose_key_is_free_go_in(self, database: Database) -> None:
        async def add(connection: AsyncConnection, *rows: dict[str, Any]) -> None:
            await add_new_rows(connection, token_transactions, rows, unless="idempotency_key")

        await database.run(lambda connection: add(connection, payment("a"), payment("b"), payment("a")))
        before = await stored_text(database, token_transactions)
        await database.run(lambda connection: add(connection, payment("b"), payment("a")))
        assert await stored_text(database, token_transactions) == before
        async with database.transaction() as connection:
            await add(connection, payment("a"), payment(None), payment(None))
        assert len(before) == 2
        assert len(await stored_text(database, token_transactions)) == 4

    async def test_a_refused_row_keeps_none(self, database: Database) -> None:
        async def unit(connection: AsyncConnection) -> None:
            rows = [payment("a"), payment("b", amount=0)]
            await add_new_rows(connection, token_transactions, rows, unless="idempotency_key")

        with pytest.raises(ConstraintError):
            await database.run(unit)
        assert await stored_text(database, token_transactions) == []


def table_of(row: dict[str, Any]) -> sa.Table:
    if "sequence" in row:
        return token_balance_history
    return payment_attempts if "payment_id" in row else token_transactions


async def read_all(database: Database) -> list[list[tuple[Any, ...]]]:
    tables = (token_transactions, payment_attempts, token_balance_history)
    found = []
    for table in tables:
        columns = [column for column in table.columns if column.name != "id" or table is token_transactions]
        rows = await database.fetch(sa.select(*columns).order_by(columns[0], columns[1]))
        found.append([tuple(row) for row in rows])
    return found
