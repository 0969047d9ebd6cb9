"""`dealctl transfer`, `charge`, `mint`, `burn`, `refund` and `balance`: money moved and seen."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from deal_sdk.cli.commands import command
from deal_sdk.cli.output import Reply, amount_text, fields
from deal_sdk.cli.session import Session, find_party, find_user
from deal_sdk.cli.users import WhoArgument
from deal_sdk.client import Deal
from deal_sdk.payments import PurchaseLimit
from deal_sdk.records import Transaction
from deal_sdk.settings import WaitFor

PartyArgument = Annotated[
    str,
    typer.Argument(
        help="A user's UUID, ext:EXTERNAL_ID, an address, or an operator wallet such as treasury",
        show_default=False,
    ),
]
AmountArgument = Annotated[str, typer.Argument(help="Whole tokens, for example 1.5", show_default=False)]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="For the record", show_default=False)]
KeyOption = Annotated[
    str | None,
    typer.Option("--key", help="Idempotency key: the same one again pays nothing twice", show_default=False),
]
WaitOption = Annotated[WaitFor, typer.Option("--wait-for", help="How far to wait")]


def register(application: typer.Typer) -> None:
    """Add the commands."""
    for name, body in (
        ("balance", balance),
        ("transfer", transfer),
        ("charge", charge),
        ("mint", mint),
        ("burn", burn),
        ("refund", refund),
    ):
        command(application, name)(body)


async def balance(session: Session, who: PartyArgument) -> Reply:
    """Show what someone holds, read from the chain."""
    async with session.deal() as deal:
        party = await deal.find_party(await find_party(deal, who))
        held = await deal.tokens.balance_of(party.address)
        document = {
            "balance": amount_text(held),
            "address": party.address,
            "token_account": party.token_account,
            "user_id": None if party.user_id is None else str(party.user_id),
            "operator_wallet": party.operator_name,
        }
        return Reply(document, [fields("Balance", document)])


async def transfer(
    session: Session,
    sender: Annotated[str, typer.Argument(metavar="FROM", help="Who pays", show_default=False)],
    recipient: Annotated[str, typer.Argument(metavar="TO", help="Who receives", show_default=False)],
    amount: AmountArgument,
    reason: ReasonOption = None,
    key: KeyOption = None,
    wait_for: WaitOption = "confirmed",
    max_purchases: Annotated[
        int | None,
        typer.Option(
            min=1, help="Count it as a purchase, of which so many are allowed a day", show_default=False
        ),
    ] = None,
) -> Reply:
    """Transfer between users, addresses and operator wallets."""
    async with session.deal() as deal:
        limit = None if max_purchases is None else PurchaseLimit(str(deal.mint.address), max_purchases)
        payment = await deal.tokens.transfer(
            await find_party(deal, sender),
            await find_party(deal, recipient),
            amount,
            reason,
            purchase_limit=limit,
            idempotency_key=key,
            wait_for=wait_for,
        )
        return payment_reply(deal, payment)


async def charge(
    session: Session,
    who: WhoArgument,
    service: Annotated[str, typer.Argument(help="search, goal, analysis, ...", show_default=False)],
    key: KeyOption = None,
    wait_for: WaitOption = "confirmed",
) -> Reply:
    """Charge a user what a service costs now."""
    async with session.deal() as deal:
        user = await find_user(deal, who)
        payment = await deal.tokens.deduct_service_fee(
            user.id, service, idempotency_key=key, wait_for=wait_for
        )
        return payment_reply(deal, payment)


async def mint(
    session: Session,
    recipient: Annotated[str, typer.Argument(metavar="TO", help="Who receives", show_default=False)],
    amount: AmountArgument,
    reason: ReasonOption = None,
    key: KeyOption = None,
    wait_for: WaitOption = "confirmed",
) -> Reply:
    """Create new tokens in a wallet."""
    async with session.deal() as deal:
        to_id = await find_party(deal, recipient)
        payment = await deal.tokens.mint(to_id, amount, reason, idempotency_key=key, wait_for=wait_for)
        return payment_reply(deal, payment)


async def burn(
    session: Session,
    holder: Annotated[str, typer.Argument(metavar="FROM", help="Whose tokens", show_default=False)],
    amount: AmountArgument,
    reason: ReasonOption = None,
    key: KeyOption = None,
    wait_for: WaitOption = "confirmed",
) -> Reply:
    """Destroy tokens of a wallet whose key is kept here."""
    async with session.deal() as deal:
        from_id = await find_party(deal, holder)
        payment = await deal.tokens.burn(from_id, amount, reason, idempotency_key=key, wait_for=wait_for)
        return payment_reply(deal, payment)


async def refund(
    session: Session,
    payment_id: Annotated[str, typer.Argument(metavar="PAYMENT", help="Its id", show_default=False)],
    amount: Annotated[
        str | None, typer.Option("--amount", help="Whole tokens; all of it by default", show_default=False)
    ] = None,
    reason: ReasonOption = None,
    key: KeyOption = None,
    wait_for: WaitOption = "confirmed",
) -> Reply:
    """Give a payment back, wholly or in part, never more than was paid."""
    async with session.deal() as deal:
        payment = await deal.tokens.refund(payment_id, amount, reason, idempotency_key=key, wait_for=wait_for)
        return payment_reply(deal, payment)


def payment_reply(deal: Deal, payment: Transaction) -> Reply:
    """Show a payment."""
    document: dict[str, Any] = payment.to_dict(decimals=deal.mint.decimals)
    names = ("id", "type", "status", "amount", "from_address", "to_address", "reason", "signature")
    return Reply(document, [fields("Payment", {name: document[name] for name in names})])
