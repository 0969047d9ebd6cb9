"""Inserts thousands of rows by one text and plain tuples.

SQLAlchemy binds every value of every row by its name, which takes longer than SQLite takes to store it.
Here the text is compiled once, what all rows share is converted once, and only what differs goes row by
row through the types' own converters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

_Convert = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A column whose values come as the database takes them, such as JSON that is text already."""

    name: str


class BulkInsert:
    """An INSERT of rows that differ in some columns and share the others."""

    def __init__(self, table: sa.Table, varying: Sequence[str | Encoded], common: Sequence[str]) -> None:
        """Name the columns; the text is compiled with the first rows.

        Args:
            table: where the rows go.
            varying: the columns that each row brings, in its order.
            common: those that all rows of a call share.
        """
        self._encoded: Final = {column.name for column in varying if isinstance(column, Encoded)}
        self._varying = [column.name if isinstance(column, Encoded) else column for column in varying]
        self._common = list(common)
        self._table = table
        self._compiled: dict[str, _Compiled] = {}

    async def run(
        self, connection: AsyncConnection, rows: Iterable[Sequence[Any]], common: Mapping[str, Any]
    ) -> None:
        """Insert rows.

        Args:
            connection: of a write transaction.
            rows: each with a value for every varying column, in their order.
            common: a value for every other one.

        Raises:
            DatabaseError: when the database refuses one; then none of them is there.
        """
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = self._compile(dialect)
        filled = compiled.fill(rows, common)
        if filled:
            await connection.exec_driver_sql(compiled.text, filled)

    def _compile(self, dialect: sa.Dialect) -> _Compiled:
        names = [*self._varying, *self._common]
        statement = self._table.insert().values({name: sa.bindparam(f"b_{name}") for name in names})
        compiled = statement.compile(dialect=dialect)
        assert compiled.positional
        order = [str(name).removeprefix("b_") for name in compiled.positiontup or ()]
        converters = {name: self._converter(name, dialect) for name in names}
        places = {name: place for place, name in enumerate(self._varying)}
        return _Compiled(str(compiled), order, places, converters)

    def _converter(self, name: str, dialect: sa.Dialect) -> _Convert | None:
        if name in self._encoded:
            return None
        convert: _Convert | None = self._table.c[name].type.dialect_impl(dialect).bind_processor(dialect)
        return convert


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A text with what becomes of each value before it."""

    text: str
    order: list[str]
    """The columns, as the text's places want them."""
    places: dict[str, int]
    """Where a row has its varying columns."""
    converters: dict[str, _Convert | None]

    def fill(self, rows: Iterable[Sequence[Any]], common: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        columns = list(zip(*rows, strict=True))
        if not columns:
            return []
        count = len(columns[0])
        return list(zip(*(self._column(name, columns, common, count) for name in self.order), strict=True))

    def _column(
        self, name: str, columns: Sequence[Sequence[Any]], common: Mapping[str, Any], count: int
    ) -> Sequence[Any]:
        convert = self.converters[name]
        if name not in self.places:
            value = common[name]
            return [value if convert is None else convert(value)] * count
        values = columns[self.places[name]]
        return values if convert is None else list(map(convert, values))
