"""Inserts many rows of one table at once, on SQLite past the SQL compiler.

Binding row by row what the compiler was told column by column takes longer than SQLite takes to store it.
Many rows go in one statement: with each of its steps SQLite leaves the interpreter's lock and comes back for
it, and under load the event loop has it by then.
What a statement means does not differ: values are written as the table's own types write them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from types import MappingProxyType
from typing import Any, Final, TypeAlias
from uuid import UUID

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.records._errors import translate
from deal_sdk.records.array_rows import insert_arrays
from deal_sdk.records.sqlite_runner import InlineConnection
from deal_sdk.records.tables import UtcDateTime

Row: TypeAlias = Mapping[str, Any]
_Process: TypeAlias = Callable[[Any], Any]

_SQLITE: Final = sqlite.dialect()
_VALUES_PER_STATEMENT: Final = 5_000
_MAX_ROWS_PER_STATEMENT: Final = 128
_MAX_PARAMETERS: Final = 32_766
"""SQLite's own bound since version 3.32."""
_TIME_TEXT_LENGTH: Final = len("2026-01-01 00:00:00.000000")


async def insert_rows(
    connection: AsyncConnection, table: sa.Table, rows: Sequence[Row], common: Row = MappingProxyType({})
) -> None:
    """Insert rows, all of them or none.

    Args:
        connection: of a write transaction.
        table: theirs; columns that they do not name take the database's defaults.
        rows: by column name, every one with the same columns.
        common: what all rows have, which is converted once.

    Raises:
        DatabaseError: as the database refuses them.
    """
    if not rows:
        return
    if isinstance(connection, InlineConnection):
        await _write(connection, table, rows, "", common)
        return
    if connection.dialect.name == "postgresql":
        await insert_arrays(connection, table, [{**row, **common} for row in rows] if common else rows)
        return
    await connection.execute(table.insert(), [{**row, **common} for row in rows])


async def insert_new_rows(
    connection: AsyncConnection, table: sa.Table, rows: Sequence[Row], *, key: str, unless: str
) -> set[Any]:
    """Insert the rows whose value in one column is not there yet, and tell which went in.

    Args:
        connection: of a write transaction.
        table: theirs.
        rows: by column name, every one with the same columns.
        key: the column to tell them by, in which their values are new.
        unless: the unique column that decides; null is always new.

    Returns:
        The keys of those that went in.
    """
    if not rows:
        return set()
    if not isinstance(connection, InlineConnection):
        insert = _insert_of(connection, table).on_conflict_do_nothing(index_elements=[unless])
        return set((await connection.execute(insert.returning(table.c[key]), rows)).scalars())
    count = await _write(connection, table, rows, _unless_there(unless))
    keys = [row[key] for row in rows]
    if count == len(rows):
        return set(keys)
    found: set[Any] = set()
    for start in range(0, len(keys), _VALUES_PER_STATEMENT):
        chosen = table.c[key].in_(keys[start : start + _VALUES_PER_STATEMENT])
        found.update(await connection.scalars(sa.select(table.c[key]).where(chosen)))
    return found


async def add_new_rows(
    connection: AsyncConnection, table: sa.Table, rows: Sequence[Row], *, unless: str
) -> None:
    """Insert the rows whose value in one column is not there yet.

    Args:
        connection: of a write transaction.
        table: theirs.
        rows: by column name, every one with the same columns.
        unless: the unique column that decides; null is always new.
    """
    if isinstance(connection, InlineConnection):
        await _write(connection, table, rows, _unless_there(unless))
        return
    insert = _insert_of(connection, table).on_conflict_do_nothing(index_elements=[unless])
    # What is returned is of no use, but lets all rows go in one statement.
    await connection.execute(insert.returning(table.c[unless]), rows)


def _unless_there(column: str) -> str:
    return f" ON CONFLICT ({column}) DO NOTHING"


def _insert_of(connection: AsyncConnection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


async def _write(
    connection: InlineConnection,
    table: sa.Table,
    rows: Sequence[Row],
    tail: str,
    common: Row = MappingProxyType({}),
) -> int:
    varying = tuple(rows[0])
    names = (*varying, *common)
    try:
        columns = [
            _written([row[name] for row in rows], process)
            for name, process in zip(varying, _processes(table, varying), strict=True)
        ]
        for name, process in zip(common, _processes(table, tuple(common)), strict=True):
            columns.append(_written([common[name]], process) * len(rows))
    except (TypeError, ValueError) as error:
        # As the compiler's own conversion would be told.
        raise translate(error) from None
    listed = list(zip(*columns, strict=True))
    count = start = 0
    for size in _sizes(len(listed), len(names)):
        values = tuple(chain.from_iterable(listed[start : start + size]))
        count += (await connection.exec_driver_sql(_statement(table, names, size, tail), values)).rowcount
        start += size
    return count


def _sizes(rows: int, columns: int) -> Iterator[int]:
    """Divide rows among statements whose sizes are powers of two, so that few of them are ever prepared."""
    size = _MAX_ROWS_PER_STATEMENT
    while size * columns > _MAX_PARAMETERS:
        size //= 2
    while rows:
        while size > rows:
            size //= 2
        yield size
        rows -= size


def _written(values: list[Any], process: _Process | None) -> list[Any]:
    return values if process is None else [None if value is None else process(value) for value in values]


@lru_cache(maxsize=512)
def _statement(table: sa.Table, names: tuple[str, ...], rows: int, tail: str) -> str:
    places = f"({', '.join('?' * len(names))})"
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES {', '.join([places] * rows)}{tail}"


@lru_cache(maxsize=128)
def _processes(table: sa.Table, names: tuple[str, ...]) -> tuple[_Process | None, ...]:
    return tuple(bind_process(table.c[name].type) for name in names)


def bind_process(type_: sa.types.TypeEngine[Any]) -> _Process | None:
    """Return how SQLite is given a value that is not null, or None where it is given as it is."""
    if isinstance(type_, UtcDateTime):
        return _time_text
    if isinstance(type_, sa.Uuid):
        return _hexadecimal
    if isinstance(type_, sa.JSON):
        return _json_text
    process: _Process | None = type_.dialect_impl(_SQLITE).bind_processor(_SQLITE)
    return process


def _time_text(value: datetime) -> str:
    if value.tzinfo is UTC:
        # Every time of the package's own clocks; converting it to what it is takes longer than writing it.
        return value.isoformat(" ", "microseconds")[:_TIME_TEXT_LENGTH]
    if value.tzinfo is None:
        raise ValueError("a time without a zone cannot be stored")
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def _hexadecimal(value: UUID) -> str:
    return value.hex


def _json_text(value: Any) -> str:
    return orjson.dumps(value).decode()
