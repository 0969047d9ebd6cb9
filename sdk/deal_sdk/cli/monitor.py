"""`dealctl monitor`: which wallets are watched, and what became of each."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, Final

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deal_sdk.cli.commands import DATABASE_ALONE, command
from deal_sdk.cli.output import Reply, fields, shown, table
from deal_sdk.cli.session import Session
from deal_sdk.cli.stopping import stop_signal
from deal_sdk.errors import InvalidInputError
from deal_sdk.monitor import QuotaOverview, WalletMonitor, WatchedWallet, WatchStream
from deal_sdk.records.export import ExportFormat

AddressArgument = Annotated[str, typer.Argument(help="The wallet's address", show_default=False)]
ActorOption = Annotated[str | None, typer.Option("--actor", help="Who asks, for the log", show_default=False)]
REFRESH_SECONDS: Final = 30.0
_COLOURS: Final = {"normal": "green", "warning": "dark_orange", "limit": "red"}
_STATUS_COLOURS: Final = {"active": "green", "limit-reached": "red", "stopped": "bright_black"}
_BAR_CELLS: Final = 20


def register(application: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Watch wallets, within a quota.")
    application.add_typer(group, name="monitor")
    command(group, "add")(add)
    command(group, "stop", DATABASE_ALONE)(stop)
    command(group, "rewatch", DATABASE_ALONE)(rewatch)
    command(group, "limit", DATABASE_ALONE)(limit)
    command(group, "override", DATABASE_ALONE)(override)
    command(group, "reset", DATABASE_ALONE)(reset)
    command(group, "schedule-stop", DATABASE_ALONE)(schedule_stop)
    command(group, "export", DATABASE_ALONE)(export)
    command(group, "cleanup", DATABASE_ALONE)(cleanup)
    command(group, "list", DATABASE_ALONE)(list_wallets)
    command(group, "watch", DATABASE_ALONE)(watch)


async def add(
    session: Session,
    address: AddressArgument,
    label: Annotated[str | None, typer.Option(help="A name for people", show_default=False)] = None,
    wallet_type: Annotated[
        str | None, typer.Option("--type", help="Chooses a limit by type", show_default=False)
    ] = None,
    max_transactions: Annotated[
        int | None, typer.Option(help="The wallet's own limit; 99999 is none", show_default=False)
    ] = None,
    actor: ActorOption = None,
) -> Reply:
    """Watch a wallet from now on; a worker does the polling."""
    async with session.deal(background_jobs=False) as deal:
        wallet = await deal.monitor.add(
            address, label=label, wallet_type=wallet_type, max_transactions=max_transactions, actor=actor
        )
    return _reply(wallet)


async def stop(session: Session, address: AddressArgument, actor: ActorOption = None) -> Reply:
    """Stop watching a wallet; its count stays."""
    async with session.monitor() as monitor:
        return _reply(await monitor.stop(address, actor=actor))


async def rewatch(session: Session, address: AddressArgument, actor: ActorOption = None) -> Reply:
    """Watch a stopped wallet again; its count goes on."""
    async with session.monitor() as monitor:
        return _reply(await monitor.rewatch(address, actor=actor))


async def limit(
    session: Session,
    address: AddressArgument,
    max_transactions: Annotated[
        int | None, typer.Argument(help="The wallet's own limit; none takes it back", show_default=False)
    ] = None,
    actor: ActorOption = None,
) -> Reply:
    """Give a wallet a limit of its own; one that is beyond it stops at once."""
    async with session.monitor() as monitor:
        return _reply(await monitor.set_limit(address, max_transactions, actor=actor))


async def override(
    session: Session,
    address: AddressArgument,
    extra: Annotated[int, typer.Argument(help="Transactions beyond the limit, once", show_default=False)],
    actor: Annotated[str, typer.Option("--actor", help="Who grants them", show_default=False)],
    reason: Annotated[str, typer.Option("--reason", help="Why; both are kept", show_default=False)],
) -> Reply:
    """Grant a wallet transactions beyond its limit; one that stopped by itself goes on."""
    async with session.monitor() as monitor:
        return _reply(await monitor.override(address, extra_transactions=extra, actor=actor, reason=reason))


async def reset(session: Session, address: AddressArgument, actor: ActorOption = None) -> Reply:
    """Begin a wallet's count anew; the document holds what was counted before."""
    async with session.monitor() as monitor:
        done = await monitor.reset(address, actor=actor)
    return Reply(done.to_dict(), [fields("Watched wallet", _facts(done.wallet))])


async def schedule_stop(
    session: Session,
    address: AddressArgument,
    stop_at: Annotated[
        str | None,
        typer.Argument(help="When, as 2027-01-31T12:00:00+00:00; none takes it back", show_default=False),
    ] = None,
    actor: ActorOption = None,
) -> Reply:
    """Have a wallet stop at a time; a worker stops it."""
    async with session.monitor() as monitor:
        return _reply(await monitor.schedule_stop(address, _time(stop_at), actor=actor))


