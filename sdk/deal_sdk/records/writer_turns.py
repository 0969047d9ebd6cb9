"""The turns of SQLite's one writer: units that wait for it share its next transaction, and so its commit.

A commit waits for the disk, whatever it holds. Each unit has a savepoint, so that one that fails undoes
nothing of its neighbours; nobody is told of success before the commit that all of them share.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.batching import Collector
from deal_sdk.errors import DatabaseBusyError, DatabaseUnavailableError
from deal_sdk.records.sqlite_runner import SqliteRunner, Stage, Unit

T = TypeVar("T")

MAX_UNITS_PER_TURN: Final = 16
"""Most units write a batch of their own already: a few of them share a commit, and none waits long."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    unit: Unit[Any]
    stage: Stage


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a unit returned or raised, in a box, because either may be an exception."""

    value: Any = None
    error: Exception | None = None


class WriterTurns:
    """Runs units on the writer, together with whatever else waits for it."""

    def __init__(self, runner: SqliteRunner, turn: asyncio.Lock, *, check: Callable[[], None]) -> None:
        """Share a runner.

        Args:
            runner: writes; nothing is started before the first `run`.
            turn: held while it writes; others that write to the file hold it too.
            check: raises when the database is closed by the time that it is a unit's turn.
        """
        self._runner = runner
        self._turn = turn
        self._check = check
        self._waiting: Collector[_Waiting, _Outcome] = Collector(
            self._take_turn, max_items=MAX_UNITS_PER_TURN
        )

    async def run(self, unit: Unit[T], stage: Stage) -> T:
        """Run a unit and return its result once it is committed; a caller that gives up takes nothing back.

        Args:
            unit: pure SQL that may be run a second time where its transaction was not committed.
            stage: told when the commit begins.

        Raises:
            DatabaseError: as `SqliteRunner.start`; or what the unit raised, which left nothing behind.
        """
        outcome = await self._waiting.submit(_Waiting(unit, stage))
        if outcome.error is not None:
            raise outcome.error
        result: T = outcome.value
        return result

    async def close(self) -> None:
        """Finish what was submitted."""
        await self._waiting.close()

    async def _take_turn(self, waiting: Sequence[_Waiting]) -> list[_Outcome]:
        if len(waiting) == 1:
            return [await self._alone(waiting[0])]
        shared = Stage()
        try:
            return await self._write(lambda connection: _run_apart(connection, waiting), shared)
        except Exception as error:
            if shared.committing or isinstance(error, DatabaseBusyError | DatabaseUnavailableError):
                for each in waiting:
                    each.stage.committing = shared.committing
                return [_Outcome(error=error)] * len(waiting)
        # The transaction was lost before its commit, by a full disk, say: alone, each shows its own error.
        return [await self._alone(each) for each in waiting]

    async def _alone(self, waiting: _Waiting) -> _Outcome:
        try:
            return _Outcome(await self._write(waiting.unit, waiting.stage))
        except Exception as error:
            return _Outcome(error=error)

    async def _write(self, unit: Unit[T], stage: Stage) -> T:
        await self._turn.acquire()
        try:
            self._check()
            running = self._runner.start(unit, stage)
        except BaseException:
            self._turn.release()
            raise
        # The turn ends with the work, not with whoever waits, who may be cancelled meanwhile.
        running.add_done_callback(lambda _: self._turn.release())
        return await asyncio.shield(running)


async def _run_apart(connection: AsyncConnection, waiting: Sequence[_Waiting]) -> list[_Outcome]:
    """Run units one after another in one transaction, each within a savepoint of its own."""
    outcomes = []
    for each in waiting:
        await connection.exec_driver_sql("SAVEPOINT unit")
        try:
            outcomes.append(_Outcome(await each.unit(connection)))
        except (DatabaseBusyError, DatabaseUnavailableError):
            raise  # says nothing of the unit: the transaction as a whole is lost
        except Exception as error:
            await connection.exec_driver_sql("ROLLBACK TO unit")
            outcomes.append(_Outcome(error=error))
        await connection.exec_driver_sql("RELEASE unit")
    return outcomes
