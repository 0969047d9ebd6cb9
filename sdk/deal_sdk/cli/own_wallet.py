"""`dealctl prepare` and `dealctl submit`: payments that a wallet elsewhere signs."""

from __future__ import annotations

from typing import Annotated

import typer

from deal_sdk.cli.commands import command
from deal_sdk.cli.output import Reply, fields
from deal_sdk.cli.payments import AmountArgument, KeyOption, ReasonOption, WaitOption, payment_reply
from deal_sdk.cli.session import Session, find_party, find_user
from deal_sdk.cli.users import WhoArgument
from deal_sdk.payments import PreparedTransaction

OwnerPaysOption = Annotated[
    bool, typer.Option("--owner-pays-fee", help="Have the owner pay the network fee in SOL")
]


def register(application: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Payments that a wallet elsewhere signs.")
    application.add_typer(group, name="prepare")
    command(group, "transfer")(prepare_transfer)
    command(group, "charge")(prepare_charge)
    command(application, "submit")(submit)


async def prepare_transfer(
    session: Session,
    sender: Annotated[str, typer.Argument(metavar="FROM", help="Who pays, and signs", show_default=False)],
    recipient: Annotated[str, typer.Argument(metavar="TO", help="Who receives", show_default=False)],
    amount: AmountArgument,
    reason: ReasonOption = None,
    key: KeyOption = None,
    owner_pays_fee: OwnerPaysOption = False,
) -> Reply:
    """Record a transfer and show the transaction that its owner's wallet is to sign."""
    async with session.deal() as deal:
        prepared = await deal.tokens.prepare_transfer(
            await find_party(deal, sender),
            await find_party(deal, recipient),
            amount,
            reason,
            owner_pays_fee=owner_pays_fee,
            idempotency_key=key,
        )
        return _reply(prepared)


async def prepare_charge(
    session: Session,
    who: WhoArgument,
    service: Annotated[str, typer.Argument(help="search, goal, analysis, ...", show_default=False)],
    key: KeyOption = None,
    owner_pays_fee: OwnerPaysOption = False,
) -> Reply:
    """Record what a service costs now and show the transaction that the user's wallet is to sign."""
    async with session.deal() as deal:
        user = await find_user(deal, who)
        prepared = await deal.tokens.prepare_service_fee(
            user.id, service, owner_pays_fee=owner_pays_fee, idempotency_key=key
        )
        return _reply(prepared)


async def submit(
    session: Session,
    prepared_id: Annotated[str, typer.Argument(metavar="PREPARED", help="Its id", show_default=False)],
    signed: Annotated[
        str, typer.Argument(metavar="SIGNED", help="The signed transaction in base64", show_default=False)
    ],
    wait_for: WaitOption = "confirmed",
) -> Reply:
    """Take back what a wallet signed, prove that nothing but signatures changed, and pay."""
    async with session.deal() as deal:
        payment = await deal.tokens.submit_signed(prepared_id, signed, wait_for=wait_for)
        return payment_reply(deal, payment)


def _reply(prepared: PreparedTransaction) -> Reply:
    document = prepared.to_dict()
    return Reply(document, [fields("Prepared", document)])
