"""`dealctl fees`: let service fees accrue, see what is due, and settle many in one payment."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from deal_sdk.cli.commands import command
from deal_sdk.cli.output import Reply, fields, table
from deal_sdk.cli.payments import KeyOption, WaitOption
from deal_sdk.cli.session import Session, find_user
from deal_sdk.cli.users import WhoArgument

_OWED: Final = ("user_id", "address", "fees", "amount", "oldest_at")
OneUser = Annotated[str | None, typer.Argument(help="A user; everybody by default", show_default=False)]


def register(application: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Micro-fees: accrued one by one, settled together.")
    application.add_typer(group, name="fees")
    command(group, "accrue")(accrue)
    command(group, "due")(due)
    command(group, "settle")(settle)


async def accrue(
    session: Session,
    who: WhoArgument,
    service: Annotated[str, typer.Argument(help="search, goal, analysis, ...", show_default=False)],
    key: KeyOption = None,
) -> Reply:
    """Charge a user what a service costs now, to be settled later with other fees."""
    async with session.deal() as deal:
        user = await find_user(deal, who)
        fee = await deal.tokens.accrue_service_fee(user.id, service, idempotency_key=key)
        document = fee.to_dict(decimals=deal.mint.decimals)
        return Reply(document, [fields("Accrued fee", document)])


async def due(session: Session, who: OneUser = None) -> Reply:
    """Show what is owed in accrued fees, the oldest first."""
    async with session.deal() as deal:
        user_id = None if who is None else (await find_user(deal, who)).id
        totals = await deal.tokens.accrued_service_fees(user_id)
        documents = [total.to_dict(decimals=deal.mint.decimals) for total in totals]
        rows = [[str(document[name]) for name in _OWED] for document in documents]
        return Reply({"owed": documents}, [table("Accrued fees", list(_OWED), rows)])


async def settle(
    session: Session,
    who: OneUser = None,
    only_due: Annotated[
        bool, typer.Option("--only-due", help="Leave what is neither enough nor old enough by the settings")
    ] = False,
    wait_for: WaitOption = "confirmed",
) -> Reply:
    """Settle accrued fees, one payment for each user and wallet."""
    async with session.deal() as deal:
        user_id = None if who is None else (await find_user(deal, who)).id
        report = await deal.tokens.settle_service_fees(user_id, only_due=only_due, wait_for=wait_for)
        document = report.to_dict(decimals=deal.mint.decimals)
        paid = [[str(one[name]) for name in ("id", "amount", "status")] for one in document["payments"]]
        left = [[one["address"], one["amount"], one["error"]["message"]] for one in document["unsettled"]]
        tables = [table("Settled", ["payment", "amount", "status"], paid)]
        if left:
            tables.append(table("Still owed", ["address", "amount", "reason"], left))
        return Reply(document, tables)
