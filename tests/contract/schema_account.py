"""Says all that a database's schema is, and what its tables hold, as the database itself words it."""

from __future__ import annotations

import re
from typing import Final

import sqlalchemy as sa

from deal_sdk.records.database import Database

_POSTGRESQL_CATALOGUE: Final = {
    "column": """
        SELECT table_name, column_name, data_type, character_maximum_length, numeric_precision,
            datetime_precision, is_nullable, column_default, is_identity, collation_name
        FROM information_schema.columns WHERE table_schema = 'public'""",
    "constraint": """
        SELECT conrelid::regclass::text, conname, contype::text, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace""",
    "index": "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "sequence": """
        SELECT sequencename, data_type::text, start_value, max_value, increment_by, cycle, last_value
        FROM pg_sequences WHERE schemaname = 'public'""",
    "trigger": "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "function": """
        SELECT proname, pg_get_functiondef(oid)
        FROM pg_proc WHERE pronamespace = 'public'::regnamespace""",
    "view": "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'",
    "type": """
        SELECT typname, typtype::text FROM pg_type
        WHERE typnamespace = 'public'::regnamespace AND typtype <> 'c' AND typcategory <> 'A'""",
    "comment": """
        SELECT objoid::regclass::text, attname, description
        FROM pg_description
        JOIN pg_class ON pg_class.oid = objoid AND relnamespace = 'public'::regnamespace
        LEFT JOIN pg_attribute ON attrelid = objoid AND attnum = objsubid AND objsubid > 0""",
}
_SQLITE_CATALOGUE: Final = {
    "object": "SELECT type, name, tbl_name FROM sqlite_master",
    "column": """
        SELECT tables.name, columns.name, columns.type, columns."notnull", columns.dflt_value, columns.pk > 0,
            columns.hidden
        FROM sqlite_master AS tables, pragma_table_xinfo(tables.name) AS columns
        WHERE tables.type = 'table'""",
    "foreign key": """
        SELECT tables.name, keys."table", keys.seq, keys."from", keys."to", keys.on_update, keys.on_delete
        FROM sqlite_master AS tables, pragma_foreign_key_list(tables.name) AS keys
        WHERE tables.type = 'table'""",
    "index": """
        SELECT tables.name, indexes.name, indexes."unique", indexes.partial, parts.seqno, parts.name,
            parts."desc", parts.coll
        FROM sqlite_master AS tables, pragma_index_list(tables.name) AS indexes,
            pragma_index_xinfo(indexes.name) AS parts
        WHERE tables.type = 'table' AND parts."key" """,
}


async def account_of(database: Database) -> set[str]:
    """Return a line for every column, rule, index, trigger, comment and row.

    The order of a table's columns is left out: a migration can only add one at the end.
    """
    catalogue = _SQLITE_CATALOGUE if database.dialect == "sqlite" else _POSTGRESQL_CATALOGUE
    lines: set[str] = set()
    async with database.reading() as connection:
        for kind, statement in catalogue.items():
            rows = await connection.exec_driver_sql(statement)
            lines |= {f"{kind}: {tuple(row)}" for row in rows}
        if database.dialect == "sqlite":
            wording = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
            for name, text in await connection.exec_driver_sql(wording):
                lines |= {f"wording: {name}: {part}" for part in _parts(text)}
        tables = await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names())
        for table in tables:
            rows = await connection.exec_driver_sql(f'SELECT * FROM "{table}"')
            lines |= {f"row: {table}: {sorted(row.items())}" for row in rows.mappings()}
    return lines


def _parts(text: str) -> set[str]:
    # What a change of the table leaves behind is no part of its schema: quotes around names, and where a
    # rule stands among the others.
    return {part.strip() for part in re.split(r"[,\n]", text.replace('"', ""))}
