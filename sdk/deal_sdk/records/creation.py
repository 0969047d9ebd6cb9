"""Makes the current schema in an empty database at once, without the steps that led to it.

The outcome equals what the migrations make: the same tables and rules, the same first rows, the same
revision. Importing `deal_sdk.records` declares every table.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine.mock import MockConnection

from deal_sdk.records.credit_tables import HASH_BYTES, OPERATOR_ACCOUNTS, credit_accounts, operator_account_id
from deal_sdk.records.tables import metadata

VERSION_TABLE: Final = "alembic_version"
_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)

# As Alembic makes it; kept apart from the package's own tables, with which it shares no naming.
_version = sa.Table(
    VERSION_TABLE,
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


def is_empty(connection: sa.Connection) -> bool:
    """Say whether there is no table at all, of this package or of another program."""
    return not sa.inspect(connection).get_table_names()


def create_current(connection: sa.Connection, revision: str) -> None:
    """Make every table, the rows that a new database begins with, and the revision's mark.

    Args:
        connection: to an empty database, in a transaction that nobody else's creation can overtake.
        revision: the newest migration, whose schema the tables declare.
    """
    dialect = connection.dialect
    for statement in _statements(f"{dialect.name}+{dialect.driver}"):
        connection.exec_driver_sql(statement)
    connection.execute(credit_accounts.insert(), _operator_accounts())
    _version.create(connection)
    connection.execute(_version.insert().values(version_num=revision))


@cache
def _statements(driver: str) -> tuple[str, ...]:
    """Write out what makes every table: once, for a process that opens one new database after another."""
    found: list[str] = []
    dialect = sa.make_url(f"{driver}://").get_dialect()()

    def take(statement: Any, *_: Any, **__: Any) -> None:
        found.append(str(statement.compile(dialect=dialect)))

    metadata.create_all(MockConnection(dialect, take), checkfirst=False)
    return tuple(found)


def _operator_accounts() -> list[dict[str, object]]:
    empty = {"kind": "operator", "balance": 0, "entries": 0, "head_hash": bytes(HASH_BYTES)}
    return [{"id": operator_account_id(name), "updated_at": _NEVER, **empty} for name in OPERATOR_ACCOUNTS]
