"""Migrations lead to the schema that the code uses, on every database, from whatever was there."""

from __future__ import annotations

import asyncio
import re

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from deal_sdk.clock import ManualClock
from deal_sdk.errors import DatabaseError, SchemaError
from deal_sdk.records import schema
from deal_sdk.records.database import Database
from deal_sdk.records.tables import metadata


async def set_revision(database: Database, revision: str) -> None:
    async with database.transaction() as connection:
        await connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")


class TestMigrations:
    async def test_they_make_the_tables_that_the_code_declares(self, database: Database) -> None:
        def differences(connection: sa.Connection) -> list[object]:
            context = MigrationContext.configure(
                connection, opts={"compare_type": True, "compare_server_default": True}
            )
            return list(compare_metadata(context, metadata))

        async with database.reading() as connection:
            assert await connection.run_sync(differences) == []

    async def test_they_make_the_checks_and_partial_indexes_too(self, database: Database) -> None:
        migrated = await rules(database)
        async with database.transaction() as connection:
            await connection.run_sync(metadata.drop_all)
            await connection.run_sync(metadata.create_all)
        assert migrated == await rules(database)
        assert any("uq_payment_attempts_live" in rule and "WHERE" in rule for rule in migrated)

    async def test_an_upgrade_of_a_current_database_changes_nothing(self, database: Database) -> None:
        await schema.upgrade(database)
        assert await schema.current_revision(database) == schema.HEAD_REVISION
        await schema.check_schema(database)


async def rules(database: Database) -> set[str]:
    """Return what the database says of every rule and index, as it words them itself."""
    if database.dialect == "sqlite":
        statement = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND tbl_name <> 'alembic_version'"
    else:
        statement = (
            "SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)"
            " FROM pg_constraint WHERE conrelid::regclass::text <> 'alembic_version'"
            " UNION SELECT indexdef FROM pg_indexes"
            " WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
        )
    async with database.reading() as connection:
        texts = [str(text) for (text,) in await connection.exec_driver_sql(statement)]
    # The order of a table's columns and rules is no part of its schema, nor is the quoting of a name that
    # a change of the table leaves behind.
    return {part.strip().replace('"', "") for text in texts for part in re.split(r"[,\n]", text)}


class TestOpening:
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
