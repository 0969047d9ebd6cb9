"""`dealctl wallet`: connect wallets, make them, and import keys from Solana CLI files."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from deal_sdk.chain import KeypairSigner
from deal_sdk.chain.signers import read_key_file
from deal_sdk.cli.commands import command
from deal_sdk.cli.output import Reply, fields, shown, table
from deal_sdk.cli.session import Session, find_user
from deal_sdk.cli.users import WhoArgument
from deal_sdk.errors import InvalidInputError
from deal_sdk.wallets import Wallet

AddressArgument = Annotated[str, typer.Argument(help="A Solana address", show_default=False)]
KeyFileArgument = Annotated[
    Path, typer.Argument(help="A key file as the Solana CLI writes it", show_default=False)
]
StatementOption = Annotated[
    str | None, typer.Option(help="What the user agrees to, in one line", show_default=False)
]
LOCAL_DOMAIN: Final = "localhost"
"""Whoever signs with a file at a shell is shown no page."""


def register(application: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Wallets and their keys.")
    application.add_typer(group, name="wallet")
    command(group, "connect")(connect)
    command(group, "disconnect")(disconnect)
    command(group, "create")(create)
    command(group, "list")(list_wallets)
    command(group, "import")(import_key)
    command(group, "primary")(primary)
    command(group, "challenge")(challenge)
    command(group, "prove")(prove)
    command(group, "prove-key")(prove_key)


async def connect(session: Session, who: WhoArgument, address: AddressArgument) -> Reply:
    """Connect a wallet whose key the user keeps."""
    async with session.deal() as deal:
        user = await find_user(deal, who)
        return _reply(await deal.wallets.connect_wallet(user.id, address))


async def disconnect(session: Session, who: WhoArgument, address: AddressArgument) -> Reply:
    """Make a user's wallet inactive; its history stays."""
    async with session.deal() as deal:
        user = await find_user(deal, who)
        return _reply(await deal.wallets.disconnect_wallet(user.id, address))


async def create(session: Session, who: WhoArgument) -> Reply:
    """Make a wallet for a user, with its key kept encrypted in the database."""
    async with session.deal() as deal:
        user = await find_user(deal, who)
        return _reply(await deal.wallets.create_custodial(user.id))


async def list_wallets(
    session: Session,
    who: Annotated[
        str | None, typer.Argument(help="A user; the operator's own wallets by default", show_default=False)
    ] = None,
) -> Reply:
    """List a user's wallets, or the operator's."""
    if who is None:
        async with session.keystore() as keystore:
            names = await keystore.names()
        rows = [[name, address] for name, address in names.items()]
        return Reply({"operator_wallets": names}, [table("Operator wallets", ["name", "address"], rows)])
    async with session.deal() as deal:
        wallets = await deal.wallets.list_wallets((await find_user(deal, who)).id)
    lines = [[item.address, item.status, shown(item.is_primary), shown(item.verified_at)] for item in wallets]
    return Reply(
        {"wallets": [item.to_dict() for item in wallets]},
        [table("Wallets", ["address", "status", "primary", "verified"], lines)],
    )


async def import_key(
    session: Session,
    file: KeyFileArgument,
    name: Annotated[
        str | None,
        typer.Option(
            help="Keep it as an operator wallet, such as treasury before the mint is made", show_default=False
        ),
    ] = None,
    user: Annotated[
        str | None, typer.Option(help="Keep it as this user's wallet", show_default=False)
    ] = None,
) -> Reply:
    """Keep a key from a file encrypted, as an operator wallet or a user's; the file stays as it is."""
    if (name is None) == (user is None):
        raise InvalidInputError("say whose key it is: either --name or --user")
    key = await asyncio.to_thread(read_key_file, file)
    if name is not None:
        async with session.keystore() as keystore:
            document: dict[str, Any] = {"name": name, "address": await keystore.import_key(key, name)}
        return Reply(document, [fields("Operator wallet", document)])
    async with session.deal() as deal:
        owner = await find_user(deal, str(user))
        return _reply(await deal.wallets.import_custodial(owner.id, key))


async def primary(session: Session, who: WhoArgument, address: AddressArgument) -> Reply:
    """Make a connected wallet the one that a user's payments come from and go to."""
    async with session.deal() as deal:
        user = await find_user(deal, who)
        return _reply(await deal.wallets.set_primary(user.id, address))


async def challenge(
    session: Session,
    who: WhoArgument,
    address: AddressArgument,
    domain: Annotated[
        str, typer.Option("--domain", help="Of the page that asks, as users see it", show_default=False)
    ],
    statement: StatementOption = None,
    uri: Annotated[str | None, typer.Option(help="What the proof is for", show_default=False)] = None,
    chain_id: Annotated[
        str | None, typer.Option(help="mainnet, testnet, devnet or localnet", show_default=False)
    ] = None,
) -> Reply:
    """Make a Sign-In-With-Solana message that proves a wallet once, when the wallet has signed it."""
    async with session.deal() as deal:
        user = await find_user(deal, who)
        made = await deal.wallets.challenge(
            user.id, address, domain=domain, statement=statement, uri=uri, chain_id=chain_id
        )
    shown_apart = {name: value for name, value in made.to_dict().items() if name != "message"}
    return Reply(made.to_dict(), [fields("Challenge", shown_apart), Text(made.message)])


async def prove(
    session: Session,
    nonce: Annotated[str, typer.Argument(metavar="NONCE", help="The challenge's", show_default=False)],
    signature: Annotated[
        str, typer.Argument(metavar="SIGNATURE", help="The wallet's, in base58", show_default=False)
    ],
) -> Reply:
    """Prove a wallet by its signature over a challenge's message, and connect it."""
    async with session.deal() as deal:
        return _reply(await deal.wallets.prove_ownership(nonce, signature))


async def prove_key(
    session: Session,
    who: WhoArgument,
    file: KeyFileArgument,
    domain: Annotated[str, typer.Option("--domain", help="Of whoever asks")] = LOCAL_DOMAIN,
    statement: StatementOption = None,
) -> Reply:
    """Prove a wallet with its key file: ask, sign and prove in one go; the key is not kept."""
    signer = await asyncio.to_thread(KeypairSigner.from_file, file)
    async with session.deal() as deal:
        user = await find_user(deal, who)
        made = await deal.wallets.challenge(user.id, str(signer.address), domain=domain, statement=statement)
        signature = await signer.sign(made.message.encode())
        return _reply(await deal.wallets.prove_ownership(made.nonce, bytes(signature)))


def _reply(wallet: Wallet) -> Reply:
    return Reply(wallet.to_dict(), [fields("Wallet", wallet.to_dict())])
