"""`dealctl renewals`: grant monthly credits from cron, and see who is due."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from deal_sdk.accounting import ChannelMembership, MonthlyRenewalService, RenewalWatch
from deal_sdk.cli.commands import DATABASE_ALONE, command
from deal_sdk.cli.credits import open_ledger
from deal_sdk.cli.output import Reply, fields, shown, table
from deal_sdk.cli.session import Session
from deal_sdk.client.channel import load_membership
from deal_sdk.client.renewals import make_renewals
from deal_sdk.settings import load_settings

DEFAULT_LISTED: Final = 100

TierOption = Annotated[str | None, typer.Option(help="Of one tier alone", show_default=False)]
LimitOption = Annotated[int | None, typer.Option(help="At most so many", min=1, show_default=False)]
MembershipOption = Annotated[
    str | None,
    typer.Option(
        help="MODULE:OBJECT whose is_member tells who is in the channel; DEAL_CHANNEL_MEMBERSHIP by default",
        show_default=False,
    ),
]


def register(application: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Grant monthly credits, each period once.")
    application.add_typer(group, name="renewals")
    command(group, "run", DATABASE_ALONE)(run)
    command(group, "due", DATABASE_ALONE)(due)
    command(group, "status", DATABASE_ALONE)(status)


async def run(
    session: Session,
    tier: TierOption = None,
    limit: LimitOption = None,
    membership: MembershipOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done")] = False,
    stop_on_error: Annotated[bool, typer.Option("--stop-on-error", help="End at the first error")] = False,
) -> Reply:
    """Renew everybody who is due; safe to run again, and from several machines at once."""
    async with _renewals(session, membership) as renewals:
        total = sum((await renewals.status()).due.values())
        with session.output.counter("renewals") as count:
            report = await renewals.renew_all_eligible(
                tier,
                limit,
                dry_run=dry_run,
                continue_on_error=not stop_on_error,
                progress=lambda processed, *_: count(processed, total, "renewals"),
            )
    document = report.to_dict()
    shown_fields = {**document, "skipped": _counts(report.skipped), "errors": len(report.errors)}
    tables = [fields("Renewals", shown_fields)]
    if report.errors:
        rows = [[str(error.user_id), error.code, error.error] for error in report.errors]
        tables.append(table("Errors", ["user", "code", "error"], rows))
    return Reply(document, tables)


async def due(
    session: Session,
    tier: TierOption = None,
    limit: Annotated[int, typer.Option(help="At most so many", min=1)] = DEFAULT_LISTED,
) -> Reply:
    """List users whose renewal, or whose subscription's end, is due."""
    async with (
        _renewals(session, None) as renewals,
        aclosing(renewals.get_users_due_for_renewal(tier, limit)) as users,
    ):
        found = [user async for user in users]
    rows = [
        [str(user.user_id), shown(user.external_id), user.tier, shown(user.next_renewal_at)] for user in found
    ]
    return Reply(
        {"users": [user.to_dict() for user in found]},
        [table("Due", ["user", "external id", "tier", "since"], rows)],
    )


async def status(session: Session) -> Reply:
    """Count who is due by tier, and say when the next run is."""
    async with _renewals(session, None) as renewals:
        found = await renewals.status()
    document = found.to_dict()
    return Reply(document, [fields("Renewals", {**document, "due": _counts(found.due)})])


def named_membership(name: str | None) -> ChannelMembership | None:
    """Return the object that answers for the channel, which may lie in the present folder."""
    if name is None:
        return None
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return load_membership(name)


@asynccontextmanager
async def _renewals(session: Session, membership: str | None) -> AsyncIterator[MonthlyRenewalService]:
    settings = load_settings(**session.overrides())
    channel = named_membership(membership or settings.channel_membership)
    async with session.database() as database, open_ledger(database) as ledger:
        watch = RenewalWatch(ledger.metrics, ledger.events, outbox=ledger.outbox)
        yield make_renewals(database, ledger.journal, settings, watch=watch, membership=channel)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
