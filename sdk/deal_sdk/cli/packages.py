"""`dealctl packages`: credits that are sold for DEAL, and the invoices that ask for it."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from deal_sdk.accounting.subscriptions import MAX_PERIODS
from deal_sdk.cli.commands import command
from deal_sdk.cli.output import Reply, fields, shown, table
from deal_sdk.cli.payments import AmountArgument
from deal_sdk.cli.session import Session, find_user
from deal_sdk.payments.invoice_values import DEFAULT_INVOICE_SECONDS, MAX_INVOICE_SECONDS, Invoice
from deal_sdk.payments.packages import MAX_LIFETIME_DAYS, MAX_PACKAGE_CREDITS
from deal_sdk.records.lot_tables import DEFAULT_LOT_PRIORITY, MAX_LOT_PRIORITY

_PACKAGE_COLUMNS: Final = ("name", "credits", "price", "lifetime_days", "priority", "created_at")
_INVOICE_COLUMNS: Final = ("id", "status", "amount", "received", "expires_at", "granted_at")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The package's", show_default=False)]
WhoArgument = Annotated[
    str,
    typer.Argument(
        metavar="WHO", help="A user's UUID, ext:EXTERNAL_ID or the address of a wallet", show_default=False
    ),
]
ExpiryOption = Annotated[
    int,
    typer.Option("--expires-in-seconds", help="What arrives later is late", min=1, max=MAX_INVOICE_SECONDS),
]
KeyOption = Annotated[
    str | None,
    typer.Option("--key", help="Idempotency key: the same one again is the same invoice", show_default=False),
]


def register(application: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Credits sold for DEAL, and the invoices for them.")
    application.add_typer(group, name="packages")
    command(group, "offer")(offer)
    command(group, "withdraw")(withdraw)
    command(group, "list")(list_offered)
    command(group, "invoice")(invoice)
    command(group, "invoice-subscription")(invoice_subscription)
    command(group, "accept")(accept)
    command(group, "invoices")(invoices)


async def offer(
    session: Session,
    name: NameArgument,
    credits: Annotated[
        int,
        typer.Argument(
            help="What the buyer gets", min=1, max=MAX_PACKAGE_CREDITS, metavar="CREDITS", show_default=False
        ),
    ],
    price: AmountArgument,
    lifetime_days: Annotated[
        int | None,
        typer.Option(
            help="How long the credits last; for ever by default",
            min=1,
            max=MAX_LIFETIME_DAYS,
            show_default=False,
        ),
    ] = None,
    priority: Annotated[
        int, typer.Option(help="Credits of lower ones are spent first", min=0, max=MAX_LOT_PRIORITY)
    ] = DEFAULT_LOT_PRIORITY,
) -> Reply:
    """Offer a package from now on, in place of one of the same name."""
    async with session.deal() as deal:
        package = await deal.packages.offer(
            name, credits, price, lifetime_days=lifetime_days, priority=priority
        )
        document = package.to_dict(decimals=deal.mint.decimals)
    return Reply(document, [fields("Package", document)])


async def withdraw(session: Session, name: NameArgument) -> Reply:
    """Offer a package no longer; invoices for it and payments under way still have their credits."""
    async with session.deal() as deal:
        await deal.packages.withdraw(name)
    document = {"name": name, "withdrawn": True}
    return Reply(document, [fields("Package", document)])


async def list_offered(session: Session) -> Reply:
    """List what is offered, the cheapest first."""
    async with session.deal() as deal:
        decimals = deal.mint.decimals
        documents = [package.to_dict(decimals=decimals) for package in await deal.packages.list()]
    rows = [[shown(document[name]) for name in _PACKAGE_COLUMNS] for document in documents]
    columns = ("name", "credits>", "price>", "lifetime days>", "priority>", "since")
    return Reply({"packages": documents}, [table("Packages", columns, rows)])


async def invoice(
    session: Session,
    who: WhoArgument,
    name: NameArgument,
    expires_in: ExpiryOption = DEFAULT_INVOICE_SECONDS,
    key: KeyOption = None,
) -> Reply:
    """Ask a user to pay for a package from any wallet, by a Solana Pay link."""
    async with session.deal() as deal:
        user = await find_user(deal, who)
        made = await deal.packages.invoice(user.id, name, expires_in_seconds=expires_in, idempotency_key=key)
    return _invoice_reply(made)


async def invoice_subscription(
    session: Session,
    who: WhoArgument,
    tier: Annotated[str, typer.Argument(metavar="TIER", help="One with a price", show_default=False)],
    price: AmountArgument,
    periods: Annotated[int, typer.Option(help="How many the price is for", min=1, max=MAX_PERIODS)] = 1,
    expires_in: ExpiryOption = DEFAULT_INVOICE_SECONDS,
    key: KeyOption = None,
) -> Reply:
    """Ask a user to pay for a tier from any wallet; the subscription begins once the payment is final."""
    async with session.deal() as deal:
        user = await find_user(deal, who)
        made = await deal.packages.invoice_subscription(
            user.id, tier, price, periods=periods, expires_in_seconds=expires_in, idempotency_key=key
        )
    return _invoice_reply(made)


async def accept(
    session: Session,
    invoice_id: Annotated[str, typer.Argument(metavar="INVOICE", help="Its id", show_default=False)],
) -> Reply:
    """Take an invoice as paid whatever has arrived for it, late or too little, and grant it once."""
    async with session.deal() as deal:
        return _invoice_reply(await deal.packages.invoices.accept(invoice_id))


async def invoices(session: Session, who: WhoArgument) -> Reply:
    """List a user's invoices, the newest first, and what has arrived for each."""
    async with session.deal() as deal:
        user = await find_user(deal, who)
        documents = []
        for found in await deal.packages.invoices.of_user(user.id):
            arrived = await deal.packages.invoices.payments(found.id)
            payments = [payment.to_dict(decimals=deal.mint.decimals) for payment in arrived]
            documents.append({**found.to_dict(), "payments": payments})
    rows = [[shown(document[name]) for name in _INVOICE_COLUMNS] for document in documents]
    columns = ("id", "status", "amount>", "received>", "expires", "granted")
    document = {"user_id": str(user.id), "invoices": documents}
    return Reply(document, [table("Invoices", columns, rows)])


def _invoice_reply(made: Invoice) -> Reply:
    document = made.to_dict()
    return Reply(document, [fields("Invoice", document)])
