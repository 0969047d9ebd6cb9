"""PostgreSQL that dies, deadlocks or refuses: typed errors, nothing half recorded, and work goes on after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.clock import ManualClock
from deal_sdk.errors import DatabaseUnavailableError
from deal_sdk.records.database import Database
from deal_sdk.records.tables import deal_meta
from tests.servers import PostgresServer, free_port

pytestmark = pytest.mark.postgres


@pytest.fixture
async def database(postgres_url: str, manual_clock: ManualClock) -> AsyncIterator[Database]:
    opened = await Database.open(postgres_url, clock=manual_clock, migrate=True, pool_size=5)
    yield opened
    await opened.close()


async def put(connection: AsyncConnection, key: str) -> None:
    await connection.execute(sa.insert(deal_meta).values(key=key, value="0"))


async def stored_keys(database: Database) -> set[str]:
    async with database.reading() as connection:
        return set(await connection.scalars(sa.select(deal_meta.c.key)))


async def fill_pool(database: Database) -> None:
    async def hold(barrier: asyncio.Barrier) -> None:
        async with database.reading() as connection:
            await connection.scalar(sa.select(1))
            await barrier.wait()

    barrier = asyncio.Barrier(5)
    await asyncio.gather(*(hold(barrier) for _ in range(5)))


class TestLostConnections:
    # The server is started from the main thread: it is ended with the thread that started it.

    async def test_a_terminated_backend_loses_its_transaction_alone(self, database: Database) -> None:
        async with database.reading() as killer:
            with pytest.raises(DatabaseUnavailableError):
                await self._write_and_be_killed(database, killer)
        await database.run(lambda connection: put(connection, "next"))
        assert await stored_keys(database) == {"next"}

    async def _write_and_be_killed(self, database: Database, killer: AsyncConnection) -> None:
        async with database.transaction() as connection:
            await put(connection, "lost")
            backend = await connection.scalar(sa.select(sa.func.pg_backend_pid()))
            await killer.execute(sa.select(sa.func.pg_terminate_backend(backend)))
            await put(connection, "lost too")

    async def test_a_server_that_crashes_mid_transaction_and_comes_back(
        self, database: Database, postgres_server: PostgresServer
    ) -> None:
        await fill_pool(database)

        async def crash(connection: AsyncConnection) -> None:
            await put(connection, "lost")
            postgres_server.crash()
            await put(connection, "lost too")

        for write in (database.run, database.write):
            with pytest.raises(DatabaseUnavailableError):
                await write(crash)
            for use in (database.run, database.write):
                with pytest.raises(DatabaseUnavailableError):
                    await use(lambda connection: put(connection, "while down"))
            with pytest.raises(DatabaseUnavailableError):
                await stored_keys(database)
            postgres_server.start()
            assert await stored_keys(database) == set()
        await database.run(lambda connection: put(connection, "after"))
        assert await stored_keys(database) == {"after"}

    async def test_a_restart_while_nobody_uses_the_pool_is_not_noticed(
        self, database: Database, postgres_server: PostgresServer
    ) -> None:
        await fill_pool(database)
        postgres_server.stop()
        postgres_server.start()
        await database.run(lambda connection: put(connection, "after"))
        assert await stored_keys(database) == {"after"}

    async def test_no_server_is_a_typed_error_without_the_password(self, manual_clock: ManualClock) -> None:
        secret = "pa55word-of-the-treasury"
        url = f"postgresql://deal:{secret}@127.0.0.1:{free_port()}/deal"
        with pytest.raises(DatabaseUnavailableError) as caught:
            await Database.open(url, clock=manual_clock)
        assert_hides(caught.value, secret)

    async def test_a_database_that_does_not_exist(self, postgres_url: str, manual_clock: ManualClock) -> None:
        secret = "pa55word-of-the-treasury"
        url = sa.make_url(postgres_url).set(database="not_there", password=secret)
        with pytest.raises(DatabaseUnavailableError) as caught:
            await Database.open(url.render_as_string(hide_password=False), clock=manual_clock)
        assert_hides(caught.value, secret)


class TestLostCommits:
    async def test_a_connection_lost_while_committing_is_not_tried_again(
        self, database: Database, postgres_server: PostgresServer
    ) -> None:
        runs = 0

        async def unit(connection: AsyncConnection) -> None:
            nonlocal runs
            runs += 1
            await put(connection, f"run {runs}")
            # The transaction looks whole to the unit; its commit is what finds the server gone.
            postgres_server.crash()

        with pytest.raises(DatabaseUnavailableError):
            await database.run(unit)
        assert runs == 1
        postgres_server.start()
        assert await stored_keys(database) == set()

    async def test_a_connection_lost_before_the_commit_is_replaced_once(self, database: Database) -> None:
        runs = 0

        async def unit(connection: AsyncConnection) -> None:
            nonlocal runs
            runs += 1
            await put(connection, f"run {runs}")
            if runs == 1:
                backend = await connection.scalar(sa.select(sa.func.pg_backend_pid()))
                async with database.reading() as killer:
                    await killer.execute(sa.select(sa.func.pg_terminate_backend(backend)))
                await put(connection, "never reached")

        await database.run(unit)
        assert await stored_keys(database) == {"run 2"}


class TestDeadlocks:
    async def test_units_that_lock_each_other_both_succeed(self, database: Database) -> None:
        await database.run(lambda connection: put(connection, "a"))
        await database.run(lambda connection: put(connection, "b"))
        first_runs = asyncio.Barrier(2)
        waited: set[str] = set()

        def add_in_order(*keys: str) -> Any:
            async def unit(connection: AsyncConnection) -> None:
                for key in keys:
                    counter = deal_meta.c.key == key
                    found = await connection.scalar(
                        sa.select(deal_meta.c.value).where(counter).with_for_update()
                    )
                    values = {"value": str(int(found or "") + 1)}
                    await connection.execute(sa.update(deal_meta).where(counter).values(values))
                    if keys[0] not in waited:
                        waited.add(keys[0])
                        await first_runs.wait()

            return unit

        await asyncio.gather(database.run(add_in_order("a", "b")), database.run(add_in_order("b", "a")))
        async with database.reading() as connection:
            assert set(await connection.scalars(sa.select(deal_meta.c.value))) == {"2"}


def assert_hides(error: BaseException, secret: str) -> None:
    current: BaseException | None = error
    while current is not None:
        assert secret not in f"{current} {current!r} {getattr(current, 'facts', '')}"
        current = current.__cause__ or current.__context__
