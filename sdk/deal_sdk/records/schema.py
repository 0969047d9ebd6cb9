"""Brings a database's schema to this package's version, and refuses one that it does not know.

An empty database gets the current schema at once; every other one goes through the migrations, which are
numbered 0001, 0002, ... in one line, so that "older" and "newer" can be told apart. Alembic works
through module globals and blocks; it therefore runs in a thread, on a connection of its own, one upgrade
at a time in this process. Upgrades of several processes queue in the database.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.errors import SchemaError
from deal_sdk.records._errors import translated
from deal_sdk.records.creation import VERSION_TABLE, create_current, is_empty
from deal_sdk.records.engines import create_migration_engines
from deal_sdk.records.location import DatabaseLocation

if TYPE_CHECKING:
    from deal_sdk.records.database import Database

HEAD_REVISION: Final = "0027"
"""The newest migration; repeated here so that opening a current database needs no Alembic."""

_ADVISORY_LOCK_KEY: Final = 0x6465616C  # "deal"
_WAIT_SECONDS: Final = 60.0
_one_upgrade: Final = threading.Lock()


async def prepare(database: Database, *, migrate: bool) -> None:
    """Make a database that was just opened usable, or say why it is not.

    Args:
        database: the one to look at.
        migrate: upgrade it when it is older.

    Raises:
        SchemaError: it is newer than the package, or older and may not be upgraded.
    """
    revision = await current_revision(database)
    if migrate and (revision is None or revision < HEAD_REVISION):
        await upgrade(database)
    else:
        _check(revision)


async def check_schema(database: Database) -> None:
    """Refuse a database whose schema is not this package's.

    Raises:
        SchemaError: with the revision found and the one expected.
    """
    _check(await current_revision(database))


async def current_revision(database: Database) -> str | None:
    """Return the number of the newest migration that the database has, or None when it has none."""
    async with database.reading() as connection:
        return await connection.run_sync(_read_revision)


async def upgrade(database: Database) -> None:
    """Apply the migrations that are missing, or make the schema of an empty database, all or nothing.

    Raises:
        SchemaError: the database is newer than the package.
        DatabaseBusyError: another upgrade or a writer kept the lock for a minute.
    """
    await asyncio.to_thread(_upgrade_in_thread, database.location)


def _check(revision: str | None) -> None:
    if revision == HEAD_REVISION:
        return
    facts = {"revision": revision, "expected": HEAD_REVISION}
    if revision is None or revision < HEAD_REVISION:
        found = "has no schema yet" if revision is None else f"has schema {revision}"
        raise SchemaError(
            f"the database {found}, this version needs {HEAD_REVISION}: run `dealctl db upgrade`", **facts
        )
    raise SchemaError(
        f"the database has schema {revision}, newer than this version's {HEAD_REVISION}: upgrade deal-sdk",
        **facts,
    )


def _read_revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    revision: str | None = connection.exec_driver_sql(
        f"SELECT max(version_num) FROM {VERSION_TABLE}"
    ).scalar()
    return revision


def _upgrade_in_thread(location: DatabaseLocation) -> None:
    with _one_upgrade:
        asyncio.run(_upgrade(location))


async def _upgrade(location: DatabaseLocation) -> None:
    engines = create_migration_engines(location, wait_seconds=_WAIT_SECONDS)
    try:
        with translated():
            async with engines.writer.connect() as connection, connection.begin():
                await _take_upgrade_lock(connection, location)
                await connection.run_sync(_apply)
    finally:
        await engines.dispose()


async def _take_upgrade_lock(connection: AsyncConnection, location: DatabaseLocation) -> None:
    if location.dialect == "sqlite":
        await connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK_KEY)))


def _apply(connection: sa.Connection) -> None:
    revision = _read_revision(connection)
    if revision == HEAD_REVISION:
        return
    if revision is not None and revision > HEAD_REVISION:
        _check(revision)
    if is_empty(connection):
        create_current(connection, HEAD_REVISION)
        return
    from alembic import command

    configuration = alembic_configuration()
    configuration.attributes["connection"] = connection
    command.upgrade(configuration, "head")
    if connection.dialect.name == "sqlite":
        _check_foreign_keys(connection)


def _check_foreign_keys(connection: sa.Connection) -> None:
    # They are not enforced while tables are rebuilt, so they are proven before the commit.
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if broken is not None:
        raise SchemaError(f"the upgrade would break a foreign key of {broken[0]}", table=broken[0])


def alembic_configuration() -> Any:
    """Return Alembic's configuration for the migrations that ship in this package."""
    from alembic.config import Config

    configuration = Config()
    # A per cent sign in the path would be read as an interpolation.
    location = str(Path(__file__).with_name("migrations")).replace("%", "%%")
    configuration.set_main_option("script_location", location)
    configuration.set_main_option("path_separator", "os")
    return configuration
