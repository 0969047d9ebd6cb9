"""Opens the SQL database and runs units of work on it: single transactions and shared commits.

A unit of work is an async function of a connection that holds nothing but SQL, so that it can be run
again from the start when the database asks for that.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from deal_sdk.batching import Collector
from deal_sdk.clock import Clock
from deal_sdk.errors import DatabaseBusyError, DatabaseUnavailableError
from deal_sdk.records import schema
from deal_sdk.records._errors import translated, without_driver_cause
from deal_sdk.records.engines import Engines, create_engines
from deal_sdk.records.location import DatabaseLocation, Dialect, parse_database_url
from deal_sdk.records.sqlite_runner import Stage, Unit

logger = logging.getLogger(__name__)

Row: TypeAlias = sa.Row[*tuple[Any, ...]]
T = TypeVar("T")
DEFAULT_BUSY_TIMEOUT_SECONDS: Final = 5.0
DEFAULT_POOL_SIZE: Final = 10
MAX_UNITS_PER_COMMIT: Final = 200
MAX_ATTEMPTS: Final[Mapping[Dialect, int]] = {"sqlite": 2, "postgresql": 5}
"""SQLite has waited its whole busy timeout by then; PostgreSQL tells of a deadlock after a second."""
_POSTGRESQL_BATCHES_IN_FLIGHT: Final = 4


@dataclass(frozen=True, slots=True)
class _Submission:
    unit: Unit[Any]
    lock_key: str


@dataclass(frozen=True, slots=True)
class _Done:
    """A unit's result in a box, so that a result that happens to be an exception is not raised."""

    value: Any


