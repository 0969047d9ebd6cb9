"""How SQLite finds the rows that settling changes: each by its key, however many payments are open."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.payments.changes import AttemptEnd
from deal_sdk.payments.settlement import end_statements
from deal_sdk.records import Database


async def plan_of(database: Database, statement: sa.Update) -> list[str]:
    async def unit(connection: AsyncConnection) -> list[str]:
        # How many states there are to start from is written into the text with each execution.
        text = re.sub(r"__\[POSTCOMPILE_\w+\]", "?, ?", str(statement.compile(dialect=connection.dialect)))
        nothing = ("[]",) * text.count("?")
        rows = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", nothing)
        return [row.detail for row in rows]

    return await database.read(unit)


@pytest.mark.parametrize("end", end_statements("sqlite"))
async def test_every_row_is_found_by_its_key(database: Database, end: AttemptEnd) -> None:
    for statement in end_statements("sqlite")[end]:
        plan = await plan_of(database, statement)
        searched = [
            step for step in plan if step.startswith(f"SEARCH {statement.entity_description['name']} ")
        ]
        assert len(searched) == 1, plan
        assert "=?)" in searched[0] or "=? AND number=?)" in searched[0], plan
        assert "status=?" not in searched[0], plan
        # Of what is given every row is looked at once, before the row that it names.
        assert plan.index(searched[0]) == (0 if "b_ids" in str(statement) else 1), plan
