"""`dealctl price`, `verify`, `reconcile`, `pause` and `db`: what an operator sets and looks after."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import typer

from deal_sdk.accounting.pricing import DEFAULT_PRICES, Price
from deal_sdk.amounts import format_amount
from deal_sdk.cli.commands import DATABASE_ALONE, command
from deal_sdk.cli.demo_report import check_table
from deal_sdk.cli.output import EXIT_DONE, EXIT_FAILED, Reply, fields, shown, table
from deal_sdk.cli.payments import AmountArgument
from deal_sdk.cli.session import Session
from deal_sdk.payments import LeaseHolder, PauseSwitch
from deal_sdk.records import current_revision, upgrade
from deal_sdk.records.schema import HEAD_REVISION

NOT_VERIFIED_CODE = "not_verified"

ServiceArgument = Annotated[str, typer.Argument(help="search, goal, analysis, ...", show_default=False)]
TIME_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]


def register(application: typer.Typer) -> None:
    """Add the commands."""
    prices = typer.Typer(no_args_is_help=True, help="What services cost.")
    application.add_typer(prices, name="price")
    command(prices, "set")(set_price)
    command(prices, "show")(show_price)
    command(prices, "list")(list_prices)
    command(application, "verify")(verify)
    command(application, "reconcile")(reconcile)
    command(application, "pause", DATABASE_ALONE)(pause)
    command(application, "unpause", DATABASE_ALONE)(unpause)
    database = typer.Typer(no_args_is_help=True, help="The database's schema.")
    application.add_typer(database, name="db")
    command(database, "upgrade", DATABASE_ALONE)(upgrade_database)
    command(database, "current", DATABASE_ALONE)(current)


async def set_price(
    session: Session,
    service: ServiceArgument,
    price: AmountArgument,
    valid_from: Annotated[
        datetime | None,
        typer.Option(formats=TIME_FORMATS, help="UTC unless it says otherwise; now by default"),
    ] = None,
    valid_to: Annotated[
        datetime | None, typer.Option(formats=TIME_FORMATS, help="When it ends; open by default")
    ] = None,
) -> Reply:
    """Set what a service costs from a time on."""
    async with session.deal() as deal:
        stored = await deal.pricing.set_price(
            service, price, valid_from=aware(valid_from), valid_to=aware(valid_to)
        )
        document = _price_document(stored, deal.mint.decimals)
    return Reply(document, [fields("Price", document)])


async def show_price(session: Session, service: ServiceArgument) -> Reply:
    """Show what a service costs now."""
    async with session.deal() as deal:
        fee = await deal.pricing.get_service_fee(service)
        document = {"service_type": service, "price": format_amount(fee, decimals=deal.mint.decimals)}
    return Reply(document, [fields("Price", document)])


async def list_prices(session: Session) -> Reply:
    """List every stored price, and the defaults beneath them."""
    async with session.deal() as deal:
        decimals = deal.mint.decimals
        stored = [_price_document(price, decimals) for price in await deal.pricing.list_prices()]
    defaults = {name: format_amount(price, decimals=decimals) for name, price in DEFAULT_PRICES.items()}
    rows = [[shown(value) for value in document.values()] for document in stored]
    rows += [[name, price, "default", "-"] for name, price in defaults.items()]
    return Reply(
        {"prices": stored, "defaults": defaults},
        [table("Prices", ["service", "price>", "valid from", "valid to"], rows)],
    )


async def verify(session: Session) -> Reply:
    """Prove the rules on this database and its chain; exit 1 when one is broken."""
    async with session.deal() as deal:
        with session.output.progress() as steps:
            steps.step("Proving the rules")
            report = await deal.verify()
    broken = [check.name for check in report.checks if not check.ok]
    failure = (NOT_VERIFIED_CODE, f"broken: {', '.join(broken)}") if broken else None
    exit_code = EXIT_FAILED if broken else EXIT_DONE
    return Reply(report.to_dict(), [check_table(report)], exit_code, failure)


async def reconcile(session: Session) -> Reply:
    """Carry on open payments, record what the chain shows, and say who holds what is still open."""
    async with session.deal() as deal:
        with session.output.progress() as steps:
            steps.step("Reading the chain")
            report = await deal.reconcile()
        holders = [_holder_document(holder, deal.leases.owner) for holder in await deal.leases.holders()]
    found = {"resumed_payments": report.resumed_payments}
    document: dict[str, Any] = {**found, "history": report.history.to_dict(), "holders": holders}
    rows = [[shown(value) for value in holder.values()] for holder in holders]
    return Reply(
        document,
        [
            fields("Reconciled", {**found, **report.history.to_dict()}),
            table(
                "Open payments", ["worker", "this one", "process", "alive", "open>", "oldest", "until"], rows
            ),
        ],
    )


def _holder_document(holder: LeaseHolder, own: UUID) -> dict[str, Any]:
    return {
        "worker": None if holder.worker_id is None else str(holder.worker_id),
        "is_this_command": holder.worker_id == own,
        "process": holder.name,
        "is_alive": holder.is_alive,
        "open_payments": holder.open_payments,
        "oldest_at": holder.oldest_at,
        "expires_at": holder.expires_at,
    }


async def pause(
    session: Session,
    reason: Annotated[str, typer.Argument(help="What refused callers are told", show_default=False)],
) -> Reply:
    """Stop all workers on this database from recording and signing payments."""
    async with session.database() as database:
        switch = PauseSwitch(database)
        await switch.pause(reason)
        document = {"paused": True, "reason": await switch.reason()}
    return Reply(document, [fields("Payments", document)])


async def unpause(session: Session) -> Reply:
    """Let payments go on, the recorded ones that were not signed included."""
    async with session.database() as database:
        await PauseSwitch(database).release()
    document = {"paused": False}
    return Reply(document, [fields("Payments", document)])


async def upgrade_database(session: Session) -> Reply:
    """Bring the database's schema to this version's."""
    async with session.database(migrate=True) as database:
        await upgrade(database)
        document = {"revision": await current_revision(database), "newest": HEAD_REVISION}
    return Reply(document, [fields("Database", document)])


async def current(session: Session) -> Reply:
    """Show the database's schema; one that this version cannot use is an error."""
    async with session.database(migrate=False) as database:
        document = {"revision": await current_revision(database), "newest": HEAD_REVISION}
    return Reply(document, [fields("Database", document)])


def aware(moment: datetime | None) -> datetime | None:
    """Read a time without a zone as UTC."""
    if moment is None or moment.tzinfo is not None:
        return moment
    return moment.replace(tzinfo=UTC)


def _price_document(price: Price, decimals: int) -> dict[str, Any]:
    return {
        "service_type": price.service_type,
        "price": format_amount(price.amount_base_units, decimals=decimals),
        "valid_from": price.valid_from.isoformat(),
        "valid_to": None if price.valid_to is None else price.valid_to.isoformat(),
    }