class Database:
    """The SQL database behind every record; SQLite and PostgreSQL behave the same through it."""

    def __init__(
        self,
        location: DatabaseLocation,
        engines: Engines,
        *,
        clock: Clock,
        directory: tempfile.TemporaryDirectory[str] | None = None,
    ) -> None:
        """Take over engines that are ready; `open` is the way to get a database."""
        self.location = location
        self._engines = engines
        self._clock = clock
        self._directory = directory
        self._refuses_units = False
        self._closed = False
        self._writer_turn = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()
        self._collector: Collector[_Submission, _Done] = Collector(
            self._commit_together,
            max_items=MAX_UNITS_PER_COMMIT,
            max_in_flight=1 if location.dialect == "sqlite" else _POSTGRESQL_BATCHES_IN_FLIGHT,
        )

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        clock: Clock,
        migrate: bool | None = None,
        pool_size: int = DEFAULT_POOL_SIZE,
        busy_timeout_seconds: float = DEFAULT_BUSY_TIMEOUT_SECONDS,
    ) -> Database:
        """Connect, and make sure that the schema is this package's.

        Args:
            url: see `parse_database_url`. The empty `sqlite+aiosqlite://` is an ephemeral database: a
                temporary file, deleted by `close`. It is no `:memory:` database, because those have a
                single connection, on which readers would wait for writers and see their unfinished work.
            clock: stamps rows and times retries.
            migrate: upgrade an older schema; by default only on SQLite, which nobody else administers.
            pool_size: connections to PostgreSQL, 1 or more.
            busy_timeout_seconds: how long one statement waits for another's lock.

        Raises:
            ConfigurationError: a URL that cannot be used.
            SchemaError: an older schema that may not be upgraded here, or a newer one.
            DatabaseUnavailableError: no connection.
        """
        location = parse_database_url(url)
        directory: tempfile.TemporaryDirectory[str] | None = None
        if location.ephemeral:
            directory = tempfile.TemporaryDirectory(prefix="deal-", ignore_cleanup_errors=True)
            file = Path(directory.name) / "deal.db"
            location = replace(location, url=location.url.set(database=str(file)))
        engines = create_engines(location, busy_timeout_seconds=busy_timeout_seconds, pool_size=pool_size)
        database = cls(location, engines, clock=clock, directory=directory)
        try:
            await schema.prepare(
                database, migrate=location.dialect == "sqlite" if migrate is None else migrate
            )
        except BaseException:
            await database.close()
            raise
        return database

    @property
    def dialect(self) -> Dialect:
        """Return which database this is."""
        return self.location.dialect

    @property
    def ephemeral(self) -> bool:
        """Return whether the database vanishes with `close`."""
        return self.location.ephemeral

    @property
    def clock(self) -> Clock:
        """Return the clock that stamps rows, so that all records share one."""
        return self._clock

    @property
    def queue_depth(self) -> int:
        """Return how many units wait for a shared commit."""
        return self._collector.depth

    async def close(self) -> None:
        """Finish the units that were submitted, then close every connection; safe to call twice."""
        if self._refuses_units:
            return
        self._refuses_units = True
        await self._collector.close()
        self._closed = True
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self._engines.dispose()
        if self._directory is not None:
            await asyncio.to_thread(self._directory.cleanup)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Open a write transaction that commits at the end of the block and rolls back on any error.

        On SQLite it begins IMMEDIATE: what it reads cannot change before it writes. Writers of this
        process queue for it in order instead of spinning on the file's lock.

        Raises:
            DatabaseBusyError: another process kept the lock, or the transaction collided with another.
            ConstraintError: a rule of the database refused a row.
            DatabaseUnavailableError: the connection was lost; only if that happened while committing
                is it open whether the work was kept.
            DatabaseError: any other refusal.
        """
        turn: AbstractAsyncContextManager[Any] = (
            self._writer_turn if self.dialect == "sqlite" else nullcontext()
        )
        begin = "BEGIN IMMEDIATE" if self.dialect == "sqlite" else None
        async with turn, self._begun(self._engines.writer, begin) as connection:
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Open a read-only snapshot: every statement in the block sees the same moment."""
        begin = "BEGIN" if self.dialect == "sqlite" else None
        async with self._begun(self._engines.reader, begin) as connection:
            yield connection

    async def read(self, unit: Unit[T]) -> T:
        """Run one unit on a read-only snapshot; of several ways to read, the one for busy paths.

        Args:
            unit: pure SQL that only reads.
        """
        runner = self._engines.read_runner
        if runner is None:
            async with self.reading() as connection:
                return await unit(connection)
        self._refuse_when_closed()
        return await asyncio.shield(runner.start(unit, Stage()))

    async def fetch(self, query: sa.Executable) -> Sequence[Row]:
        """Return every row of one query."""

        async def unit(connection: AsyncConnection) -> Sequence[Row]:
            return (await connection.execute(query)).all()

        return await self.read(unit)

    async def run(self, unit: Unit[T]) -> T:
        """Run one unit in a write transaction of its own, again from the start after a collision.

        It is also run again, once, when the connection was lost before the commit. There is no pause
        between attempts: the database has already made the loser wait.

        Args:
            unit: pure SQL that may be run several times; only its last run is kept.

        Raises:
            DatabaseBusyError: after as many attempts as `MAX_ATTEMPTS` allows.
            DatabaseError: what else the database refused; see `transaction`.
        """
        attempt = 1
        while True:
            stage = Stage()
            try:
                return await self._run_once(unit, stage)
            except DatabaseBusyError as error:
                if attempt >= MAX_ATTEMPTS[self.dialect]:
                    raise
                logger.info("attempt %d of a transaction collided: %s", attempt, error.message)
            except DatabaseUnavailableError as error:
                if stage.committing or attempt > 1:
                    raise
                # Before the commit was sent nothing can have been kept; a pooled connection may have
                # died unnoticed, and the next one is fresh.
                logger.info("a transaction lost its connection: %s", error.message)
            attempt += 1

    async def write(self, unit: Unit[T], *, lock_key: str = "") -> T:
        """Run one unit in a commit that it shares with all units submitted at the same time.

        The units run one after another on one connection, then one commit makes all of them durable.
        When one raises, the transaction is rolled back and each unit is run again by itself, so that a
        refusal undoes no neighbour. That is correct but slow: a refusal that is to be expected should be
        returned, not raised (`ON CONFLICT ... DO NOTHING` with `RETURNING` tells it without an error).

        Cancelling the caller does not take the unit back; it is run, or not, with its batch.

        Args:
            unit: pure SQL that may be run several times; only its last run is kept.
            lock_key: the row that the unit locks for long, such as a token account. Units of a batch run in
                the order of their keys, so that two batches on PostgreSQL never wait for each other.

        Raises:
            DatabaseError: as `run`; after a lost commit it is open whether the unit was kept.
        """
        if self._refuses_units:
            raise DatabaseUnavailableError("the database is closed")
        done = await self._collector.submit(_Submission(unit, lock_key))
        result: T = done.value
        return result

    def insert(self, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
        """Return the dialect's INSERT, which knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
        return sqlite.insert(table) if self.dialect == "sqlite" else postgresql.insert(table)

    async def _run_once(self, unit: Unit[T], stage: Stage) -> T:
        runner = self._engines.write_runner
        if runner is None:
            async with self.transaction() as connection:
                result = await unit(connection)
                stage.committing = True
            return result
        await self._writer_turn.acquire()
        try:
            self._refuse_when_closed()
            running = runner.start(unit, stage)
        except BaseException:
            self._writer_turn.release()
            raise
        # The turn ends with the work, not with the caller, who may be cancelled meanwhile.
        running.add_done_callback(lambda _: self._writer_turn.release())
        return await asyncio.shield(running)

    @asynccontextmanager
    async def _begun(self, engine: AsyncEngine, begin: str | None) -> AsyncIterator[AsyncConnection]:
        self._refuse_when_closed()
        with translated():
            connection = await engine.connect()
        try:
            with translated():
                transaction = await connection.begin()
                if begin is not None:
                    await connection.exec_driver_sql(begin)
            with without_driver_cause():
                yield connection
            with translated():
                await transaction.commit()
        finally:
            await self._give_back(connection)

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise DatabaseUnavailableError("the database is closed")

    async def _give_back(self, connection: AsyncConnection) -> None:
        # Closing rolls back what was not committed. A caller that is cancelled meanwhile must not take
        # the connection with it: the pool would count it as in use for ever.
        closing = asyncio.create_task(self._close_connection(connection))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        with translated():
            await asyncio.shield(closing)

    async def _close_connection(self, connection: AsyncConnection) -> None:
        if self._closed:
            # The pool is gone already; a connection handed back to it would stay open unseen.
            await connection.invalidate()
        await connection.close()

    async def _commit_together(self, batch: Sequence[_Submission]) -> Sequence[_Done | BaseException]:
        if len(batch) > 1:
            try:
                return await self.run(lambda connection: _run_in_lock_order(connection, batch))
            except _UnitRaisedError:
                logger.debug("a unit of %d raised; each is run by itself", len(batch))
        return [await self._outcome(submission) for submission in batch]

    async def _outcome(self, submission: _Submission) -> _Done | BaseException:
        try:
            return _Done(await self.run(submission.unit))
        except Exception as error:
            return error


class _UnitRaisedError(Exception):
    """One unit of a batch raised; which one does not matter, as each is run again by itself."""


async def _run_in_lock_order(connection: AsyncConnection, batch: Sequence[_Submission]) -> list[_Done]:
    results: dict[int, _Done] = {}
    for position in sorted(range(len(batch)), key=lambda position: batch[position].lock_key):
        try:
            results[position] = _Done(await batch[position].unit(connection))
        except (DatabaseBusyError, DatabaseUnavailableError):
            raise  # says nothing of the unit: the transaction as a whole is lost
        except Exception as error:
            raise _UnitRaisedError from error
    return [results[position] for position in range(len(batch))]
