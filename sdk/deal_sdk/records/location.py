"""Reads a database URL: which database it names, and how the async drivers want to hear it.

The URL may hold a password, so no error repeats any part of it but the names of parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Final, Literal

import sqlalchemy as sa

from deal_sdk.errors import ConfigurationError

Dialect = Literal["sqlite", "postgresql"]

_SQLITE_DRIVERS: Final = frozenset({"sqlite", "sqlite+aiosqlite"})
_POSTGRESQL_DRIVERS: Final = frozenset({"postgres", "postgresql", "postgresql+asyncpg"})
_MEMORY: Final = ":memory:"
_POSTGRESQL_PARAMETERS: Final = frozenset({"host", "port", "ssl", "sslmode", "prepared_statement_cache_size"})


@dataclass(frozen=True, slots=True)
class DatabaseLocation:
    """A database URL, understood."""

    dialect: Dialect
    url: sa.URL = field(repr=False)
    """With the async driver; without a file name when the database is ephemeral."""
    ephemeral: bool


def parse_database_url(url: str) -> DatabaseLocation:
    """Accept the usual spellings of a URL and refuse what cannot work before anything is opened.

    Args:
        url: `sqlite+aiosqlite://` (ephemeral), `sqlite:///file`, `postgresql://...` or `postgres://...`,
            with or without the driver's name.

    Raises:
        ConfigurationError: for another database or driver, a malformed URL, an unknown parameter, or a
            driver that is not installed.
    """
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise ConfigurationError(
            "the database URL is malformed; it looks like sqlite:///deal.db or postgresql://user:password@host/name"
        ) from None
    if parsed.drivername in _SQLITE_DRIVERS:
        return _sqlite(parsed)
    if parsed.drivername in _POSTGRESQL_DRIVERS:
        return _postgresql(parsed)
    raise ConfigurationError("the database URL must begin with sqlite:// or postgresql://")


def _sqlite(url: sa.URL) -> DatabaseLocation:
    if url.host or url.port or url.username or url.password:
        raise ConfigurationError("a SQLite URL names a file: sqlite:///relative.db or sqlite:////absolute.db")
    if url.query:
        raise ConfigurationError(f"a SQLite URL takes no parameters, such as {', '.join(sorted(url.query))}")
    ephemeral = url.database in (None, "", _MEMORY)
    target = sa.URL.create("sqlite+aiosqlite", database=None if ephemeral else url.database)
    return DatabaseLocation("sqlite", target, ephemeral)


def _postgresql(url: sa.URL) -> DatabaseLocation:
    unknown = sorted(set(url.query) - _POSTGRESQL_PARAMETERS)
    if unknown:
        raise ConfigurationError(f"the database URL has parameters that are not known: {', '.join(unknown)}")
    if not url.database:
        raise ConfigurationError("the PostgreSQL URL names no database")
    if find_spec("asyncpg") is None:
        raise ConfigurationError("PostgreSQL needs a driver that is an extra: install deal-sdk[postgres]")
    query = dict(url.query)
    if "sslmode" in query:
        # libpq's word, which URLs from hosting providers carry; asyncpg calls it ssl.
        query["ssl"] = query.pop("sslmode")
    return DatabaseLocation("postgresql", url.set(drivername="postgresql+asyncpg", query=query), False)
