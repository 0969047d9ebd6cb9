"""Pages of rows, continued by an opaque cursor that names the last row seen rather than counting rows.

New rows therefore neither shift a page nor repeat on the next one.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

import orjson
import sqlalchemy as sa

from deal_sdk.errors import InvalidInputError

Row = TypeVar("Row")

_MAX_CURSOR_LENGTH: Final = 512
_MAX_ROW_ID: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows, and where the next ones begin."""

    items: Sequence[Row]
    next_cursor: str | None
    """Hand it back for the next page; None on the last one."""


@dataclass(frozen=True, slots=True)
class Keyset:
    """The columns that order a query completely, and the direction; they are what a cursor holds."""

    name: str
    """Keeps a cursor of one query from being used with another."""
    columns: tuple[sa.Column[Any], ...]
    parsers: tuple[Callable[[Any], Any], ...]
    """One per column: makes the value from its JSON form or raises ValueError, TypeError, AttributeError."""
    descending: bool = False

    def order_by(self) -> list[sa.ColumnElement[Any]]:
        """Return the ORDER BY of the query."""
        return [column.desc() if self.descending else column.asc() for column in self.columns]

    def after(self, cursor: str) -> sa.ColumnElement[bool]:
        """Return the condition that a row comes after the one in the cursor.

        Raises:
            InvalidInputError: for a cursor that this query did not give out.
        """
        values = self._decode(cursor)
        left: sa.ColumnElement[Any] = sa.tuple_(*self.columns)
        right = sa.tuple_(
            *(sa.literal(value, column.type) for value, column in zip(values, self.columns, strict=True))
        )
        return left < right if self.descending else left > right

    def encode(self, values: Sequence[Any]) -> str:
        """Write the ordering values of a row as url-safe text."""
        payload = orjson.dumps([self._tag(), *values])
        return base64.urlsafe_b64encode(payload).decode().rstrip("=")

    def page(self, rows: Sequence[Row], limit: int, values_of: Callable[[Row], Sequence[Any]]) -> Page[Row]:
        """Cut a page from a query that was asked for one row more than the limit."""
        if len(rows) <= limit:
            return Page(rows, None)
        return Page(rows[:limit], self.encode(values_of(rows[limit - 1])))

    def _tag(self) -> str:
        return f"{self.name}{'-' if self.descending else '+'}"

    def _decode(self, cursor: str) -> list[Any]:
        try:
            if not isinstance(cursor, str) or len(cursor) > _MAX_CURSOR_LENGTH:
                raise ValueError("not a cursor")
            payload = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
            tag, *values = orjson.loads(base64.b64decode(payload, altchars=b"-_", validate=True))
            if tag != self._tag():
                raise ValueError("a cursor of another query")
            return [parse(value) for parse, value in zip(self.parsers, values, strict=True)]
        except (ValueError, TypeError, AttributeError, OverflowError):
            raise InvalidInputError(
                "the cursor is malformed or belongs to another query", field="cursor"
            ) from None


def parse_time(value: Any) -> datetime:
    """Make a time from a cursor; one without a zone is none of ours."""
    time = datetime.fromisoformat(value)
    if time.tzinfo is None:
        raise ValueError("a time without a zone")
    return time


def parse_row_id(value: Any) -> int:
    """Make a row's number from a cursor."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_ROW_ID:
        raise ValueError("not a row's number")
    return value


async def each_page(
    fetch: Callable[[str | None], Awaitable[Page[Row]]],
) -> AsyncGenerator[Sequence[Row], None]:
    """Yield one page after another until the last, holding one in memory.

    Args:
        fetch: returns the page after a cursor, or the first for None.
    """
    cursor: str | None = None
    while True:
        page = await fetch(cursor)
        yield page.items
        if page.next_cursor is None:
            return
        cursor = page.next_cursor
