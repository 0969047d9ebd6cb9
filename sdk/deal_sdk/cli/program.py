"""`dealctl program`: the on-chain program deal_allowance, on whatever chain the URL names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from deal_sdk.cli.commands import command
from deal_sdk.cli.output import Reply, fields
from deal_sdk.cli.session import Session
from deal_sdk.payments import ProgramPublisher, ProgramStatus
from deal_sdk.payments.allowances.publishing import Progress

YesMainnetOption = Annotated[
    bool, typer.Option("--yes-mainnet", help="Confirm that this may happen on mainnet", show_default=False)
]


def register(application: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="The on-chain program deal_allowance.")
    application.add_typer(group, name="program")
    command(group, "deploy")(deploy)
    command(group, "show")(show)
    command(group, "upgrade")(upgrade)


async def deploy(session: Session, yes_mainnet: YesMainnetOption = False) -> Reply:
    """Deploy the program for this database, or go on where an earlier call stopped.

    The fee payer pays, about 0.6 SOL of rent, and is the one who may upgrade it. Its address is remembered.
    """
    return await _publish(session, ProgramPublisher.deploy, yes_mainnet=yes_mainnet)


async def show(session: Session) -> Reply:
    """Show where the program is, whether it is this version's, and who may upgrade it."""
    async with session.deal() as deal:
        return _reply(await deal.allowances.publisher.status())


async def upgrade(session: Session, yes_mainnet: YesMainnetOption = False) -> Reply:
    """Replace the deployed program by this version's; resumed like a deployment."""
    return await _publish(session, ProgramPublisher.upgrade, yes_mainnet=yes_mainnet)


async def _publish(
    session: Session,
    publish: Callable[[ProgramPublisher, Progress], Awaitable[ProgramStatus]],
    *,
    yes_mainnet: bool,
) -> Reply:
    async with session.deal(mainnet_confirmed=yes_mainnet or None) as deal:
        with session.output.counter("writing the program") as show_step:

            def on_progress(done: int, total: int) -> None:
                show_step(done, total, "writing the program")

            return _reply(await publish(deal.allowances.publisher, on_progress))


def _reply(status: ProgramStatus) -> Reply:
    document = status.to_dict()
    return Reply(document, [fields("Program", document)])
