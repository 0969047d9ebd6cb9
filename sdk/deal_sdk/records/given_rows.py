"""Rows that a statement is given as one value, so that a single UPDATE writes something else into each row.

A statement that is run again for each row is bound again for each, and on SQLite leaves the interpreter's
lock and comes back for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql


class _RowList(sa.types.TypeDecorator[Sequence[Sequence[Any]]]):
    """Lists of plain values as JSON."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Sequence[Sequence[Any]] | None, dialect: sa.Dialect) -> str:
        """Write the rows; UUIDs are given in hexadecimal, as SQLite keeps them."""
        assert value is not None
        return orjson.dumps(value).decode()


def given_rows(
    dialect_name: str, parameter: str, columns: Mapping[str, sa.types.TypeEngine[Any]]
) -> dict[str, sa.ColumnElement[Any]]:
    """Return the columns of rows that come with each execution, to compare with and to set.

    A statement that names any of them reads the rows like a further table. Nothing keeps two of them from
    meeting the same row of another table: whoever gives them makes sure that they do not.

    Args:
        dialect_name: whose SQL it is.
        parameter: what the rows are given by: a sequence of sequences, each in the order of the columns;
            a UUID is its hexadecimal text.
        columns: names and types. JSON values are never null.
    """
    given = sa.bindparam(parameter, type_=_RowList())
    if dialect_name == "postgresql":
        elements = sa.func.jsonb_array_elements(sa.cast(given, postgresql.JSONB))
        read = _read_on_postgresql
    else:
        elements = sa.func.json_each(given)
        read = _read_on_sqlite
    value = elements.table_valued("value", name=f"{parameter}_rows").c.value
    return {name: read(value, place, type_) for place, (name, type_) in enumerate(columns.items())}


def _read_on_postgresql(
    value: sa.ColumnElement[Any], place: int, type_: sa.types.TypeEngine[Any]
) -> sa.ColumnElement[Any]:
    index: sa.ColumnElement[int] = sa.literal_column(str(place))
    if isinstance(type_, sa.JSON):
        return value.op("->")(index)
    return sa.cast(value.op("->>")(index), type_)


def _read_on_sqlite(
    value: sa.ColumnElement[Any], place: int, type_: sa.types.TypeEngine[Any]
) -> sa.ColumnElement[Any]:
    return sa.func.json_extract(value, sa.literal_column(f"'$[{place}]'"))
