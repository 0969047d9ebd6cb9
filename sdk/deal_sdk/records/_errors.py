"""Translates what SQLAlchemy and the two drivers raise into this package's errors.

Messages name the driver's error class, its code and the violated constraint. They never repeat bound
values, a server's free text or a URL, because each of these may hold a secret or personal data.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import sqlalchemy as sa

from deal_sdk.errors import (
    ConstraintError,
    DatabaseBusyError,
    DatabaseError,
    DatabaseUnavailableError,
    TokenError,
)
from deal_sdk.records.tables import metadata

_BUSY_SQLSTATES: Final = frozenset({"40001", "40P01", "55P03"})
"""Serialization failure, deadlock, lock not available."""
_UNAVAILABLE_SQLSTATE_CLASSES: Final = ("08", "53", "57P", "58")
"""Connection exceptions, insufficient resources, operator intervention, system errors."""
_AUTHENTICATION_SQLSTATE_CLASSES: Final = ("28", "3D")
_CONSTRAINT_KINDS: Final = {"23505": "unique", "23503": "foreign_key", "23514": "check", "23502": "not_null"}

_BUSY_SQLITE_CODES: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_UNAVAILABLE_SQLITE_CODES: Final = frozenset(
    {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY}
)
_PRIMARY_CODE_MASK: Final = 0xFF
_SQLITE_CONSTRAINT: Final = re.compile(r"^(UNIQUE|CHECK|NOT NULL|FOREIGN KEY) constraint failed(?:: (.+))?$")


def translate(error: BaseException, *, disconnected: bool = False) -> DatabaseError:
    """Return the typed error for whatever a statement, a connection or a pool raised.

    Args:
        error: SQLAlchemy's exception or a driver's.
        disconnected: whether the connection is known to be lost.
    """
    if isinstance(error, DatabaseError):
        return error
    if isinstance(error, sa.exc.TimeoutError):
        return DatabaseBusyError("every connection to the database stayed in use", driver_error="pool")
    causes = tuple(_causes(error))
    for cause in causes:
        sqlstate = getattr(cause, "sqlstate", None)
        if isinstance(sqlstate, str):
            return _from_sqlstate(sqlstate, cause, disconnected)
    for cause in causes:
        if isinstance(cause, sqlite3.Error):
            return _from_sqlite(cause)
    if disconnected or any(isinstance(cause, OSError) for cause in causes):
        return DatabaseUnavailableError(
            "the database cannot be reached, or the connection was lost",
            driver_error=type(causes[-1]).__name__,
        )
    return _refused(type(causes[-1]).__name__)


@contextmanager
def translated() -> Iterator[None]:
    """Turn what connecting, beginning or committing raises into typed errors."""
    try:
        with without_driver_cause():
            yield
    except TokenError:
        raise
    except (sa.exc.SQLAlchemyError, OSError, sqlite3.Error) as error:
        raise translate(error) from None
    except Exception as error:
        # asyncpg's own exceptions share no base with SQLAlchemy's and may not be installed.
        if not any(isinstance(getattr(cause, "sqlstate", None), str) for cause in _causes(error)):
            raise
        raise translate(error) from None


@contextmanager
def without_driver_cause() -> Iterator[None]:
    """Drop the driver's exception from the chain: PostgreSQL's detail repeats the values of the row."""
    try:
        yield
    except DatabaseError as error:
        error.__cause__ = None
        error.__context__ = None
        raise


def on_statement_error(context: sa.engine.ExceptionContext) -> BaseException | None:
    """Translate at the statement itself, so that a unit of work sees the typed error where it happens."""
    if not isinstance(context.original_exception, Exception):
        return None
    return translate(context.original_exception, disconnected=context.is_disconnect)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = getattr(current, "orig", None) or current.__cause__


def _refused(driver_error: str, **facts: Any) -> DatabaseError:
    return DatabaseError(
        f"the database refused a statement ({driver_error})", driver_error=driver_error, **facts
    )


def _from_sqlstate(sqlstate: str, error: BaseException, disconnected: bool) -> DatabaseError:
    name = type(error).__name__
    facts = {"driver_error": name, "sqlstate": sqlstate}
    if sqlstate in _BUSY_SQLSTATES:
        return DatabaseBusyError(f"transactions collided in the database ({name}, {sqlstate})", **facts)
    if sqlstate in _CONSTRAINT_KINDS:
        driver_error = error if hasattr(error, "constraint_name") else error.__cause__
        return _constraint(
            _CONSTRAINT_KINDS[sqlstate],
            getattr(driver_error, "constraint_name", None),
            table=getattr(driver_error, "table_name", None),
            column=getattr(driver_error, "column_name", None),
        )
    if disconnected or sqlstate.startswith(_UNAVAILABLE_SQLSTATE_CLASSES):
        return DatabaseUnavailableError(
            f"the connection to the database was lost ({name}, {sqlstate})", **facts
        )
    if sqlstate.startswith(_AUTHENTICATION_SQLSTATE_CLASSES):
        return DatabaseUnavailableError(f"the database refused the connection ({name}, {sqlstate})", **facts)
    return _refused(f"{name}, {sqlstate}", sqlstate=sqlstate)


def _from_sqlite(error: sqlite3.Error) -> DatabaseError:
    # SQLite's texts name tables, columns and constraints, never values.
    text = str(error)
    facts = {"driver_error": type(error).__name__, "reason": text}
    primary_code = (getattr(error, "sqlite_errorcode", 0) or 0) & _PRIMARY_CODE_MASK
    if primary_code in _BUSY_SQLITE_CODES:
        return DatabaseBusyError(f"the database stayed locked ({text})", **facts)
    if primary_code in _UNAVAILABLE_SQLITE_CODES or "closed" in text or "no active connection" in text:
        return DatabaseUnavailableError(f"the database file cannot be used ({text})", **facts)
    violation = _SQLITE_CONSTRAINT.match(text)
    if violation is not None:
        return _from_sqlite_violation(violation.group(1), violation.group(2))
    return DatabaseError(f"the database refused a statement ({text})", **facts)


def _from_sqlite_violation(word: str, subject: str | None) -> ConstraintError:
    kind = word.lower().replace(" ", "_")
    if kind == "check":
        return _constraint(kind, subject)
    if subject is None:
        return _constraint(kind, None)
    if subject.startswith("index "):
        return _constraint(kind, subject.removeprefix("index ").strip("'"))
    names = [name.strip().partition(".") for name in subject.split(",")]
    table, columns = names[0][0], frozenset(column for _, _, column in names)
    if kind == "not_null":
        return _constraint(kind, None, table=table, column=names[0][2])
    return _constraint(kind, _unique_name(table, columns), table=table)


def _unique_name(table_name: str, columns: frozenset[str]) -> str | None:
    # SQLite names the columns where PostgreSQL names the constraint; the metadata knows both.
    table = metadata.tables.get(table_name)
    if table is None:
        return None
    rules: list[sa.Constraint | sa.Index] = [
        rule for rule in table.constraints if isinstance(rule, sa.UniqueConstraint | sa.PrimaryKeyConstraint)
    ]
    rules += [index for index in table.indexes if index.unique]
    for rule in rules:
        named = rule.columns if isinstance(rule, sa.Index) else getattr(rule, "columns", ())
        if frozenset(column.name for column in named) == columns:
            return _rendered_name(rule)
    return None


def _rendered_name(rule: sa.Constraint | sa.Index) -> str | None:
    preparer = _PREPARER.format_index if isinstance(rule, sa.Index) else _PREPARER.format_constraint
    name: str | None = preparer(rule)  # type: ignore[arg-type]
    return name


_PREPARER: Final = sa.create_mock_engine("sqlite://", lambda *_: None).dialect.identifier_preparer


def _constraint(kind: str, constraint: str | None, **facts: str | None) -> ConstraintError:
    return ConstraintError(kind=kind, constraint=constraint, **facts)
