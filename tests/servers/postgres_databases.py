"""Databases with the current schema, emptied and given to one test after another."""

from __future__ import annotations

from typing import Final

import psycopg
from psycopg import sql

from tests.servers.postgres_server import PostgresServer

_TABLES: Final = (
    "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1"
)
_SHAPE: Final = """
SELECT md5(string_agg(concat(relname, relkind, relnatts, relchecks, relhastriggers), ',' ORDER BY relname))
FROM pg_class WHERE relnamespace = 'public'::regnamespace
"""
_MOVED_NUMBERS: Final = "SELECT sequencename FROM pg_sequences WHERE last_value IS NOT NULL"
_OTHERS: Final = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class PostgresDatabases:
    """Copies of a template; one that is given back is emptied, because a new copy takes longer.

    One whose tables are not what they were is dropped instead, and the next test has a new one.
    """

    def __init__(self, server: PostgresServer, template: str) -> None:
        """Look at what the template holds.

        Args:
            server: must run.
            template: the name of a database with the current schema.
        """
        self._server = server
        self._template = template
        self._free: list[str] = []
        with server.connect(template) as connection:
            self._shape = _shape(connection)
            rows = {name: _rows(connection, name) for name in _tables(connection)}
        self._first_rows = {name: text for name, text in rows.items() if text}

    def take(self) -> str:
        """Return the name of a database that is as the template is."""
        return self._free.pop() if self._free else self._server.create_database(template=self._template)

    def give_back(self, name: str) -> None:
        """Empty a database for the next test; whoever is still connected to it is not any more."""
        with self._server.connect(name) as connection:
            connection.execute(_OTHERS)
            is_whole = _shape(connection) == self._shape
            if is_whole:
                self._empty(connection)
        if is_whole:
            self._free.append(name)
        else:
            self._server.drop_database(name)

    def _empty(self, connection: psycopg.Connection) -> None:
        is_filled = sql.SQL("SELECT {text} WHERE EXISTS (SELECT FROM {table})")
        filled = sql.SQL(" UNION ALL ").join(
            is_filled.format(text=sql.Literal(name), table=sql.Identifier(name))
            for name in _tables(connection)
        )
        used = sql.SQL(", ").join(sql.Identifier(name) for (name,) in connection.execute(filled))
        with connection.transaction():
            connection.execute(sql.SQL("TRUNCATE {} CASCADE").format(used))
            for (number,) in connection.execute(_MOVED_NUMBERS).fetchall():
                connection.execute(sql.SQL("ALTER SEQUENCE {} RESTART").format(sql.Identifier(number)))
            for name, rows in self._first_rows.items():
                into = sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(name))
                with connection.cursor().copy(into) as copy:
                    copy.write(rows)


def _tables(connection: psycopg.Connection) -> list[str]:
    return [name for (name,) in connection.execute(_TABLES)]


def _rows(connection: psycopg.Connection, name: str) -> bytes:
    out = sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(name))
    with connection.cursor().copy(out) as copy:
        return b"".join(bytes(part) for part in copy)


def _shape(connection: psycopg.Connection) -> str:
    row = connection.execute(_SHAPE).fetchone()
    assert row is not None
    return str(row[0])
