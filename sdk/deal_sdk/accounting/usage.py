"""Usage reports: what users spent and earned, by operation and by the days, weeks or months of a place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final, Generic, TypedDict, TypeVar, Unpack
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.accounting.commands import check_operation_type
from deal_sdk.accounting.report_periods import ReportInterval, ReportSpan, report_span
from deal_sdk.accounting.statements import Statement, StatementReader
from deal_sdk.accounting.usage_queries import (
    credit_sums,
    credit_usage,
    payment_sums,
    payment_usage,
    users_with_entries,
    users_with_payments,
)
from deal_sdk.accounting.usage_rows import CreditUsage, PaymentUsage
from deal_sdk.amounts import DEAL_DECIMALS
from deal_sdk.records import Database, Page, UserId, parse_user_id
from deal_sdk.records.credit_tables import credit_accounts
from deal_sdk.records.database import Row
from deal_sdk.records.export import ExportFormat, ExportTarget
from deal_sdk.records.inputs import check_choice, check_limit
from deal_sdk.records.listing import PagedItems
from deal_sdk.records.paging import Keyset, each_page
from deal_sdk.records.tables import PAYMENT_TYPES, users

_EXPORT_PAGE_USERS: Final = 500
_TIMES: Final = ("period_start", "period_end")

Usage = TypeVar("Usage", CreditUsage, PaymentUsage)


class UsageFilters(TypedDict, total=False):
    """What a report may be asked for; see `UsageReport.query`."""

    interval: ReportInterval
    zone: str
    since: datetime | None
    until: datetime | None
    user_id: UserId | None
    operation_type: str | None


class UsageReport(ABC, Generic[Usage]):
    """One kind of usage of every user, or of one; only what is in the database by now."""

    _columns: tuple[str, ...]
    _amounts: tuple[str, ...] = ()
    _order: Keyset

    def __init__(self, database: Database) -> None:
        """Keep the database."""
        self._database = database

    async def query(
        self,
        *,
        interval: ReportInterval = "month",
        zone: str = "UTC",
        since: datetime | None = None,
        until: datetime | None = None,
        user_id: UserId | None = None,
        operation_type: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Usage]:
        """Return the rows of one page of users, by user, period and operation.

        A page holds all rows of each of its users. It may be empty although there is a next one, where an
        operation is asked for that none of its users used.

        Args:
            interval: "day", "week" (from Monday) or "month".
            zone: a time zone's name; periods begin at its midnights.
            since: from this time on; by default the beginning of the present period. A period that it
                cuts shows what came after.
            until: before this time; by default the end of the present period.
            user_id: of one user alone.
            operation_type: of one operation alone.
            limit: how many users, 1 to 1000.
            cursor: from the page before, with the same filters.

        Raises:
            InvalidInputError: for what cannot be one, for dates that are reversed, and for more than 400
                periods.
            DatabaseError: when the database failed.
        """
        filters: UsageFilters = {"user_id": user_id, "operation_type": operation_type}
        span = report_span(interval, zone, since, until, now=self._database.clock.now())
        return await self._page(span, filters, check_limit(limit), cursor)

    async def iterate(self, **filters: Unpack[UsageFilters]) -> AsyncIterator[Usage]:
        """Yield every row, by user, period and operation, holding one page of users in memory.

        Args:
            filters: those of `query`.
        """
        async with aclosing(self._every(filters).each()) as rows:
            async for row in rows:
                yield row

    async def export(
        self, target: ExportTarget, format: ExportFormat = "csv", **filters: Unpack[UsageFilters]
    ) -> int:
        """Write every row to a file.

        Args:
            target: a path, whose file appears only when complete, or an open text file.
            format: "csv" or "json".
            filters: those of `query`.

        Returns:
            The number of rows written.
        """
        return await self._every(filters).export(target, format)

    async def to_dataframe(self, **filters: Unpack[UsageFilters]) -> Any:
        """Return every row as a pandas DataFrame; its times are in UTC.

        Raises:
            ConfigurationError: when pandas is not installed.
        """
        return await self._every(filters).to_dataframe()

    def _every(self, filters: UsageFilters) -> PagedItems[Usage]:
        span = report_span(
            filters.get("interval", "month"),
            filters.get("zone", "UTC"),
            filters.get("since"),
            filters.get("until"),
            now=self._database.clock.now(),
        )
        pages = each_page(lambda cursor: self._page(span, filters, _EXPORT_PAGE_USERS, cursor))
        return PagedItems(pages, self._to_dict, self._columns, self._amounts, _TIMES)

    async def _page(
        self, span: ReportSpan, filters: UsageFilters, limit: int, cursor: str | None
    ) -> Page[Usage]:
        kind, user_id = filters.get("operation_type"), filters.get("user_id")
        kind = None if kind is None else self._check_kind(kind)
        chosen = None if user_id is None else [parse_user_id(user_id)]
        after = sa.true() if cursor is None else self._order.after(cursor)

        async def unit(connection: AsyncConnection) -> Page[Usage]:
            found: Sequence[UUID] = chosen or (
                (await connection.execute(self._users(span, after, limit + 1))).scalars().all()
            )
            page = self._order.page(found, limit, lambda identity: (identity,))
            rows = await connection.execute(self._sums(span, page.items, kind)) if found else ()
            return Page([self._item(span, row) for row in rows], page.next_cursor)

        return await self._database.read(unit)

    @abstractmethod
    def _check_kind(self, kind: str) -> str: ...

    @abstractmethod
    def _users(self, span: ReportSpan, after: sa.ColumnElement[bool], limit: int) -> sa.Select[Any]: ...

    @abstractmethod
    def _sums(self, span: ReportSpan, user_ids: Collection[UUID], kind: str | None) -> sa.Select[Any]: ...

    @abstractmethod
    def _item(self, span: ReportSpan, row: Row) -> Usage: ...

    @abstractmethod
    def _to_dict(self, row: Usage) -> dict[str, Any]: ...


class CreditUsageReport(UsageReport[CreditUsage]):
    """Credits spent and earned."""

    _columns = (
        *("user_id", "period_start", "period_end", "operation_type"),
        *("spent", "earned", "refunded", "net", "count", "refunds"),
    )
    _order = Keyset("credit_usage", (credit_accounts.c.id,), (UUID,))

    def _check_kind(self, kind: str) -> str:
        return check_operation_type(kind)

    def _users(self, span: ReportSpan, after: sa.ColumnElement[bool], limit: int) -> sa.Select[Any]:
        return users_with_entries(span, after, limit)

    def _sums(self, span: ReportSpan, user_ids: Collection[UUID], kind: str | None) -> sa.Select[Any]:
        return credit_sums(span, user_ids, kind)

    def _item(self, span: ReportSpan, row: Row) -> CreditUsage:
        return credit_usage(span, row)

    def _to_dict(self, row: CreditUsage) -> dict[str, Any]:
        return row.to_dict()


class PaymentUsageReport(UsageReport[PaymentUsage]):
    """DEAL paid and received: fees, rewards, purchases and every other final payment."""

    _columns = (
        *("user_id", "period_start", "period_end", "type"),
        *("paid", "received", "refunded", "net", "count", "refunds"),
    )
    _amounts = ("paid", "received", "refunded", "net")
    _order = Keyset("payment_usage", (users.c.id,), (UUID,))

    def __init__(self, database: Database, *, decimals: int) -> None:
        """Keep the database, and the mint's decimals for amounts that are shown."""
        super().__init__(database)
        self._decimals = decimals

    def _check_kind(self, kind: str) -> str:
        return check_choice("operation_type", kind, PAYMENT_TYPES)

    def _users(self, span: ReportSpan, after: sa.ColumnElement[bool], limit: int) -> sa.Select[Any]:
        return users_with_payments(span, after, limit)

    def _sums(self, span: ReportSpan, user_ids: Collection[UUID], kind: str | None) -> sa.Select[Any]:
        return payment_sums(span, user_ids, kind)

    def _item(self, span: ReportSpan, row: Row) -> PaymentUsage:
        return payment_usage(span, row)

    def _to_dict(self, row: PaymentUsage) -> dict[str, Any]:
        return row.to_dict(decimals=self._decimals)


class UsageReports:
    """Says what was used, and hands each user a statement of a month; it reads and never writes."""

    def __init__(self, database: Database, *, decimals: int = DEAL_DECIMALS) -> None:
        """Keep the database.

        Args:
            database: where credits and payments are.
            decimals: the mint's.
        """
        self.decimals = decimals
        self.credits = CreditUsageReport(database)
        self.payments = PaymentUsageReport(database, decimals=decimals)
        self._statements = StatementReader(database, decimals=decimals)

    async def statement(self, user_id: UserId, year: int, month: int, *, zone: str = "UTC") -> Statement:
        """Return a user's statement of a month, which ties out to the ledger.

        Args:
            user_id: whose.
            year: 1970 or later.
            month: 1 to 12; the present one is shown as far as it has come.
            zone: a time zone's name; the month begins and ends at its midnights.

        Raises:
            UserNotFoundError: no such user.
            InvalidInputError: for a month or a zone that there is not, or one in the future.
            StatementError: the month does not tie out, or has more entries than a statement shows.
            DatabaseError: when the database failed.
        """
        return await self._statements.read(user_id, year, month, zone)
