"""Writes credit operations: many callers' operations decided and committed together, each on its own.

Owns the one way into the ledger. Operations that arrive while a commit runs share the next one: their
accounts are locked in one order and read at once, the book decides them one after another, and the rows
are written together. A refusal is an answer, so it undoes no neighbour.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.accounting.book import Book
from deal_sdk.accounting.commands import Command, LedgerEntry, OperationResult
from deal_sdk.accounting.journal_rows import Done, find_done, open_book, write_book
from deal_sdk.accounting.row_ids import RowIds
from deal_sdk.batching import Collector
from deal_sdk.errors import ConstraintError, DatabaseUnavailableError, IdempotencyConflictError
from deal_sdk.records import Database

logger = logging.getLogger(__name__)

MAX_OPERATIONS_PER_COMMIT: Final = 256
MAX_COMMITS_AT_ONCE: Final = 2
"""On PostgreSQL the next batch is read while one is being made durable; SQLite has a single writer."""

OBSERVER_TIMEOUT_SECONDS: Final = 2.0
"""What hangs longer is ended, because the next commit waits for it."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation that was decided, for those who watch the ledger."""

    command: Command
    result: OperationResult
    seconds: float
    """From the call to the commit."""
    entry: LedgerEntry | None = None
    """What it added to the user's account; it says of a hold that was posted what was taken for what."""


Observer = Callable[[Sequence[Operation]], Awaitable[None]]
"""Told of what was decided, after its commit; what it raises is logged and changes nothing."""

Decided = list[tuple[Command, OperationResult]]
Entries = dict[UUID | None, LedgerEntry]
"""What operations added to users' accounts, by its id."""


class Recorder(Protocol):
    """Writes what operations lead to elsewhere, in the transaction that makes them."""

    async def write(self, connection: AsyncConnection, decided: Decided, entries: Entries) -> None:
        """Write inside the transaction; it may be called again when the transaction has to be."""
        ...

    def committed(self) -> None:
        """Hear that what was written last is durable."""
        ...


Answer = OperationResult | BaseException
T = TypeVar("T")
Unit = Callable[[AsyncConnection, Book], Awaitable[tuple[T, Decided]]]
"""Work that decides operations itself; returns a value, and what it decided."""


@dataclass(frozen=True, slots=True)
class _Call:
    command: Command
    began_at_seconds: float


