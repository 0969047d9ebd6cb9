"""The form of a rule that SQL alone can prove: a query for the rows that break it."""

from __future__ import annotations

from typing import Any, TypeAlias

import sqlalchemy as sa

BrokenRows: TypeAlias = sa.Select[str, Any, str]
"""A query for rows that break a rule: table, key, and what is wrong."""


def broken(table: str, identity: Any, problem: str | sa.ColumnElement[str]) -> BrokenRows:
    """Begin a query for the rows of a table that break a rule.

    Args:
        table: its name.
        identity: the column that tells its rows apart.
        problem: what is wrong with a row that is found.
    """
    text = sa.literal(problem) if isinstance(problem, str) else problem
    return sa.select(sa.literal(table), identity, text)