async def export(
    session: Session,
    address: AddressArgument,
    file_format: Annotated[ExportFormat, typer.Option("--format", help="Of the text")] = "json",
) -> Reply:
    """Hand out what was counted of a wallet; the count goes on."""
    async with session.monitor() as monitor:
        text = await monitor.export(address, format=file_format)
    return Reply({"address": address, "format": file_format, "export": text}, [Text(text)])


async def cleanup(
    session: Session,
    kept_days: Annotated[int, typer.Option(help="How long they are kept, 7 or more")] = 90,
    transactions_kept_days: Annotated[
        int | None, typer.Option(help="How long counted transactions are, 7 or more", show_default="for good")
    ] = None,
) -> Reply:
    """Delete old events and counts of RPC calls, and old counted transactions if told to; counts stay."""
    async with session.monitor() as monitor:
        done = await monitor.cleanup(kept_days, transactions_kept_days=transactions_kept_days)
    document = done.to_dict()
    return Reply(document, [fields("Deleted", document)])


async def list_wallets(session: Session) -> Reply:
    """List every wallet that was ever added, with its count, and the quota."""
    async with session.monitor() as monitor:
        return await _overview(monitor)


async def watch(
    session: Session,
    events: Annotated[
        int | None, typer.Option(help="End after so many events", min=1, show_default=False)
    ] = None,
) -> Reply:
    """Show the wallets live until told to stop; what happened is in the document."""
    seen: list[dict[str, Any]] = []
    with stop_signal() as stopped:
        async with session.monitor() as monitor, monitor.subscribe() as stream:
            with Live(console=session.output.live_console(), auto_refresh=False) as live:
                while not stopped.is_set() and (events is None or len(seen) < events):
                    reply = await _overview(monitor)
                    live.update(Group(*reply.shown), refresh=True)
                    seen += await _news(stream, stopped)
            reply = await _overview(monitor)
    return Reply({**reply.document, "events": seen}, reply.shown)


async def _news(stream: WatchStream, stopped: asyncio.Event) -> list[dict[str, Any]]:
    """Return the next event, or none once it is time to look again or to stop."""
    waits: list[asyncio.Future[Any]] = [
        asyncio.ensure_future(anext(stream)),
        asyncio.ensure_future(stopped.wait()),
    ]
    try:
        done, _ = await asyncio.wait(waits, timeout=REFRESH_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        return [waits[0].result().to_dict()] if waits[0] in done else []
    finally:
        for wait in waits:
            wait.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*waits, return_exceptions=True)


async def _overview(monitor: WalletMonitor) -> Reply:
    wallets, quota = await monitor.list(), await monitor.quota()
    document = {"wallets": [wallet.to_dict() for wallet in wallets], "quota": quota.to_dict()}
    return Reply(document, [wallets_table(wallets), _quota_line(quota)])


def wallets_table(wallets: tuple[WatchedWallet, ...]) -> Table:
    """Return the wallets as a table whose bars turn orange and red as pages' do."""
    rows: list[list[str | Text]] = [
        [
            wallet.address,
            shown(wallet.label),
            Text(wallet.status_text, style=_STATUS_COLOURS[wallet.status]),
            Text(wallet.badge, style=_COLOURS[wallet.level]),
            _bar(wallet),
            shown(wallet.next_stop),
            str(wallet.rpc_calls_today),
        ]
        for wallet in wallets
    ]
    columns = ["wallet", "label", "status", "count>", "used", "next stop>", "calls today>"]
    return table("Watched wallets", columns, rows)


def _bar(wallet: WatchedWallet) -> Text:
    full = wallet.progress_percent * _BAR_CELLS // 100
    bar = Text("\N{FULL BLOCK}" * full, style=_COLOURS[wallet.level])
    return bar.append("\N{LIGHT SHADE}" * (_BAR_CELLS - full), style="bright_black")


def _quota_line(quota: QuotaOverview) -> RenderableType:
    text = (
        f"RPC calls today: {quota.calls_used} of {quota.daily_quota} ({quota.used_percent} %), "
        f"{quota.forecast_calls} by the end of the day; "
        f"{quota.active_wallets} of {quota.max_wallets} wallets active"
    )
    return Text(text, style="red" if quota.will_exceed else "")


def _time(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInputError(f"{text!r} is not a time of ISO 8601", field="stop_at") from None


def _reply(wallet: WatchedWallet) -> Reply:
    return Reply(wallet.to_dict(), [fields("Watched wallet", _facts(wallet))])


def _facts(wallet: WatchedWallet) -> dict[str, Any]:
    return {
        "address": wallet.address,
        "label": wallet.label,
        "status": wallet.status_text,
        "count": wallet.badge,
        "next stop": wallet.next_stop,
        "stops at": wallet.stop_at,
    }
