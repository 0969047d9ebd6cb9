"""`dealctl reward`: one reward, or thousands of them out of a file."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from deal_sdk.cli.commands import command
from deal_sdk.cli.output import EXIT_FAILED, Reply, fields, shown, table
from deal_sdk.cli.payments import AmountArgument, KeyOption, PartyArgument, WaitOption, payment_reply
from deal_sdk.cli.session import Session, find_party
from deal_sdk.client import Deal
from deal_sdk.errors import BatchInvalidError, InvalidInputError, TransactionFailedError
from deal_sdk.payments import BatchCost, BatchProgress, BatchReport, TableReport
from deal_sdk.payments.batches.reports import RECIPIENT_COLUMNS
from deal_sdk.records.export import export_rows
from deal_sdk.settings import WaitFor

PAY: Final = "pay"
MAX_UNPAID_SHOWN: Final = 50

FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="CSV, JSON or JSON Lines", show_default=False)
]
BatchKeyOption = Annotated[
    str | None,
    typer.Option(
        "--key",
        help="Names the payout; the file's name by default. The same again goes on",
        show_default=False,
    ),
]
TypeOption = Annotated[
    str | None, typer.Option("--type", help="For lines that name no type", show_default=False)
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Count the cost and pay nothing")]
ReportOption = Annotated[
    Path | None, typer.Option("--report", help="Write a report: .csv or .json", show_default=False)
]


class RewardGroup(TyperGroup):
    """Takes what names no subcommand as one reward, which is what `dealctl reward WHO` always was."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the subcommand before arguments that begin with none."""
        if args and args[0] not in self.commands and args[0] not in self.get_help_option_names(ctx):
            args = [PAY, *args]
        return super().parse_args(ctx, args)


def register(application: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=RewardGroup, no_args_is_help=True, help="Rewards from the reward wallet.")
    application.add_typer(group, name="reward")
    command(group, PAY)(pay)
    command(group, "batch")(batch)
    command(group, "tables")(tables)
    command(group, "close-tables")(close_tables)


async def pay(
    session: Session,
    who: PartyArgument,
    reward_type: Annotated[str, typer.Argument(metavar="TYPE", help="What it is for", show_default=False)],
    amount: AmountArgument,
    key: KeyOption = None,
    wait_for: WaitOption = "confirmed",
) -> Reply:
    """Pay one reward; the word pay may be left out."""
    async with session.deal() as deal:
        payment = await deal.rewards.distribute_reward(
            await find_party(deal, who), reward_type, amount, idempotency_key=key, wait_for=wait_for
        )
        return payment_reply(deal, payment)


async def batch(
    session: Session,
    file: FileArgument,
    key: BatchKeyOption = None,
    reward_type: TypeOption = None,
    dry_run: DryRunOption = False,
    report: ReportOption = None,
    wait_for: WaitOption = "confirmed",
) -> Reply:
    """Pay everybody in a file exactly once, many in one transaction; stopped, it goes on when run again."""
    batch_key = file.stem if key is None else key
    report_format = _format_of(report)
    async with session.deal() as deal:
        try:
            if dry_run:
                cost = await deal.rewards.estimate_batch(file, batch_key=batch_key, reward_type=reward_type)
                return _cost_reply(deal, batch_key, cost)
            paid = await _pay(session, deal, file, batch_key, reward_type, wait_for)
        except BatchInvalidError as error:
            for problem in error.facts["problems"]:
                sys.stderr.write(f"{file}:{problem['line']}: {problem['code']}: {problem['message']}\n")
            raise
        if report is not None:
            rows = _rows(paid, deal.mint.decimals)
            await export_rows(rows, report, report_format, RECIPIENT_COLUMNS)
        return _report_reply(deal, paid)


async def tables(session: Session) -> Reply:
    """List the address lookup tables of payouts and the rent that they lock."""
    async with session.deal() as deal:
        return _tables_reply(await deal.rewards.lookup_tables())


async def close_tables(session: Session) -> Reply:
    """Close the lookup tables and get their rent back; run it again after the cooldown, some four minutes."""
    async with session.deal() as deal:
        return _tables_reply(await deal.rewards.close_lookup_tables())


def _tables_reply(reports: Sequence[TableReport]) -> Reply:
    document = {
        "tables": [report.to_dict() for report in reports],
        "locked_lamports": sum(report.locked_lamports for report in reports),
    }
    rows = [[shown(value) for value in report.to_dict().values()] for report in reports]
    columns = ("address", "state", "addresses>", "lamports>", "slots to close>")
    return Reply(document, [table("Lookup tables", columns, rows)])


async def _pay(
    session: Session, deal: Deal, file: Path, batch_key: str, reward_type: str | None, wait_for: WaitFor
) -> BatchReport:
    with session.output.counter("proving") as show:

        def on_progress(progress: BatchProgress) -> None:
            done = progress.recorded - progress.pending
            text = f"paying: {progress.finalized} final, {progress.failed + progress.expired} unpaid"
            show(done, progress.lines, text)

        return await deal.rewards.distribute_batch(
            file, batch_key=batch_key, reward_type=reward_type, wait_for=wait_for, on_progress=on_progress
        )


def _format_of(report: Path | None) -> Any:
    if report is None:
        return None
    suffix = report.suffix.lower().removeprefix(".")
    if suffix not in ("csv", "json"):
        raise InvalidInputError("a report's name ends with .csv or .json", path=str(report))
    return suffix


async def _rows(paid: BatchReport, decimals: int) -> AsyncIterator[Sequence[dict[str, Any]]]:
    yield [line.to_dict(decimals=decimals) for line in paid.recipients]


def _cost_reply(deal: Deal, batch_key: str, cost: BatchCost) -> Reply:
    document = {"batch_key": batch_key, **cost.to_dict(decimals=deal.mint.decimals)}
    return Reply(document, [fields("This batch would take", document)])


def _report_reply(deal: Deal, paid: BatchReport) -> Reply:
    document = paid.to_dict(decimals=deal.mint.decimals)
    summary = {name: value for name, value in document.items() if name != "recipients"}
    unpaid = [line.to_dict(decimals=deal.mint.decimals) for line in paid.unpaid]
    if not unpaid:
        return Reply(document, [fields("Batch", summary)])
    rows = [
        [shown(line[name]) for name in ("position", "address", "amount", "status", "error")]
        for line in unpaid[:MAX_UNPAID_SHOWN]
    ]
    columns = ("line>", "address", "amount>", "status", "error")
    return Reply(
        document,
        [fields("Batch", summary), table("Not paid", columns, rows)],
        exit_code=EXIT_FAILED,
        failure=(TransactionFailedError.code, f"{len(unpaid)} of {len(paid.recipients)} were not paid"),
    )
