"""UUIDs as text in SQL, for columns that name a row by the text of its id."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

_GROUPS: Final = ((9, 4), (13, 4), (17, 4), (21, 12))


def uuid_text(identity: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """Write a UUID as Python does: PostgreSQL's text has the hyphens already, SQLite's has none.

    Args:
        identity: a column of UUIDs.
    """
    digits = sa.func.replace(sa.cast(identity, sa.String), "-", "")
    text: sa.ColumnElement[str] = sa.func.substr(digits, 1, 8)
    for start, length in _GROUPS:
        text = text.concat("-").concat(sa.func.substr(digits, start, length))
    return text
