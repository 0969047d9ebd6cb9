from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from deal_sdk.clock import ManualClock
from deal_sdk.errors import ConstraintError
from deal_sdk.records import Database
from deal_sdk.records.bulk import BulkInsert, Encoded
from deal_sdk.records.tables import token_transactions

NOW = datetime(2026, 1, 1, 12, 30, 15, 250_000, tzinfo=UTC)
VARYING = ("id", "idempotency_key", "amount", "reason", Encoded("instruction"))
COMMON = {"type": "reward", "status": "pending", "lease_owner": uuid4(), "created_at": NOW, "updated_at": NOW}
NAMES = ["id", "idempotency_key", "amount", "reason", "instruction", *COMMON]


@pytest.fixture
async def database(tmp_path):
    database = await Database.open(f"sqlite:///{tmp_path}/records.db", clock=ManualClock())
    yield database
    await database.close()


def row(key: str | None, *, amount: int = 2**62) -> tuple[UUID, str | None, int, str | None, str | None]:
    return uuid4(), key, amount, None, '{"kind": "transfer", "authority": "ä"}'


async def insert(database: Database, rows: list[Any]) -> None:
    bulk = BulkInsert(token_transactions, VARYING, list(COMMON))
    await database.run(lambda connection: bulk.run(connection, rows, COMMON))


async def test_rows_read_back_as_those_that_sqlalchemy_binds_itself(database):
    mine, theirs = row("mine"), row("theirs")
    await insert(database, [mine])
    values = dict(zip(NAMES, (*theirs, *COMMON.values()), strict=True))
    values["instruction"] = {"kind": "transfer", "authority": "ä"}
    await database.run(lambda connection: connection.execute(token_transactions.insert().values(values)))
    columns = [token_transactions.c[name] for name in NAMES if name not in ("id", "idempotency_key")]
    query = sa.select(*columns).order_by(token_transactions.c.idempotency_key)
    first, second = await database.fetch(query)
    assert first == second
    assert first.created_at == NOW
    found = await database.fetch(sa.select(token_transactions.c.id, token_transactions.c.amount))
    assert (mine[0], 2**62) in [tuple(one) for one in found]


@pytest.mark.parametrize("refused", [row("twice"), row("other", amount=0)])
async def test_one_row_that_is_refused_keeps_the_others_out(database, refused):
    with pytest.raises(ConstraintError):
        await insert(database, [row(None), row("twice"), refused])
    assert await database.fetch(sa.select(token_transactions.c.id)) == []


async def test_no_rows_are_no_statement(database):
    await insert(database, [])
