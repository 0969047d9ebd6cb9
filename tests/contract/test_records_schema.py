"""Opening a database brings it to the schema that the code uses, or says why it does not."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from deal_sdk.clock import ManualClock
from deal_sdk.errors import DatabaseError, SchemaError
from deal_sdk.records import schema
from deal_sdk.records.database import Database
from deal_sdk.records.tables import metadata


async def set_revision(database: Database, revision: str) -> None:
    async with database.transaction() as connection:
        await connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")


class TestOpening:
    async def test_an_upgrade_of_a_current_database_changes_nothing(self, database: Database) -> None:
        await schema.upgrade(database)
        assert await schema.current_revision(database) == schema.HEAD_REVISION
        await schema.check_schema(database)

    async def test_two_databases_opened_at_once_are_upgraded_once(
        self, lasting_database_url: str, manual_clock: ManualClock
    ) -> None:
        opened = await asyncio.gather(
            *(Database.open(lasting_database_url, clock=manual_clock, migrate=True) for _ in range(3))
        )
        for database in opened:
            await schema.check_schema(database)
            await database.close()

    async def test_an_older_schema_that_may_not_be_upgraded_names_the_command(
        self, lasting_database_url: str, manual_clock: ManualClock
    ) -> None:
        with pytest.raises(SchemaError, match="dealctl db upgrade"):
            await Database.open(lasting_database_url, clock=manual_clock, migrate=False)
        opened = await Database.open(lasting_database_url, clock=manual_clock, migrate=True)
        await set_revision(opened, "0000")
        with pytest.raises(SchemaError, match="dealctl db upgrade"):
            await Database.open(lasting_database_url, clock=manual_clock, migrate=False)
        await opened.close()

    @pytest.mark.parametrize("migrate", [True, False, None])
    async def test_a_newer_schema_is_never_touched(
        self, lasting_database_url: str, manual_clock: ManualClock, migrate: bool | None
    ) -> None:
        opened = await Database.open(lasting_database_url, clock=manual_clock, migrate=True)
        await set_revision(opened, "9999")
        with pytest.raises(SchemaError, match="newer"):
            await Database.open(lasting_database_url, clock=manual_clock, migrate=migrate)
        with pytest.raises(SchemaError, match="newer"):
            await schema.upgrade(opened)
        assert await schema.current_revision(opened) == "9999"
        await opened.close()

    async def test_by_default_only_sqlite_is_upgraded(
        self, lasting_database_url: str, manual_clock: ManualClock
    ) -> None:
        if lasting_database_url.startswith("sqlite"):
            opened = await Database.open(lasting_database_url, clock=manual_clock)
            await schema.check_schema(opened)
            await opened.close()
        else:
            with pytest.raises(SchemaError, match="no schema yet"):
                await Database.open(lasting_database_url, clock=manual_clock)

    async def test_a_failed_upgrade_leaves_nothing(
        self, lasting_database_url: str, manual_clock: ManualClock
    ) -> None:
        # A table of a foreign program stands where the migration wants to make its own.
        opened = await Database.open(lasting_database_url, clock=manual_clock, migrate=True)
        async with opened.transaction() as connection:
            for table in reversed(metadata.sorted_tables):
                await connection.exec_driver_sql(f"DROP TABLE {table.name}")
            await connection.exec_driver_sql("DROP TABLE alembic_version")
            await connection.exec_driver_sql("CREATE TABLE users (a INTEGER)")
        with pytest.raises(DatabaseError, match="refused"):
            await schema.upgrade(opened)
        async with opened.reading() as connection:
            names = await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names())
        assert names == ["users"]
        await opened.close()
