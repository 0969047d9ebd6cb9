"""Builds the SQLAlchemy engines, with every pragma and pool setting that the promises rest on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, Final
from uuid import UUID

import aiosqlite
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool, QueuePool

from deal_sdk.records._errors import on_statement_error
from deal_sdk.records.location import DatabaseLocation
from deal_sdk.records.sqlite_runner import SqliteRunner, open_file

_SQLITE_CACHE_KIBIBYTES: Final = 16_384
_SQLITE_MAX_READERS: Final = 4
_POSTGRESQL_CONNECT_TIMEOUT_SECONDS: Final = 10.0
_POSTGRESQL_COMMAND_TIMEOUT_SECONDS: Final = 60.0
_POOL_TIMEOUT_SECONDS: Final = 30.0
_THREAD_END_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Engines:
    """Where writes go and where reads go; on PostgreSQL both share one pool."""

    writer: AsyncEngine
    reader: AsyncEngine
    threads: SqliteThreads | None = None
    write_runner: SqliteRunner | None = None
    read_runner: SqliteRunner | None = None

    async def dispose(self) -> None:
        """Close every pooled connection and wait until its thread, if it has one, is gone.

        Nothing is waited for while a caller still holds a connection: its thread ends when it comes back.
        """
        for runner in (self.write_runner, self.read_runner):
            if runner is not None:
                await runner.close()
        held = any(_in_use(engine) for engine in (self.writer, self.reader))
        await self.writer.dispose()
        await self.reader.dispose()
        if self.threads is not None and not held:
            await self.threads.join()


class SqliteThreads:
    """Connects to one file and remembers the driver's threads, one to a connection.

    The driver does not wait for the thread of a connection that failed or was cut off. Such a thread
    would report to an event loop that may be closed by then, and hold the file a little longer.
    """

    def __init__(self, file: str, *, busy_timeout_seconds: float) -> None:
        """Keep what to connect to; the file's place does not move with the working directory."""
        self._file = Path(file).absolute()
        self._busy_timeout_seconds = busy_timeout_seconds
        self._threads: set[Thread] = set()

    async def connect(self) -> aiosqlite.Connection:
        """Open a connection whose every BEGIN is ours.

        The driver's own comes only before the first change, so that what a transaction read earlier
        could be stale.
        """
        connection = aiosqlite.connect(
            self._file, isolation_level=None, timeout=self._busy_timeout_seconds, check_same_thread=False
        )
        thread: Thread = connection._thread
        thread.daemon = True
        self._threads = {known for known in self._threads if known.is_alive()} | {thread}
        return await connection

    async def join(self) -> None:
        """Return once every thread has ended, at the latest after the longest wait for a lock."""
        for thread in self._threads:
            if thread.is_alive():
                await asyncio.to_thread(thread.join, self._busy_timeout_seconds + _THREAD_END_SECONDS)


def create_engines(location: DatabaseLocation, *, busy_timeout_seconds: float, pool_size: int) -> Engines:
    """Make the engines; nothing connects yet.

    Args:
        location: the database; for an ephemeral one its URL must name the temporary file by now.
        busy_timeout_seconds: how long a statement waits for another's lock.
        pool_size: connections to PostgreSQL; SQLite has one writer and a few readers.
    """
    if location.dialect == "sqlite":
        threads = SqliteThreads(str(location.url.database), busy_timeout_seconds=busy_timeout_seconds)
        readers = min(pool_size, _SQLITE_MAX_READERS)
        writer = _sqlite_engine(location, threads, pool_size=1, query_only=False)
        reader = _sqlite_engine(location, threads, pool_size=readers, query_only=True)
        return Engines(
            writer,
            reader,
            threads,
            _sqlite_runner(location, busy_timeout_seconds, threads=1, query_only=False),
            _sqlite_runner(location, busy_timeout_seconds, threads=readers, query_only=True),
        )
    engine = create_async_engine(
        location.url,
        connect_args=_postgresql_arguments(busy_timeout_seconds),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=_POOL_TIMEOUT_SECONDS,
        hide_parameters=True,
    )
    _listen(engine.sync_engine)
    sa.event.listen(engine.sync_engine, "connect", _return_plain_uuids)
    sa.event.listen(engine.sync_engine, "checkout", _refuse_closed_connection)
    snapshot = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return Engines(engine, snapshot)


