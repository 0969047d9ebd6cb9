"""One table's rows in their order: a page, all of them one page at a time, a file, a DataFrame."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

import sqlalchemy as sa

from deal_sdk.records.database import Database
from deal_sdk.records.export import ExportFormat, ExportTarget, export_rows, to_dataframe
from deal_sdk.records.inputs import check_limit
from deal_sdk.records.paging import Keyset, Page, each_page

Item = TypeVar("Item")
Conditions = Sequence[sa.ColumnElement[bool]]

_EXPORT_PAGE_ROWS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Listed(Generic[Item]):
    """What a listing has to know of its rows."""

    table: sa.Table
    oldest_first: Keyset
    item: Callable[[sa.Row[Any]], Item]
    """Makes an item from a row."""
    key: Callable[[Item], Sequence[Any]]
    """The values by which an item is ordered, which a cursor holds."""
    columns: tuple[str, ...]
    """The names that an exported item has, in the order of a file's columns."""
    amounts: tuple[str, ...]
    times: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PagedItems(Generic[Item]):
    """Items that are read a page at a time: each of them, a file of them, or a DataFrame; for one use."""

    pages: AsyncGenerator[Sequence[Item], None]
    to_dict: Callable[[Item], dict[str, Any]]
    """Makes an item's exported form."""
    columns: tuple[str, ...]
    """The names that an exported item has, in the order of a file's columns."""
    amounts: tuple[str, ...]
    times: tuple[str, ...]

    async def each(self) -> AsyncGenerator[Item, None]:
        """Yield every item, holding one page in memory."""
        async with aclosing(self.pages) as pages:
            async for page in pages:
                for item in page:
                    yield item

    async def export(self, target: ExportTarget, format: ExportFormat) -> int:
        """Write every item to a file, and return how many those were."""
        return await export_rows(self._dictionaries(), target, format, self.columns)

    async def to_dataframe(self) -> Any:
        """Return every item as a pandas DataFrame.

        Raises:
            ConfigurationError: when pandas is not installed.
        """
        return await to_dataframe(self._dictionaries(), self.columns, amounts=self.amounts, times=self.times)

    async def _dictionaries(self) -> AsyncIterator[list[dict[str, Any]]]:
        async with aclosing(self.pages) as pages:
            async for page in pages:
                yield [self.to_dict(item) for item in page]


class Listing(Generic[Item]):
    """Reads a table's rows by conditions, and never more than a page of them at once."""

    def __init__(
        self, database: Database, listed: Listed[Item], to_dict: Callable[[Item], dict[str, Any]]
    ) -> None:
        """Keep the parts.

        Args:
            database: where the table is.
            listed: the table and its order.
            to_dict: makes an item's exported form.
        """
        self._database = database
        self._listed = listed
        self._newest_first = replace(listed.oldest_first, descending=True)
        self._to_dict = to_dict

    async def page(
        self, conditions: Conditions, *, newest_first: bool, limit: int, cursor: str | None
    ) -> Page[Item]:
        """Return one page of the rows that meet every condition.

        Args:
            conditions: on the table's columns.
            newest_first: the other way round; a cursor belongs to one direction.
            limit: 1 to 1000.
            cursor: from the page before, with the same conditions.

        Raises:
            InvalidInputError: for a limit or a cursor that cannot be one.
        """
        order = self._newest_first if newest_first else self._listed.oldest_first
        found = [*conditions] if cursor is None else [*conditions, order.after(cursor)]
        statement = sa.select(self._listed.table).where(*found).order_by(*order.order_by())
        items = await self._read(statement.limit(check_limit(limit) + 1))
        return order.page(items, limit, self._listed.key)

    async def all(self, *conditions: sa.ColumnElement[bool]) -> list[Item]:
        """Return every row that meets the conditions, oldest first; for conditions that few rows meet."""
        order = self._listed.oldest_first
        return await self._read(sa.select(self._listed.table).where(*conditions).order_by(*order.order_by()))

    def every(self, conditions: Conditions) -> PagedItems[Item]:
        """Return the rows that meet the conditions, oldest first; they are read as they are asked for."""
        pages = each_page(
            lambda cursor: self.page(conditions, newest_first=False, limit=_EXPORT_PAGE_ROWS, cursor=cursor)
        )
        listed = self._listed
        return PagedItems(pages, self._to_dict, listed.columns, listed.amounts, listed.times)

    async def _read(self, statement: sa.Select[Any]) -> list[Item]:
        async with self._database.reading() as connection:
            return [self._listed.item(row) for row in await connection.execute(statement)]
