"""`dealctl token`: deploy the mint and look at it."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from deal_sdk.chain import TOKEN_2022_PROGRAM
from deal_sdk.cli.commands import command
from deal_sdk.cli.output import Reply, amount_text, fields
from deal_sdk.cli.session import Session
from deal_sdk.client import Deal
from deal_sdk.settings import TokenProgram

NAME_IN_SETTINGS: Final = "this mint carries no metadata; name and symbol are only in the settings"
NAME_OF_CLASSIC: Final = "a classic mint carries no metadata; name and symbol are only in the settings"
NAME_ON_CHAIN: Final = "name and symbol are on the chain, in the mint's own metadata"

ProgramOption = Annotated[
    TokenProgram | None,
    typer.Option(
        "--token-program", help="Which program a new mint belongs to; classic by default", show_default=False
    ),
]
YesMainnetOption = Annotated[
    bool, typer.Option("--yes-mainnet", help="Confirm that this may happen on mainnet", show_default=False)
]


def register(application: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="The token's mint.")
    application.add_typer(group, name="token")
    command(group, "create")(create)
    command(group, "show")(show)


async def create(
    session: Session,
    token_program: ProgramOption = None,
    yes_mainnet: YesMainnetOption = False,
) -> Reply:
    """Deploy the token for this database; the one that it has already is kept.

    Name and symbol are the settings DEAL_TOKEN_NAME and DEAL_TOKEN_SYMBOL.
    """
    more: dict[str, Any] = {"token_program": token_program, "mainnet_confirmed": yes_mainnet or None}
    async with session.deal(create_mint=True, **more) as deal:
        return _reply(await mint_document(deal))


async def show(session: Session) -> Reply:
    """Show the token: its mint, supply and authority, and where its name is."""
    async with session.deal() as deal:
        return _reply(await mint_document(deal))


async def mint_document(deal: Deal) -> dict[str, Any]:
    """Return what there is to say about the mint."""
    mint = deal.mint
    on_chain = mint.name is not None
    is_new_program = mint.program_id == TOKEN_2022_PROGRAM
    absent = NAME_IN_SETTINGS if is_new_program else NAME_OF_CLASSIC
    return {
        "address": str(mint.address),
        "name": mint.name if on_chain else deal.settings.token_name,
        "symbol": mint.symbol if on_chain else deal.settings.token_symbol,
        "name_is_on_chain": on_chain,
        "note": NAME_ON_CHAIN if on_chain else absent,
        "decimals": mint.decimals,
        "supply": amount_text(await deal.tokens.total_supply()),
        "token_program": "token-2022" if is_new_program else "classic",
        "program_id": str(mint.program_id),
        "mint_authority": None if mint.mint_authority is None else str(mint.mint_authority),
        "freeze_authority": None if mint.freeze_authority is None else str(mint.freeze_authority),
    }


def _reply(document: dict[str, Any]) -> Reply:
    return Reply(document, [fields("Token", document)])