def create_migration_engines(location: DatabaseLocation, *, wait_seconds: float) -> Engines:
    """Make an engine for one schema change, outside every pool.

    SQLite's foreign keys stay off on it: a table that is rebuilt is dropped on the way, which would
    otherwise count as deleting its rows.
    """
    if location.dialect == "sqlite":
        threads = SqliteThreads(str(location.url.database), busy_timeout_seconds=wait_seconds)
        engine = _sqlite_engine(location, threads, pool_size=None, query_only=False, foreign_keys=False)
        return Engines(engine, engine, threads)
    engine = create_async_engine(
        location.url,
        connect_args=_postgresql_arguments(wait_seconds),
        poolclass=NullPool,
        hide_parameters=True,
    )
    _listen(engine.sync_engine)
    return Engines(engine, engine)


def _sqlite_engine(
    location: DatabaseLocation,
    threads: SqliteThreads,
    *,
    pool_size: int | None,
    query_only: bool,
    foreign_keys: bool = True,
) -> AsyncEngine:
    pool: dict[str, Any] = (
        {"poolclass": NullPool}
        if pool_size is None
        else {"pool_size": pool_size, "max_overflow": 0, "pool_timeout": _POOL_TIMEOUT_SECONDS}
    )
    engine = create_async_engine(
        location.url,
        async_creator=threads.connect,
        hide_parameters=True,
        **pool,
    )
    _set_pragmas(engine.sync_engine, location, query_only=query_only, foreign_keys=foreign_keys)
    _listen(engine.sync_engine)
    return engine


def _sqlite_runner(
    location: DatabaseLocation, busy_timeout_seconds: float, *, threads: int, query_only: bool
) -> SqliteRunner:
    file = Path(str(location.url.database)).absolute()
    engine = sa.create_engine(
        "sqlite://",
        creator=lambda: open_file(file, busy_timeout_seconds),
        poolclass=QueuePool,
        pool_size=threads,
        max_overflow=0,
        hide_parameters=True,
    )
    _set_pragmas(engine, location, query_only=query_only, foreign_keys=True)
    _listen(engine)
    return SqliteRunner(engine, begin="BEGIN" if query_only else "BEGIN IMMEDIATE", threads=threads)


def _set_pragmas(
    engine: sa.Engine, location: DatabaseLocation, *, query_only: bool, foreign_keys: bool
) -> None:
    pragmas = [
        f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}",
        f"PRAGMA synchronous = {'OFF' if location.ephemeral else 'FULL'}",
        f"PRAGMA cache_size = -{_SQLITE_CACHE_KIBIBYTES}",
        "PRAGMA query_only = ON" if query_only else "PRAGMA journal_mode = WAL",
    ]

    def prepare(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()

    sa.event.listen(engine, "connect", prepare)


def _in_use(engine: AsyncEngine) -> bool:
    pool = engine.pool
    return isinstance(pool, QueuePool) and pool.checkedout() > 0


def _postgresql_arguments(lock_timeout_seconds: float) -> dict[str, Any]:
    return {
        "timeout": _POSTGRESQL_CONNECT_TIMEOUT_SECONDS,
        "command_timeout": max(_POSTGRESQL_COMMAND_TIMEOUT_SECONDS, lock_timeout_seconds * 2),
        "server_settings": {
            "application_name": "deal_sdk",
            "lock_timeout": f"{int(lock_timeout_seconds * 1000)}ms",
        },
    }


def _listen(engine: sa.Engine) -> None:
    sa.event.listen(engine, "handle_error", on_statement_error)


def _return_plain_uuids(connection: Any, _record: object) -> None:
    # asyncpg's own UUID is a subclass, which orjson refuses to write.
    async def set_codec(driver_connection: Any) -> None:
        await driver_connection.set_type_codec(
            "uuid",
            schema="pg_catalog",
            encoder=lambda value: value.bytes,
            decoder=lambda value: UUID(bytes=bytes(value)),
            format="binary",
        )

    connection.run_async(set_codec)


def _refuse_closed_connection(connection: Any, _record: object, _proxy: object) -> None:
    # The driver hears of a server that went away as soon as the socket closes: asking it costs no
    # round trip, which a ping before every use would. The pool then connects anew.
    if connection.driver_connection.is_closed():
        raise sa.exc.DisconnectionError("the server closed this connection")
