"""`dealctl usage`: what users spent and earned, and a user's statement of a month."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from deal_sdk.accounting import UsageFilters, UsageReports
from deal_sdk.amounts import DEAL_DECIMALS
from deal_sdk.cli.commands import DATABASE_ALONE, command
from deal_sdk.cli.operations import TIME_FORMATS, aware
from deal_sdk.cli.output import Reply, fields, shown, table
from deal_sdk.cli.records import ExportOption, UserOption, write_export
from deal_sdk.cli.session import EXTERNAL_PREFIX, Session
from deal_sdk.cli.users import CursorOption, LimitOption, more_below
from deal_sdk.errors import InvalidInputError
from deal_sdk.records import UserDirectory, get_meta
from deal_sdk.records.meta import DECIMALS
from deal_sdk.settings import load_settings

ZoneOption = Annotated[str, typer.Option(help="A time zone such as Europe/Berlin; its midnights count")]
_TIME_HELP = "UTC unless it says otherwise"


def register(application: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="What users spent and earned.")
    application.add_typer(group, name="usage")
    command(group, "show", DATABASE_ALONE)(show)
    command(group, "statement", DATABASE_ALONE)(statement)


async def show(
    session: Session,
    user: UserOption = None,
    interval: Annotated[str, typer.Option(help="day, week or month")] = "month",
    zone: ZoneOption = "UTC",
    since: Annotated[datetime | None, typer.Option(formats=TIME_FORMATS, help=_TIME_HELP)] = None,
    until: Annotated[datetime | None, typer.Option(formats=TIME_FORMATS, help=_TIME_HELP)] = None,
    operation: Annotated[
        str | None, typer.Option(help="An operation, or with --payments a type", show_default=False)
    ] = None,
    payments: Annotated[bool, typer.Option("--payments", help="DEAL instead of credits")] = False,
    limit: LimitOption = 100,
    cursor: CursorOption = None,
    export: ExportOption = None,
) -> Reply:
    """Sum up by user, period and operation; --limit counts users. The present period by default."""
    async with _usage(session) as found:
        filters: UsageFilters = {
            "interval": interval,  # type: ignore[typeddict-item]
            "zone": zone,
            "since": aware(since),
            "until": aware(until),
            "user_id": None if user is None else await found.user_id(user),
            "operation_type": operation,
        }
        if export is not None:
            report = found.reports.payments if payments else found.reports.credits
            return await write_export(export, lambda form: report.export(export, form, **filters))
        documents, next_cursor = await found.page(filters, limit, cursor, payments=payments)
    moved = ["type", "paid>", "received>"] if payments else ["operation_type", "spent>", "earned>"]
    columns = ["user_id", "period_start", *moved, "refunded>", "net>", "count>", "refunds>"]
    rows = [[_cell(column.rstrip(">"), document) for column in columns] for document in documents]
    heads = [column.replace("_", " ") for column in columns]
    return Reply(
        {"usage": documents, "next_cursor": next_cursor},
        [table("Usage", heads, rows), *more_below(next_cursor)],
    )


async def statement(
    session: Session,
    who: Annotated[str, typer.Argument(help="A UUID or ext:EXTERNAL_ID", show_default=False)],
    month: Annotated[str, typer.Argument(help="YYYY-MM", show_default=False)],
    html: Annotated[
        Path | None, typer.Option(help="Write a page to be printed to this file", show_default=False)
    ] = None,
    zone: ZoneOption = "UTC",
    heading: Annotated[str, typer.Option(help="Above the page, your name say")] = "Statement",
) -> Reply:
    """Show a user's month: balances before and after, each entry, totals, holds and payments."""
    year, number = _month(month)
    async with _usage(session) as found:
        made = await found.reports.statement(await found.user_id(who), year, number, zone=zone)
    document = made.to_dict()
    named = {name: document[name] for name in ("user_id", "period_start", "period_end", "is_complete")}
    summary: dict[str, Any] = {
        **named,
        **{name: document[name] for name in ("opening_balance", "closing_balance")},
        "entries": len(made.entries),
        "payments": len(made.payments),
    }
    if html is not None:
        page = await asyncio.to_thread(
            made.to_html, heading=heading, symbol=load_settings(**session.overrides()).token_symbol
        )
        await asyncio.to_thread(_write, html, page)
        return Reply({**summary, "file": str(html)}, [fields("Statement", {**summary, "file": str(html)})])
    columns = ["created_at", "operation_type", "amount>", "balance_after>"]
    rows = [[_cell(column.rstrip(">"), entry) for column in columns] for entry in document["entries"]]
    heads = [column.replace("_", " ") for column in columns]
    return Reply(document, [fields("Statement", summary), table("Entries", heads, rows)])


@dataclass(frozen=True, slots=True)
class _Usage:
    """What the commands work with."""

    users: UserDirectory
    reports: UsageReports

    async def user_id(self, who: str) -> str:
        """Return the id of the user that a name stands for."""
        if not who.startswith(EXTERNAL_PREFIX):
            return who
        return str((await self.users.get_by_external_id(who.removeprefix(EXTERNAL_PREFIX))).id)

    async def page(
        self, filters: UsageFilters, limit: int, cursor: str | None, *, payments: bool
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Return one page of rows as documents, and where the next one begins."""
        if not payments:
            credits = await self.reports.credits.query(limit=limit, cursor=cursor, **filters)
            return [row.to_dict() for row in credits.items], credits.next_cursor
        found = await self.reports.payments.query(limit=limit, cursor=cursor, **filters)
        decimals = self.reports.decimals
        return [row.to_dict(decimals=decimals) for row in found.items], found.next_cursor


@asynccontextmanager
async def _usage(session: Session) -> AsyncIterator[_Usage]:
    async with session.database() as database:
        decimals = await get_meta(database, DECIMALS)
        reports = UsageReports(database, decimals=DEAL_DECIMALS if decimals is None else int(decimals))
        yield _Usage(UserDirectory(database), reports)


def _month(text: str) -> tuple[int, int]:
    year, _, month = text.partition("-")
    if len(year) != 4 or len(month) != 2 or not (year + month).isdecimal():
        raise InvalidInputError("a month is written YYYY-MM", field="month", value=text[:32])
    return int(year), int(month)


def _write(path: Path, page: str) -> None:
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be written: {error.strerror}", path=str(path)) from None


def _cell(name: str, document: dict[str, Any]) -> str:
    value = document[name]
    if name == "period_start":
        return str(value)[:10]
    # To the second; the document has the rest.
    return str(value)[:19].replace("T", " ") if name == "created_at" else shown(value)
