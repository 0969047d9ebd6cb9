"""`dealctl subscriptions`: whose buys are followed for whom."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

import typer

from deal_sdk.cli.commands import DATABASE_ALONE, command
from deal_sdk.cli.output import Reply, fields, short, shown, table
from deal_sdk.cli.session import Session
from deal_sdk.errors import InvalidInputError
from deal_sdk.monitor import PurchaseStore, SubscriptionStore

_DAY_SECONDS: Final = 86_400

UserOption = Annotated[str | None, typer.Option("--user", help="Of one user", show_default=False)]
WalletOption = Annotated[str | None, typer.Option("--wallet", help="To one wallet", show_default=False)]


def register(application: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Follow the buys of wallets for users.")
    application.add_typer(group, name="subscriptions")
    command(group, "add", DATABASE_ALONE)(add)
    command(group, "list", DATABASE_ALONE)(list_subscriptions)
    command(group, "remove", DATABASE_ALONE)(remove)
    command(group, "purchases", DATABASE_ALONE)(purchases)
    command(group, "cleanup", DATABASE_ALONE)(cleanup)


async def add(
    session: Session,
    user: Annotated[str, typer.Argument(help="The user's id", show_default=False)],
    wallet: Annotated[str, typer.Argument(help="Whose buys, an address", show_default=False)],
    buys: Annotated[
        int | None, typer.Option(help="How often one token may be bought in a period", show_default=False)
    ] = None,
    take_profit: Annotated[
        str | None, typer.Option(help="Take profit at so many percent", show_default=False)
    ] = None,
    stop_loss: Annotated[
        str | None, typer.Option(help="Stop the loss at so many percent", show_default=False)
    ] = None,
    more: Annotated[
        str | None, typer.Option(help="Further fields of the watch_config, as JSON", show_default=False)
    ] = None,
) -> Reply:
    """Follow a wallet's buys for a user; --buys needs a watch_config to be checked."""
    config = _read_json(more)
    for name, value in (("take_profit_percentage", take_profit), ("stop_loss_percentage", stop_loss)):
        if value is not None:
            config[name] = value
    async with session.database() as database:
        added = await SubscriptionStore(database).add(
            user, wallet, token_buy_count=buys, watch_config=config or None
        )
    return Reply(added.to_dict(), [fields("Subscription", added.to_dict())])


async def list_subscriptions(session: Session, user: UserOption = None, wallet: WalletOption = None) -> Reply:
    """List the subscriptions that were not removed."""
    async with session.database() as database:
        found = await SubscriptionStore(database).list(user_id=user, kol_wallet=wallet)
    rows = [
        [str(item.id), item.user_id, item.kol_wallet, item.type, shown(item.token_buy_count)]
        for item in found
    ]
    return Reply(
        {"subscriptions": [item.to_dict() for item in found]},
        [table("Subscriptions", ["id", "user", "wallet", "type", "buys>"], rows)],
    )


async def remove(
    session: Session,
    subscription: Annotated[str, typer.Argument(help="A subscription's id", show_default=False)],
) -> Reply:
    """Stop following; purchases that were not handed over yet are skipped."""
    async with session.database() as database:
        await SubscriptionStore(database).remove(subscription)
    document = {"id": subscription, "state": "removed"}
    return Reply(document, [fields("Subscription", document)])


async def purchases(
    session: Session,
    subscription: Annotated[str | None, typer.Option(help="Of one subscription", show_default=False)] = None,
    limit: Annotated[int, typer.Option(help="How many, 1 to 1000")] = 50,
) -> Reply:
    """List what buys led to, newest first."""
    async with session.database() as database:
        found = await PurchaseStore(database).purchases(subscription_id=subscription, limit=limit)
    rows = [
        [
            str(item.id),
            item.subscription.user_id,
            short(item.buy.token_mint),
            short(item.buy.signature),
            item.state,
            shown(item.reason or item.reference),
        ]
        for item in found
    ]
    return Reply(
        {"purchases": [item.to_dict() for item in found]},
        [table("Purchases", ["id", "user", "token", "transaction", "state", "about"], rows)],
    )


async def cleanup(
    session: Session,
    kept_days: Annotated[int, typer.Option(help="How long after their end they are kept, 7 or more")] = 90,
) -> Reply:
    """Delete purchases that ended long ago and are counted no more; a buy told again after that is new."""
    async with session.database() as database:
        document = {"deleted": await PurchaseStore(database).delete_ended(kept_days * _DAY_SECONDS)}
    return Reply(document, [fields("Purchases", document)])


def _read_json(text: str | None) -> dict[str, Any]:
    try:
        document = json.loads(text or "{}")
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise InvalidInputError("--more is a JSON object")
    return document