class Journal:
    """Decides operations in the order they come, and makes them durable in shared commits."""

    def __init__(
        self, database: Database, *, observers: Sequence[Observer] = (), recorder: Recorder | None = None
    ) -> None:
        """Keep the parts; nothing is read before the first operation.

        Args:
            database: where the ledger is.
            observers: told one after another after each commit, before the callers return.
            recorder: writes beside the operations, in their transaction.
        """
        self._database = database
        self._observers = list(observers)
        self._recorder = recorder
        self._ids = RowIds()
        self._closed = False
        self._collector: Collector[_Call, OperationResult] = Collector(
            self._commit,
            max_items=MAX_OPERATIONS_PER_COMMIT,
            max_in_flight=1 if database.dialect == "sqlite" else MAX_COMMITS_AT_ONCE,
        )

    def observe(self, observer: Observer) -> None:
        """Tell one more observer of every operation from now on."""
        self._observers.append(observer)

    async def run(self, command: Command) -> OperationResult:
        """Decide one operation, and return once its commit is durable.

        Cancelling the caller does not take the operation back.

        Raises:
            IdempotencyConflictError: the key was used with other input.
            DatabaseError: only after a lost commit is it open whether it was made; the same key tells.
        """
        return await self._collector.submit(self._call(command))

    async def run_many(self, commands: Sequence[Command]) -> list[OperationResult | Exception]:
        """Decide many operations, each on its own, and return their results in the same order.

        Returns:
            In each place the result, or the error that `run` would have raised.
        """
        found: list[OperationResult | Exception] = []
        for start in range(0, len(commands), MAX_OPERATIONS_PER_COMMIT):
            part = commands[start : start + MAX_OPERATIONS_PER_COMMIT]
            for future in [self._collector.put(self._call(command)) for command in part]:
                try:
                    found.append(await future)
                except Exception as error:
                    found.append(error)
        return found

    async def run_unit(self, commands: Sequence[Command], unit: Unit[T]) -> T:
        """Decide operations that depend on other rows, in a transaction which writes those rows as well.

        Args:
            commands: name the accounts that are locked and read before the unit runs.
            unit: reads what it needs under these locks, applies commands to the book, and writes its own
                rows, the book's before them by `write_book`; it may be run several times.

        Returns:
            What the unit returned beside the operations that it decided.

        Raises:
            DatabaseError: only after a lost commit is it open whether the unit was kept.
        """
        began_at_seconds = self._call(commands[0]).began_at_seconds

        async def work(connection: AsyncConnection) -> tuple[T, Decided, Entries]:
            now = self._database.clock.now()
            book = await open_book(connection, commands, now=now, ids=self._ids)
            value, decided = await unit(connection, book)
            decided = decided + (book.expiries if book.is_written else [])
            entries = _entries_of(book)
            await self._record(connection, decided, entries)
            return value, decided, entries

        try:
            value, decided, entries = await self._database.run(work)
        except ConstraintError:
            # Another process wrote the same key at this moment; now its row is seen.
            value, decided, entries = await self._database.run(work)
        calls = [_Call(command, began_at_seconds) for command, _ in decided]
        await self._tell(calls, [result for _, result in decided], entries)
        return value

    async def close(self) -> None:
        """Finish what was handed over."""
        self._closed = True
        await self._collector.close()

    def _call(self, command: Command) -> _Call:
        if self._closed:
            raise DatabaseUnavailableError("the ledger is closed")
        return _Call(command, self._database.clock.monotonic())

    async def _commit(self, calls: Sequence[_Call]) -> Sequence[Answer]:
        commands = [call.command for call in calls]
        try:
            answers, expired, entries = await self._database.run(
                lambda connection: self._unit(connection, commands)
            )
        except ConstraintError:
            # Another process used one of the keys at the same moment; by itself each finds out whose.
            alone = [await self._alone(command) for command in commands]
            answers = [answer for answer, _, _ in alone]
            expired = [one for _, found, _ in alone for one in found]
            entries = {identity: entry for _, _, made in alone for identity, entry in made.items()}
        now = self._database.clock.monotonic()
        lapsed = [_Call(command, now) for command, _ in expired]
        await self._tell([*calls, *lapsed], [*answers, *(result for _, result in expired)], entries)
        return answers

    async def _alone(self, command: Command) -> tuple[Answer, Decided, Entries]:
        for is_last in (False, True):
            try:
                answers, expired, entries = await self._database.run(
                    lambda connection: self._unit(connection, [command])
                )
                return answers[0], expired, entries
            except ConstraintError as error:
                if is_last:
                    return error, [], {}
            except Exception as error:
                return error, [], {}
        raise AssertionError("the second try returns")

    async def _unit(
        self, connection: AsyncConnection, commands: Sequence[Command]
    ) -> tuple[list[Answer], Decided, Entries]:
        now = self._database.clock.now()
        book = await open_book(connection, commands, now=now, ids=self._ids, all_lots=False)
        # After the locks: whoever held them may have used one of the keys.
        done = await find_done(connection, commands)
        answers = [_answer(book, done, command) for command in commands]
        await write_book(connection, self._database, book)
        entries = _entries_of(book)
        decided = [*zip(commands, answers, strict=True), *book.expiries]
        await self._record(connection, decided, entries)
        return answers, book.expiries, entries

    async def _record(
        self, connection: AsyncConnection, answers: Sequence[tuple[Command, Answer]], entries: Entries
    ) -> None:
        if self._recorder is not None:
            new = [
                (command, answer)
                for command, answer in answers
                if isinstance(answer, OperationResult) and not answer.replayed
            ]
            await self._recorder.write(connection, new, entries)

    async def _tell(self, calls: Sequence[_Call], answers: Sequence[Answer], entries: Entries) -> None:
        now = self._database.clock.monotonic()
        told = [
            Operation(call.command, answer, now - call.began_at_seconds, entries.get(answer.ledger_entry_id))
            for call, answer in zip(calls, answers, strict=True)
            if isinstance(answer, OperationResult) and not answer.replayed
        ]
        if self._recorder is not None:
            self._recorder.committed()
        for observer in self._observers:
            try:
                async with asyncio.timeout(OBSERVER_TIMEOUT_SECONDS):
                    await observer(told)
            except Exception:
                logger.exception("a callback after a commit of %d credit operations failed", len(told))


def _entries_of(book: Book) -> Entries:
    return {entry.id: entry for entry in book.entries if entry.user_id is not None}


def _answer(book: Book, done: dict[str, Done], command: Command) -> Answer:
    key = command.idempotency_key
    if key is None:
        return book.apply(command)
    known = done.get(key)
    if known is None:
        result = book.apply(command)
        if result.ledger_entry_id is not None or result.hold_id is not None:
            done[key] = Done(command.fingerprint, replace(result, replayed=True))
        return result
    if known.fingerprint != command.fingerprint:
        return IdempotencyConflictError(
            "this idempotency key was used for another operation", idempotency_key=key
        )
    if known.result.new_balance is None:
        # The entry is folded away, and what the balance was after it.
        return replace(known.result, new_balance=book.users[command.user_id].balance)
    return known.result
