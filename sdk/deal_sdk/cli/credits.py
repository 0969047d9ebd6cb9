"""`dealctl credits`: users' lots, and what is done with the ledger from cron."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer

from deal_sdk.accounting import CreditOutbox, CreditWatch, Journal, TokenAccountingService, TokenLedger
from deal_sdk.cli.commands import DATABASE_ALONE, command
from deal_sdk.cli.output import Reply, fields, shown, table
from deal_sdk.cli.session import Session, find_user_in
from deal_sdk.cli.users import RecordedUser
from deal_sdk.events import EventBus
from deal_sdk.metrics import Metrics
from deal_sdk.records import Database
from deal_sdk.webhooks import Outbox


def register(application: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Credits and their ledger.")
    application.add_typer(group, name="credits")
    command(group, "lots", DATABASE_ALONE)(lots)
    command(group, "expire", DATABASE_ALONE)(expire)
    command(group, "fold", DATABASE_ALONE)(fold)


async def lots(session: Session, who: RecordedUser) -> Reply:
    """Show a user's credits by lot, in the order in which they are spent."""
    async with session.database() as database, open_ledger(database) as ledger:
        user = await find_user_in(database, who)
        found = await TokenAccountingService(database, ledger.journal).get_lots(user.id)
    documents = [lot.to_dict() for lot in found]
    columns = ["id", "priority", "granted", "remaining", "held", "expires_at"]
    rows = [[shown(document[name]) for name in columns] for document in documents]
    return Reply({"user_id": str(user.id), "lots": documents}, [table("Lots", columns, rows)])


async def expire(session: Session) -> Reply:
    """Take expired credits off the balances; safe to run again, and from several machines at once."""
    async with session.database() as database, open_ledger(database) as ledger:
        document = {"expired": await TokenAccountingService(database, ledger.journal).expire_lots()}
    return Reply(document, [fields("Lots", document)])


async def fold(
    session: Session,
    before: Annotated[
        datetime, typer.Option(help="Entries made before this time, in UTC", show_default=False)
    ],
    who: Annotated[str | None, typer.Option("--user", help="Of this user alone", show_default=False)] = None,
) -> Reply:
    """Fold old entries into opening balances and delete them; safe to break off and to run again."""
    at = before if before.tzinfo is not None else before.replace(tzinfo=UTC)
    async with session.database() as database, open_ledger(database) as ledger:
        user_id = None if who is None else (await find_user_in(database, who)).id
        report = await TokenLedger(database, ledger.journal).delete_old_entries(at, user_id)
    document = report.to_dict()
    return Reply(document, [fields("Folded", document)])


@dataclass(frozen=True, slots=True)
class LedgerParts:
    """The ledger of a command, and where it tells of what it does."""

    journal: Journal
    metrics: Metrics
    events: EventBus
    outbox: Outbox
    """Of webhooks, which whoever delivers sends from there."""


@asynccontextmanager
async def open_ledger(database: Database) -> AsyncIterator[LedgerParts]:
    """Open the ledger alone; webhooks hear of it all the same."""
    events, metrics, outbox = EventBus(database.clock), Metrics(), Outbox(database, database.clock)
    await outbox.refresh()
    recorder = CreditOutbox(outbox, database.clock)
    journal = Journal(database, observers=[CreditWatch(metrics, events)], recorder=recorder)
    try:
        yield LedgerParts(journal, metrics, events, outbox)
    finally:
        await journal.close()
        await events.close()
