"""`dealctl demo`: the whole story, on an embedded chain or on real servers, proven at its end."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from deal_sdk.chain.token import MAINNET_GENESIS_HASH
from deal_sdk.cli.commands import command
from deal_sdk.cli.demo_report import DemoReport, LimitUse
from deal_sdk.cli.demo_story import MAX_PURCHASES, STEPS, Story
from deal_sdk.cli.output import Reply, Steps
from deal_sdk.cli.passphrase import read_or_make
from deal_sdk.cli.picture import draw
from deal_sdk.cli.session import Session, open_database, with_passphrase
from deal_sdk.cli.token import ProgramOption, YesMainnetOption, mint_document
from deal_sdk.client import Deal
from deal_sdk.errors import ConfigurationError
from deal_sdk.payments import REWARD_WALLET, TREASURY
from deal_sdk.records import HistoryRow, Transaction
from deal_sdk.settings import load_settings

SETTLE_SECONDS: Final = 120.0
HISTORY_LOOKS: Final = 60
HISTORY_POLL_SECONDS: Final = 0.5
MAX_ROWS_PER_ACCOUNT: Final = 1_000
KEY_FILE: Final = Path("deal-demo.key")
"""Holds the passphrase for a database server when no setting names one."""
PICTURE_TITLE: Final = "./scripts/demo"
_ENDING_STEPS: Final = 3


def register(application: typer.Typer) -> None:
    """Add the command."""
    command(application, "demo")(demo)


async def demo(
    session: Session,
    token_program: ProgramOption = None,
    yes_mainnet: YesMainnetOption = False,
    svg: Annotated[
        Path | None, typer.Option(help="Also draw payments and refusals into this file", show_default=False)
    ] = None,
) -> Reply:
    """Pay, charge, reward, mint, burn and refuse, then prove it; all embedded unless told otherwise."""
    more: dict[str, Any] = {"token_program": token_program, "mainnet_confirmed": yes_mainnet or None}
    overrides = await _prepared(session.embedded_overrides(**more))
    with session.output.progress(STEPS + _ENDING_STEPS) as steps:
        async with Deal.open(create_mint=True, **overrides) as deal:
            if (
                not deal.settings.mainnet_confirmed
                and await deal.rpc.get_genesis_hash() == MAINNET_GENESIS_HASH
            ):
                raise ConfigurationError("this is mainnet; the demo pays there only with --yes-mainnet")
            story = Story(deal, steps)
            await story.play()
            report = await _ending(deal, story, steps)
    if svg is not None:
        await asyncio.to_thread(draw, svg, PICTURE_TITLE, report.picture())
    return report.reply()


async def _prepared(overrides: dict[str, Any]) -> dict[str, Any]:
    """Bring a new database to the schema, and have a passphrase for its keys."""
    async with open_database(overrides, migrate=True) as database:
        is_server = database.dialect != "sqlite"
    if is_server and load_settings(**overrides).keystore_passphrase is None:
        return {**overrides, "keystore_passphrase": read_or_make(KEY_FILE)}
    return await with_passphrase(overrides)


async def _ending(deal: Deal, story: Story, steps: Steps) -> DemoReport:
    steps.step("Waiting for finality")
    problems = (
        [] if await deal.settled(timeout_seconds=SETTLE_SECONDS) else ["payments did not settle in time"]
    )
    payments = [await deal.transactions.get(payment.id) for payment in story.payments]
    steps.step("Reading the history from the chain")
    history, missing_history = await _history(deal, payments)
    steps.step("Proving the rules")
    verify = await deal.verify()
    operators = {name: (await deal.find_party(name)).address for name in (TREASURY, REWARD_WALLET)}
    addresses = {name: person.address for name, person in story.people.items()} | operators
    return DemoReport(
        mint=await mint_document(deal),
        decimals=deal.mint.decimals,
        people=story.people,
        names={address: name for name, address in addresses.items()},
        payments=payments,
        refused=story.refused,
        balances=await _balances(deal, addresses),
        history=history,
        missing_history=missing_history,
        limits=await _limits(deal, story),
        verify=verify,
        problems=problems,
    )


async def _history(deal: Deal, payments: list[Transaction]) -> tuple[list[HistoryRow], int]:
    """Return the changes that the payments made, and how many are not recorded although looked for."""
    wanted = {
        (payment.signature, account)
        for payment in payments
        for account in _moved_accounts(payment)
        if payment.status == "finalized"
    }
    found: dict[tuple[str, str], HistoryRow] = {}
    for _ in range(HISTORY_LOOKS):
        await deal.reconcile()
        for account in {account for _, account in wanted}:
            page = await deal.history.query(
                token_account=account, newest_first=True, limit=MAX_ROWS_PER_ACCOUNT
            )
            found |= {
                (row.signature, account): row for row in page.items if (row.signature, account) in wanted
            }
        if len(found) == len(wanted):
            break
        # An endpoint may list a finalized transaction a little later than it calls it final.
        await deal.clock.sleep(HISTORY_POLL_SECONDS)
    rows = sorted(found.values(), key=lambda row: row.id)
    return rows, len(wanted) - len(found)


def _moved_accounts(payment: Transaction) -> list[str]:
    instruction = payment.instruction or {}
    return [account for name in ("source", "destination") if (account := instruction.get(name)) is not None]


async def _balances(deal: Deal, addresses: dict[str, str]) -> dict[str, Decimal]:
    return {name: await deal.tokens.balance_of(address) for name, address in addresses.items()}


async def _limits(deal: Deal, story: Story) -> list[LimitUse]:
    mint = str(deal.mint.address)
    return [
        LimitUse(
            person,
            await deal.rates.peek(person.user_id, person.tier, "transfer"),
            await deal.purchases.can_user_purchase_token(person.user_id, mint, MAX_PURCHASES),
        )
        for person in story.people.values()
    ]
