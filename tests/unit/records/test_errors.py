"""Each thing that a driver or a pool may raise has one typed error, without the driver's own words."""

from __future__ import annotations

import asyncio
import sqlite3

import asyncpg  # type: ignore[import-untyped]
import pytest
import sqlalchemy as sa

from deal_sdk.errors import (
    ConstraintError,
    DatabaseBusyError,
    DatabaseError,
    DatabaseUnavailableError,
    UserNotFoundError,
)
from deal_sdk.records._errors import translate, translated

SECRET = "secret-detail"


def wrapped(error: Exception) -> sa.exc.DBAPIError:
    return sa.exc.DBAPIError("INSERT ...", {"value": SECRET}, error)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (asyncpg.SerializationError(SECRET), DatabaseBusyError),
        (asyncpg.DeadlockDetectedError(SECRET), DatabaseBusyError),
        (asyncpg.LockNotAvailableError(SECRET), DatabaseBusyError),
        (asyncpg.AdminShutdownError(SECRET), DatabaseUnavailableError),
        (asyncpg.CannotConnectNowError(SECRET), DatabaseUnavailableError),
        (asyncpg.TooManyConnectionsError(SECRET), DatabaseUnavailableError),
        (asyncpg.ConnectionDoesNotExistError(SECRET), DatabaseUnavailableError),
        (asyncpg.InvalidPasswordError(SECRET), DatabaseUnavailableError),
        (asyncpg.InvalidCatalogNameError(SECRET), DatabaseUnavailableError),
        (asyncpg.UniqueViolationError(SECRET), ConstraintError),
        (asyncpg.UndefinedTableError(SECRET), DatabaseError),
        (ConnectionRefusedError(SECRET), DatabaseUnavailableError),
        (TimeoutError(SECRET), DatabaseUnavailableError),
        (OverflowError(SECRET), DatabaseError),
        (sa.exc.TimeoutError(SECRET), DatabaseBusyError),
    ],
)
def test_every_cause_has_its_error(raised: Exception, expected: type[DatabaseError]) -> None:
    candidates = [raised] if isinstance(raised, sa.exc.TimeoutError) else [raised, wrapped(raised)]
    for error in candidates:
        found = translate(error)
        assert type(found) is expected
        assert SECRET not in f"{found!r} {found.to_dict()}"


def test_a_lost_connection_is_unavailable_whatever_the_driver_says() -> None:
    assert isinstance(translate(asyncpg.InterfaceError(SECRET), disconnected=True), DatabaseUnavailableError)


@pytest.mark.parametrize(
    ("text", "kind", "constraint"),
    [
        ("UNIQUE constraint failed: users.external_id", "unique", "uq_users_external_id"),
        ("UNIQUE constraint failed: users.id", "unique", "pk_users"),
        (
            "UNIQUE constraint failed: token_balance_history.token_account, token_balance_history.sequence",
            "unique",
            "uq_token_balance_history_token_account_sequence",
        ),
        ("UNIQUE constraint failed: index 'uq_something'", "unique", "uq_something"),
        ("UNIQUE constraint failed: foreign_table.column", "unique", None),
        ("CHECK constraint failed: ck_token_pricing_price", "check", "ck_token_pricing_price"),
        ("NOT NULL constraint failed: users.tier", "not_null", None),
        ("FOREIGN KEY constraint failed", "foreign_key", None),
    ],
)
def test_sqlite_names_constraints_as_postgresql_does(text: str, kind: str, constraint: str | None) -> None:
    found = translate(sqlite3.IntegrityError(text))
    assert isinstance(found, ConstraintError)
    assert (found.kind, found.constraint) == (kind, constraint)


def test_errors_that_are_not_the_databases_pass_untouched() -> None:
    for error in (ValueError("mine"), UserNotFoundError("mine"), asyncio.CancelledError()):
        with pytest.raises(type(error)) as caught, translated():
            raise error
        assert caught.value is error


def test_the_drivers_own_error_is_not_chained() -> None:
    with pytest.raises(DatabaseError) as caught, translated():
        raise wrapped(asyncpg.UniqueViolationError(SECRET))
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
