"""Conditions over many values, in a text that stays the same however many there are.

An IN with a place for each value is compiled, bound and prepared anew for every number of them. Here all
values are one parameter: a JSON list on SQLite, an array on PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Self
from uuid import UUID

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class _ListType(sa.types.TypeDecorator[Collection[Any]]):
    """Texts or UUIDs as one value."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, of_uuids: bool) -> None:
        """Say what is listed."""
        super().__init__()
        self.of_uuids = of_uuids

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Return an array's type where there are arrays."""
        if dialect.name != "postgresql":
            return dialect.type_descriptor(sa.Text())
        return dialect.type_descriptor(postgresql.ARRAY(sa.Uuid() if self.of_uuids else sa.String()))

    def process_bind_param(self, value: Collection[Any] | None, dialect: sa.Dialect) -> Any:
        """Write the values as the database compares them."""
        assert value is not None
        if dialect.name == "postgresql":
            return list(value)
        return orjson.dumps([item.hex if isinstance(item, UUID) else item for item in value]).decode()


class _Among(FunctionElement[bool]):
    type = sa.Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> Self:
        """Stand alone: SQLite reads the whole table for a condition that is compared with 1."""
        return self


def among(
    column: sa.ColumnElement[Any], values: Collection[Any] | sa.BindParameter[Any]
) -> sa.ColumnElement[bool]:
    """Select the rows whose text or UUID is one of many.

    Args:
        column: what is compared.
        values: none selects nothing; or the parameter that `list_parameter` named.
    """
    if isinstance(values, sa.BindParameter):
        return _Among(column, values)
    return _Among(column, sa.bindparam(None, values, type_=_type_for(column), unique=True))


def list_parameter(name: str, column: sa.ColumnElement[Any]) -> sa.BindParameter[Any]:
    """Return the parameter for many values of a column, to be given with each execution."""
    return sa.bindparam(name, type_=_type_for(column))


def _type_for(column: sa.ColumnElement[Any]) -> _ListType:
    return _ListType(isinstance(column.type, sa.Uuid))


@compiles(_Among)
def _in_json(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column, values = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"


@compiles(_Among, "postgresql")
def _in_array(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column, values = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} = ANY ({values})"
