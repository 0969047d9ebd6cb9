"""What is particular to SQLite: files, locks of other programs, durability and ephemeral databases."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

import deal_sdk
from deal_sdk.clock import ManualClock
from deal_sdk.errors import DatabaseBusyError, DatabaseError, DatabaseUnavailableError
from deal_sdk.records.database import Database
from deal_sdk.records.tables import deal_meta

BUSY_TIMEOUT_SECONDS = 0.2
COMMITS_BEFORE_THE_KILL = 20

WRITER = """
import asyncio, sys
import sqlalchemy as sa
from deal_sdk.clock import SystemClock
from deal_sdk.records.database import Database
from deal_sdk.records.tables import deal_meta

async def main():
    database = await Database.open(sys.argv[1], clock=SystemClock())
    number = 0
    while True:
        number += 1
        async def unit(connection):
            for half in ("a", "b"):
                await connection.execute(sa.insert(deal_meta).values(key=f"{number}{half}", value="x"))
        await (database.run if number % 2 else database.write)(unit)
        print(number, flush=True)

asyncio.run(main())
"""


async def put(connection: AsyncConnection) -> None:
    await connection.execute(sa.insert(deal_meta).values(key="key", value="x"))


async def pragma(database: Database, name: str, *, writing: bool) -> object:
    async with database.transaction() if writing else database.reading() as connection:
        # The first read is what looks at the file again.
        await connection.execute(sa.select(deal_meta.c.key))
        return (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "deal.db"


class TestFiles:
    async def test_the_promised_pragmas_are_set(self, file: Path) -> None:
        database = await Database.open(f"sqlite:///{file}", clock=ManualClock())
        for writing in (True, False):
            assert await pragma(database, "journal_mode", writing=writing) == "wal"
            assert await pragma(database, "synchronous", writing=writing) == 2
            assert await pragma(database, "foreign_keys", writing=writing) == 1
        assert await pragma(database, "query_only", writing=True) == 0
        assert await pragma(database, "query_only", writing=False) == 1
        await database.close()

    async def test_an_empty_file_becomes_a_database(self, file: Path) -> None:
        await asyncio.to_thread(file.touch)
        database = await Database.open(f"sqlite:///{file}", clock=ManualClock())
        await database.run(put)
        await database.close()

    async def test_a_directory_that_is_missing(self, tmp_path: Path) -> None:
        with pytest.raises(DatabaseUnavailableError):
            await Database.open(f"sqlite:///{tmp_path / 'missing' / 'deal.db'}", clock=ManualClock())

    async def test_a_file_that_is_no_database_is_left_as_it_is(self, file: Path) -> None:
        content = b"these are my holiday notes, not a database. " * 50
        await asyncio.to_thread(file.write_bytes, content)
        with pytest.raises(DatabaseError, match="not a database"):
            await Database.open(f"sqlite:///{file}", clock=ManualClock())
        assert await asyncio.to_thread(file.read_bytes) == content

    async def test_a_path_with_signs_that_urls_and_templates_use(self, tmp_path: Path) -> None:
        file = tmp_path / "100% deal #1.db"
        database = await Database.open(f"sqlite:///{file}", clock=ManualClock())
        await database.run(put)
        await database.close()
        assert file.exists()


class TestLocks:
    async def test_another_programs_lock_ends_in_a_busy_error_within_bounded_time(self, file: Path) -> None:
        url = f"sqlite:///{file}"
        database = await Database.open(url, clock=ManualClock(), busy_timeout_seconds=BUSY_TIMEOUT_SECONDS)
        holder = sqlite3.connect(file, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        for write in (database.run, database.write):
            with pytest.raises(DatabaseBusyError):
                await write(put)
        assert time.monotonic() - started < 50 * BUSY_TIMEOUT_SECONDS
        async with database.reading() as connection:
            assert (await connection.execute(sa.select(deal_meta))).all() == []
        holder.execute("COMMIT")
        holder.close()
        await database.run(put)
        await database.close()

    async def test_a_lock_that_is_given_up_in_time_is_waited_for(self, file: Path) -> None:
        database = await Database.open(f"sqlite:///{file}", clock=ManualClock(), busy_timeout_seconds=30)
        holder = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        holder.execute("BEGIN IMMEDIATE")
        writer = asyncio.create_task(database.run(put))
        reader_saw: list[object] = []
        async with database.reading() as connection:
            reader_saw += (await connection.execute(sa.select(deal_meta))).all()
        assert not writer.done()
        holder.execute("COMMIT")
        holder.close()
        await writer
        assert reader_saw == []
        await database.close()

    async def test_a_current_database_opens_while_another_program_writes(self, file: Path) -> None:
        url = f"sqlite:///{file}"
        await (await Database.open(url, clock=ManualClock())).close()
        holder = sqlite3.connect(file, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        database = await Database.open(url, clock=ManualClock(), busy_timeout_seconds=BUSY_TIMEOUT_SECONDS)
        holder.execute("ROLLBACK")
        holder.close()
        await database.run(put)
        await database.close()


class TestDurability:
    def test_what_was_committed_survives_a_kill_and_nothing_is_half_there(self, file: Path) -> None:
        package_parent = str(Path(deal_sdk.__file__).parents[1])
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, f"sqlite:///{file}"],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": package_parent},
            text=True,
        )
        assert writer.stdout is not None
        try:
            acknowledged = [int(writer.stdout.readline()) for _ in range(COMMITS_BEFORE_THE_KILL)]
        finally:
            writer.send_signal(signal.SIGKILL)
            rest = writer.stdout.read()
            writer.stdout.close()
            writer.wait()
        acknowledged += [int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")]
        keys = asyncio.run(self._keys(file))
        for number in acknowledged:
            assert {f"{number}a", f"{number}b"} <= keys
        assert len(keys) % 2 == 0
        assert len(keys) // 2 - len(acknowledged) in (0, 1)

    async def _keys(self, file: Path) -> set[str]:
        database = await Database.open(f"sqlite:///{file}", clock=ManualClock())
        async with database.reading() as connection:
            keys = set(await connection.scalars(sa.select(deal_meta.c.key)))
            assert (await connection.exec_driver_sql("PRAGMA integrity_check")).scalar() == "ok"
        await database.close()
        return keys


class TestThreads:
    async def test_no_thread_of_the_driver_outlives_the_database(self, file: Path, tmp_path: Path) -> None:
        before = set(threading.enumerate())
        with pytest.raises(DatabaseUnavailableError):
            await Database.open(f"sqlite:///{tmp_path / 'missing' / 'deal.db'}", clock=ManualClock())
        database = await Database.open(f"sqlite:///{file}", clock=ManualClock())
        for steps in range(20):
            writer = asyncio.create_task(database.run(put))
            for _ in range(steps):
                await asyncio.sleep(0)
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
        await database.close()
        left = [thread for thread in set(threading.enumerate()) - before if "asyncio" not in thread.name]
        assert left == []


class TestEphemeral:
    async def test_it_is_private_and_vanishes_with_close(self) -> None:
        first, second = [await Database.open("sqlite://", clock=ManualClock()) for _ in range(2)]
        assert first.ephemeral
        await first.run(put)
        async with second.reading() as connection:
            assert (await connection.execute(sa.select(deal_meta))).all() == []
        directory = Path(str(first.location.url.database)).parent
        assert directory.exists()
        await first.close()
        await second.close()
        assert not directory.exists()

    async def test_an_open_that_fails_leaves_no_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[Database] = []

        async def fail(database: Database, *, migrate: bool) -> None:
            made.append(database)
            raise DatabaseError("refused")

        monkeypatch.setattr("deal_sdk.records.schema.prepare", fail)
        with pytest.raises(DatabaseError):
            await Database.open("sqlite://", clock=ManualClock())
        assert not Path(str(made[0].location.url.database)).parent.exists()
