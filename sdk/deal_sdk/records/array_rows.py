"""Rows handed to PostgreSQL column by column, each column as one array.

A statement with a place for every value is another one for every number of rows, so that each is compiled,
parsed and planned again. With arrays one statement serves any number of rows, and is prepared once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.records._errors import translate

_Process: TypeAlias = Callable[[Any], Any] | None

_POSTGRESQL: Final = asyncpg.dialect()  # type: ignore[no-untyped-call]
_ARRAYS: Final[tuple[tuple[type[sa.types.TypeEngine[Any]], str], ...]] = (
    (sa.Uuid, "uuid"),
    (sa.DateTime, "timestamptz"),
    (sa.Boolean, "boolean"),
    (sa.LargeBinary, "bytea"),
    (sa.BigInteger, "bigint"),
    (sa.SmallInteger, "smallint"),
    (sa.Integer, "integer"),
    # A cast to a length would cut what is longer; what is assigned is refused.
    (sa.String, "text"),
    (sa.JSON, "text"),
)


class ArrayRows:
    """Columns of one table whose values come as arrays."""

    def __init__(self, table: sa.Table, names: Sequence[str]) -> None:
        """Find out how each column's values are written.

        Args:
            table: theirs.
            names: of the columns.
        """
        self.names = tuple(names)
        types = [table.c[name].type.dialect_impl(_POSTGRESQL) for name in self.names]
        self._arrays = [_array_of(type_) for type_ in types]
        self._is_json = [isinstance(type_, sa.JSON) for type_ in types]
        self._processes = [_process_of(type_) for type_ in types]

    @property
    def listed(self) -> str:
        """Return the columns' names, as an INSERT lists them."""
        return ", ".join(self.names)

    @property
    def selected(self) -> str:
        """Return the columns as they are read from `source`."""
        pairs = zip(self.names, self._is_json, strict=True)
        return ", ".join(f"given.{name}::jsonb" if is_json else f"given.{name}" for name, is_json in pairs)

    def source(self, first: int = 1) -> str:
        """Return what stands after FROM.

        Args:
            first: the number of the first parameter; each column has one.
        """
        places = [f"${number}::{array}[]" for number, array in enumerate(self._arrays, first)]
        return f"unnest({', '.join(places)}) AS given ({self.listed})"

    def parameters(self, rows: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
        """Return the values of rows, one list for each column.

        Raises:
            DatabaseError: for a value that its column cannot hold.
        """
        try:
            return [
                _written([row[name] for row in rows], process)
                for name, process in zip(self.names, self._processes, strict=True)
            ]
        except (TypeError, ValueError) as error:
            # As the compiler's own conversion would be told.
            raise translate(error) from None


async def insert_arrays(
    connection: AsyncConnection, table: sa.Table, rows: Sequence[Mapping[str, Any]], tail: str = ""
) -> None:
    """Insert rows on PostgreSQL, all of them or none.

    Args:
        connection: of a write transaction.
        table: theirs; columns that they do not name take the database's defaults.
        rows: one or more, by column name, every one with the same columns.
        tail: what follows, as ON CONFLICT does.

    Raises:
        DatabaseError: as the database refuses them.
    """
    columns = _columns(table, tuple(rows[0]))
    insert = f"INSERT INTO {table.name} ({columns.listed}) SELECT {columns.selected} FROM {columns.source()}"
    await connection.exec_driver_sql(f"{insert} {tail}", tuple(columns.parameters(rows)))


def set_excluded(names: Sequence[str]) -> str:
    """Return the assignments of an ON CONFLICT DO UPDATE that takes the new values."""
    return ", ".join(f"{name} = excluded.{name}" for name in names)


@lru_cache(maxsize=128)
def _columns(table: sa.Table, names: tuple[str, ...]) -> ArrayRows:
    return ArrayRows(table, names)


def _array_of(type_: sa.types.TypeEngine[Any]) -> str:
    plain = type_.impl_instance if isinstance(type_, sa.types.TypeDecorator) else type_
    for kind, array in _ARRAYS:
        if isinstance(plain, kind):
            return array
    raise TypeError(f"no array of {type_!r}")


def _process_of(type_: sa.types.TypeEngine[Any]) -> _Process:
    if isinstance(type_, sa.JSON):
        return _json_text
    process: _Process = type_.bind_processor(_POSTGRESQL)
    return process


def _written(values: list[Any], process: _Process) -> list[Any]:
    return values if process is None else [None if value is None else process(value) for value in values]


def _json_text(value: Any) -> str:
    return orjson.dumps(value).decode()
