"""Runs whole units of work on a thread of their own, one hop there and back for all their statements.

The asyncio driver crosses to its thread for every statement and again for its rows. While the event loop
is busy each crossing waits for the interpreter's lock, several times what the SQL itself takes.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.records._errors import translated, without_driver_cause

T = TypeVar("T")

_PREPARED_STATEMENTS: Final = 512
"""Inserts have one for each table and power of two of rows, so that the default of 128 would be full."""
Unit = Callable[[AsyncConnection], Coroutine[Any, Any, T]]
"""A re-runnable piece of pure SQL."""


@dataclass(slots=True)
class Stage:
    """How far a transaction came, for whoever has to say what an error leaves open."""

    committing: bool = False


def open_file(file: Path, busy_timeout_seconds: float) -> sqlite3.Connection:
    """Open a file with a connection whose every BEGIN is ours, and which may move between threads."""
    return sqlite3.connect(
        file,
        isolation_level=None,
        timeout=busy_timeout_seconds,
        check_same_thread=False,
        cached_statements=_PREPARED_STATEMENTS,
    )


class InlineConnection:
    """A connection whose statements are over when they return, in the shape of an asynchronous one.

    A unit of work is written once: here it runs from its start to its end without ever being suspended.
    """

    def __init__(self, connection: sa.Connection) -> None:
        """Run on a connection of the calling thread."""
        self._connection = connection

    @property
    def dialect(self) -> sa.Dialect:
        """Return what the database speaks."""
        return self._connection.dialect

    async def execute(self, statement: sa.Executable, parameters: Any = None) -> sa.CursorResult[Any]:
        """Run a statement, once for each set of parameters, and return its rows."""
        return cast("sa.CursorResult[Any]", self._connection.execute(statement, parameters))

    async def scalar(self, statement: sa.Executable, parameters: Any = None) -> Any:
        """Run a statement and return the first column of its first row."""
        return self._connection.scalar(statement, parameters)

    async def scalars(self, statement: sa.Executable, parameters: Any = None) -> sa.ScalarResult[Any]:
        """Run a statement and return the first column of its rows."""
        return self._connection.scalars(statement, parameters)

    async def exec_driver_sql(self, statement: str, parameters: Any = None) -> sa.CursorResult[Any]:
        """Run text as it is."""
        return self._connection.exec_driver_sql(statement, parameters)


class SqliteRunner:
    """A few threads, each with a connection of a synchronous engine while it runs a unit."""

    def __init__(self, engine: sa.Engine, *, begin: str, threads: int) -> None:
        """Take over an engine whose pool holds as many connections; nothing connects yet.

        Args:
            engine: whose connections may move between threads.
            begin: the statement that opens a transaction.
            threads: units that run at once, 1 or more.
        """
        self._engine = engine
        self._begin = begin
        self._executor = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="deal-sqlite")

    def start(self, unit: Unit[T], stage: Stage) -> asyncio.Future[T]:
        """Run a unit in a transaction of its own; a caller that gives up does not take it back.

        Args:
            unit: pure SQL, which waits for nothing else.
            stage: told when the commit begins.

        Raises:
            DatabaseError: through the future, as `Database.transaction` describes.
        """
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._executor, self._transact, unit, stage)

    async def close(self) -> None:
        """Finish what was started, then close the connections."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._end)

    def _end(self) -> None:
        self._executor.shutdown(wait=True)
        self._engine.dispose()

    def _transact(self, unit: Unit[T], stage: Stage) -> T:
        with translated():
            connection = self._engine.connect()
        with connection:
            with translated():
                transaction = connection.begin()
                connection.exec_driver_sql(self._begin)
            with without_driver_cause():
                result = _run_through(unit(cast(AsyncConnection, InlineConnection(connection))))
            stage.committing = True
            with translated():
                transaction.commit()
        return result


def _run_through(unit: Coroutine[Any, Any, T]) -> T:
    try:
        unit.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    unit.close()
    raise RuntimeError("a unit of work waits for something that is no SQL")
