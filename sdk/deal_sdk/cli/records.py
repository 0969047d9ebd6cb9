"""`dealctl history` and `transactions`: what was recorded, page by page or as a file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from deal_sdk.cli.commands import command
from deal_sdk.cli.output import Reply, fields, short, shown, table
from deal_sdk.cli.session import Session, find_party, find_user
from deal_sdk.cli.users import CursorOption, LimitOption, more_below
from deal_sdk.client import Deal
from deal_sdk.errors import InvalidInputError
from deal_sdk.records.export import ExportFormat

EXPORT_FORMATS: Final[dict[str, ExportFormat]] = {".csv": "csv", ".json": "json"}

UserOption = Annotated[
    str | None, typer.Option("--user", help="A UUID or ext:EXTERNAL_ID", show_default=False)
]
WalletOption = Annotated[
    str | None, typer.Option("--wallet", help="An address or an operator wallet's name", show_default=False)
]
TypeOption = Annotated[
    str | None, typer.Option("--type", help="transfer, service_fee, ...", show_default=False)
]
ExportOption = Annotated[
    Path | None,
    typer.Option("--export", help="Write all of it to a .csv or .json file instead", show_default=False),
]


def register(application: typer.Typer) -> None:
    """Add the commands."""
    command(application, "history")(history)
    command(application, "transactions")(transactions)


async def history(
    session: Session,
    user: UserOption = None,
    wallet: WalletOption = None,
    type_: TypeOption = None,
    limit: LimitOption = 100,
    cursor: CursorOption = None,
    export: ExportOption = None,
) -> Reply:
    """Show how balances changed, oldest first; what is not final yet is not in it."""
    async with session.deal() as deal:
        filters = {**await _whose(deal, user, wallet), "type": type_}
        with session.output.progress() as steps:
            steps.step("Reading the chain")
            # No other process need be running, so what became final meanwhile is read here.
            await deal.reconcile()
        if export is not None:
            return await write_export(export, lambda form: deal.history.export(export, form, **filters))
        page = await deal.history.query(limit=limit, cursor=cursor, **filters)
        documents = [row.to_dict(decimals=deal.mint.decimals) for row in page.items]
    columns = ["block_time", "owner_address", "type", "balance_before>", "change>", "balance_after>", "slot>"]
    return _page_reply("history", "Balance history", documents, columns, page.next_cursor)


async def transactions(
    session: Session,
    user: UserOption = None,
    wallet: WalletOption = None,
    type_: TypeOption = None,
    status: Annotated[
        str | None, typer.Option(help="pending, confirmed, finalized, ...", show_default=False)
    ] = None,
    limit: LimitOption = 100,
    cursor: CursorOption = None,
    export: ExportOption = None,
) -> Reply:
    """Show payments, oldest first."""
    async with session.deal() as deal:
        filters = {**await _whose(deal, user, wallet), "type": type_, "status": status}
        if export is not None:
            return await write_export(export, lambda form: deal.transactions.export(export, form, **filters))
        page = await deal.transactions.query(limit=limit, cursor=cursor, **filters)
        documents = [payment.to_dict(decimals=deal.mint.decimals) for payment in page.items]
    columns = ["created_at", "type", "from_address", "to_address", "amount>", "reason", "status", "signature"]
    return _page_reply("transactions", "Payments", documents, columns, page.next_cursor)


async def _whose(deal: Deal, user: str | None, wallet: str | None) -> dict[str, Any]:
    return {
        "user_id": None if user is None else (await find_user(deal, user)).id,
        "wallet": None if wallet is None else (await deal.find_party(await find_party(deal, wallet))).address,
    }


async def write_export(path: Path, write: Callable[[ExportFormat], Awaitable[int]]) -> Reply:
    """Write a file whose form its name tells, and say how many rows it has."""
    export_format = EXPORT_FORMATS.get(path.suffix.lower())
    if export_format is None:
        raise InvalidInputError("the file's name must end with .csv or .json", path=str(path))
    try:
        count = await write(export_format)
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be written: {error.strerror}", path=str(path)) from None
    document = {"file": str(path), "rows": count}
    return Reply(document, [fields("Exported", document)])


def _page_reply(
    name: str, title: str, documents: list[dict[str, Any]], columns: list[str], next_cursor: str | None
) -> Reply:
    rows = [[_cell(column.rstrip(">"), document) for column in columns] for document in documents]
    heads = [column.replace("_", " ") for column in columns]
    return Reply(
        {name: documents, "next_cursor": next_cursor}, [table(title, heads, rows), *more_below(next_cursor)]
    )


def _cell(name: str, document: dict[str, Any]) -> str:
    value = document[name]
    if name.endswith("address") or name == "signature":
        return short(value)
    if name in ("created_at", "block_time") and value is not None:
        # To the second; the document has the rest.
        return str(value)[:19].replace("T", " ")
    return shown(value)
