"""Units that wait for SQLite's writer share a commit, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.clock import ManualClock
from deal_sdk.errors import ConstraintError, DatabaseBusyError, DatabaseError, DatabaseUnavailableError
from deal_sdk.records.database import Database
from deal_sdk.records.sqlite_runner import SqliteRunner, Stage, Unit
from deal_sdk.records.tables import deal_meta


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    opened = await Database.open("sqlite+aiosqlite://", clock=ManualClock())
    yield opened
    await opened.close()


class Starts:
    """Counts the writer's transactions, and breaks the next one when it is told to."""

    def __init__(self, writer: SqliteRunner | None, monkeypatch: pytest.MonkeyPatch) -> None:
        self._writer = writer
        self.count = 0
        self.error: Exception | None = None
        self.after_commit = False
        self._start = SqliteRunner.start
        monkeypatch.setattr(SqliteRunner, "start", lambda runner, *work: self._begin(runner, *work))

    def _begin(self, runner: SqliteRunner, unit: Unit[Any], stage: Stage) -> asyncio.Future[Any]:
        if runner is not self._writer:
            return self._start(runner, unit, stage)
        self.count += 1
        if self.error is None:
            return self._start(runner, unit, stage)
        error, self.error = self.error, None
        if self.after_commit:
            return asyncio.ensure_future(self._break_after(runner, unit, stage, error))
        broken: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        broken.set_exception(error)
        return broken

    async def _break_after(
        self, runner: SqliteRunner, unit: Unit[Any], stage: Stage, error: Exception
    ) -> None:
        await self._start(runner, unit, stage)
        raise error


@pytest.fixture
def starts(database: Database, monkeypatch: pytest.MonkeyPatch) -> Starts:
    return Starts(database._engines.write_runner, monkeypatch)


def put(key: str) -> Unit[str]:
    async def unit(connection: AsyncConnection) -> str:
        await connection.execute(sa.insert(deal_meta).values(key=key, value="0"))
        return key

    return unit


async def refuse(connection: AsyncConnection) -> str:
    await put("half done")(connection)
    raise ValueError("refused")


async def keys(database: Database) -> set[str]:
    rows = await database.fetch(sa.select(deal_meta.c.key).where(deal_meta.c.value == "0"))
    return {row.key for row in rows}


async def run_all(database: Database, *units: Unit[str]) -> list[str | BaseException]:
    return await asyncio.gather(*(database.run(unit) for unit in units), return_exceptions=True)


class TestWriterTurns:
    async def test_units_that_wait_share_one_transaction(self, database: Database, starts: Starts) -> None:
        found = await run_all(database, *map(put, ("a", "b", "c")))
        assert (found, starts.count) == (["a", "b", "c"], 1)
        assert await keys(database) == {"a", "b", "c"}

    async def test_a_unit_that_raises_undoes_itself_alone(self, database: Database, starts: Starts) -> None:
        found = await run_all(database, put("a"), refuse, put("a"), put("b"))
        assert [type(each) for each in found] == [str, ValueError, ConstraintError, str]
        assert starts.count == 1
        assert await keys(database) == {"a", "b"}

    async def test_what_a_neighbour_wrote_is_seen(self, database: Database, starts: Starts) -> None:
        async def count(connection: AsyncConnection) -> int:
            return int(await connection.scalar(sa.select(sa.func.count()).where(deal_meta.c.key == "a")))

        assert await asyncio.gather(database.run(put("a")), database.run(count)) == ["a", 1]

    async def test_a_transaction_lost_before_its_commit_is_run_unit_by_unit(
        self, database: Database, starts: Starts
    ) -> None:
        starts.error = DatabaseError("the disk is full")
        assert await run_all(database, put("a"), put("b")) == ["a", "b"]
        assert starts.count == 3

    @pytest.mark.parametrize("lost", [DatabaseBusyError("locked"), DatabaseUnavailableError("gone")])
    async def test_a_lost_lock_or_connection_is_tried_again_together(
        self, database: Database, starts: Starts, lost: DatabaseError
    ) -> None:
        starts.error = lost
        assert await run_all(database, put("a"), put("b")) == ["a", "b"]
        assert starts.count == 2

    async def test_after_a_lost_commit_nobody_is_run_again(self, database: Database, starts: Starts) -> None:
        starts.error, starts.after_commit = DatabaseUnavailableError("gone"), True
        found = await run_all(database, put("a"), put("b"))
        assert [type(each) for each in found] == [DatabaseUnavailableError] * 2
        assert starts.count == 1

    async def test_a_caller_that_gives_up_takes_nothing_back(self, database: Database) -> None:
        async with database.transaction():
            given_up = asyncio.create_task(database.run(put("a")))
            waiting = asyncio.create_task(database.run(put("b")))
            await asyncio.sleep(0)
            given_up.cancel()
            await asyncio.gather(given_up, return_exceptions=True)
        assert await waiting == "b"
        assert await keys(database) == {"a", "b"}

    async def test_no_more_than_the_bound_share_a_turn(self, database: Database, starts: Starts) -> None:
        await run_all(database, *(put(str(number)) for number in range(40)))
        assert starts.count == 3
