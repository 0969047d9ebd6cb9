"""A new database is made at once, and equals one that went through every migration."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command

from deal_sdk.clock import ManualClock
from deal_sdk.records import schema
from deal_sdk.records.database import Database
from deal_sdk.records.engines import create_migration_engines
from deal_sdk.records.location import parse_database_url
from tests.contract.schema_account import account_of

Run = Callable[[Callable[[sa.Connection], Any]], Awaitable[Any]]


@pytest.fixture
async def bare(lasting_database_url: str) -> AsyncIterator[Run]:
    """Runs a function on a connection to the database, which has nothing in it yet."""
    engines = create_migration_engines(parse_database_url(lasting_database_url), wait_seconds=2.0)

    async def run(work: Callable[[sa.Connection], Any]) -> Any:
        async with engines.writer.begin() as connection:
            return await connection.run_sync(work)

    yield run
    await engines.dispose()


@pytest.fixture
def upgrades(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The upgrades that Alembic was asked for."""
    asked: list[str] = []
    original = command.upgrade

    def upgrade(configuration: Any, revision: str) -> None:
        asked.append(revision)
        original(configuration, revision)

    monkeypatch.setattr(command, "upgrade", upgrade)
    return asked


def go_to(revision: str) -> Callable[[sa.Connection], None]:
    def work(connection: sa.Connection) -> None:
        configuration = schema.alembic_configuration()
        configuration.attributes["connection"] = connection
        command.upgrade(configuration, revision)

    return work


async def opened_account(url: str, clock: ManualClock) -> set[str]:
    database = await Database.open(url, clock=clock, migrate=True)
    try:
        return await account_of(database)
    finally:
        await database.close()


def drop_everything(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    else:
        for table in sa.inspect(connection).get_table_names():
            connection.exec_driver_sql(f"DROP TABLE {table}")


async def test_a_made_database_equals_a_migrated_one(
    bare: Run, lasting_database_url: str, manual_clock: ManualClock
) -> None:
    made = await opened_account(lasting_database_url, manual_clock)
    await bare(drop_everything)
    await bare(go_to("head"))
    migrated = await opened_account(lasting_database_url, manual_clock)
    assert made - migrated == set()
    assert migrated - made == set()
    assert any("uq_payment_attempts_live" in line and "WHERE" in line for line in made)
    assert f"row: alembic_version: [('version_num', '{schema.HEAD_REVISION}')]" in made
    assert sum(line.startswith("row: credit_accounts") for line in made) == 3


async def test_an_empty_database_needs_no_migration(
    lasting_database_url: str, manual_clock: ManualClock, upgrades: list[str]
) -> None:
    made = await opened_account(lasting_database_url, manual_clock)
    assert await opened_account(lasting_database_url, manual_clock) == made
    assert upgrades == []


@pytest.mark.parametrize("foreign", ["alembic_version (version_num VARCHAR(32))", "notes (a INTEGER)"])
async def test_any_table_leads_through_the_migrations(
    bare: Run, lasting_database_url: str, manual_clock: ManualClock, upgrades: list[str], foreign: str
) -> None:
    await bare(lambda connection: connection.exec_driver_sql(f"CREATE TABLE {foreign}"))
    account = await opened_account(lasting_database_url, manual_clock)
    assert upgrades == ["head"]
    assert f"row: alembic_version: [('version_num', '{schema.HEAD_REVISION}')]" in account


async def test_an_older_database_is_migrated_and_keeps_what_it_holds(
    bare: Run, lasting_database_url: str, manual_clock: ManualClock, upgrades: list[str]
) -> None:
    await bare(go_to("0001"))
    note = "INSERT INTO deal_meta (key, value) VALUES ('note', 'kept')"
    await bare(lambda connection: connection.exec_driver_sql(note))
    account = await opened_account(lasting_database_url, manual_clock)
    assert upgrades == ["0001", "head"]
    assert "row: deal_meta: [('key', 'note'), ('value', 'kept')]" in account
