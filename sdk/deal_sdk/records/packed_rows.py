"""Queries whose rows come in one value on SQLite.

There each row that is fetched leaves the interpreter's lock and comes back for it, and under load the event
loop has it by then. Packed into one JSON text, all rows cost what one does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.records.sqlite_runner import InlineConnection

_SQLITE: Final = sqlite.dialect()
_Process: TypeAlias = Callable[[Any], Any] | None


class PackedQuery:
    """A query for short rows of texts, integers, UUIDs and times, to be made once and run often."""

    def __init__(self, query: sa.Select[Any] | sa.CompoundSelect[Any]) -> None:
        """Take a query whose parameters are named, so that each run can give them.

        Args:
            query: of columns that JSON can hold; their order in a row is the query's, that of the rows
                is nobody's.
        """
        self._query = query
        rows = query.subquery()
        self._packed = sa.select(sa.func.json_group_array(sa.func.json_array(*rows.c)))
        self._reads: tuple[_Process, ...] = tuple(
            column.type.dialect_impl(_SQLITE).result_processor(_SQLITE, None) for column in rows.c
        )

    async def rows(
        self, connection: AsyncConnection, parameters: Mapping[str, Any]
    ) -> Sequence[Sequence[Any]]:
        """Run the query and return its rows.

        Args:
            connection: of a transaction.
            parameters: by name.
        """
        if not isinstance(connection, InlineConnection):
            rows: Sequence[Sequence[Any]] = (await connection.execute(self._query, parameters)).all()
            return rows
        packed: str = (await connection.execute(self._packed, parameters)).scalar_one()
        found: list[list[Any]] = orjson.loads(packed)
        if not found or not any(self._reads):
            return found
        columns = zip(*found, strict=True)
        return list(zip(*map(_read, columns, self._reads), strict=True))


def _read(values: Sequence[Any], process: _Process) -> Sequence[Any]:
    return values if process is None else [None if value is None else process(value) for value in values]
