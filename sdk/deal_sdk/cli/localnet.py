"""`dealctl localnet`: the embedded validator as a server in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deal_localnet import Localnet, LocalnetServer, OptionError
from deal_localnet.command_line import RaisingParser, parser, read_invocation, unheeded
from deal_localnet.config import DEFAULT_FINALITY_SLOTS, DEFAULT_SLOT_SECONDS
from deal_localnet.server import DEFAULT_RPC_PORT
from deal_sdk.chain.allowance import embedded_programs
from deal_sdk.cli.commands import NO_SERVER, command
from deal_sdk.cli.output import Reply, fields
from deal_sdk.cli.session import Session
from deal_sdk.cli.stopping import stop_signal
from deal_sdk.errors import ConfigurationError


def register(application: typer.Typer) -> None:
    """Add the command."""
    command(application, "localnet", NO_SERVER, takes_foreign_flags=True)(localnet)


def _checked(flags: list[str] | None) -> list[str]:
    """Refuse as wrong usage what the embedded validator's own command line would refuse."""
    try:
        parser(parser_class=RaisingParser).parse_args(flags or [])
    except OptionError as error:
        raise typer.BadParameter(str(error)) from None
    return flags or []


async def localnet(
    session: Session,
    flags: Annotated[
        list[str] | None,
        typer.Argument(
            help="More flags of solana-test-validator's, such as --account ADDRESS FILE; see localnet.md",
            callback=_checked,
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
    rpc_port: Annotated[
        int,
        typer.Option(
            help="JSON-RPC; the WebSocket is on the next one. 0 picks a free pair", min=0, max=65534
        ),
    ] = DEFAULT_RPC_PORT,
    ledger: Annotated[Path | None, typer.Option(help="Folder that keeps the chain between runs")] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Begin the ledger anew")] = False,
    slot_milliseconds: Annotated[
        float | None,
        typer.Option(help=f"How long a slot takes; {DEFAULT_SLOT_SECONDS * 1000:g} by default"),
    ] = None,
    finality_slots: Annotated[
        int, typer.Option(help="Slots from landing to finality")
    ] = DEFAULT_FINALITY_SLOTS,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but the addresses")] = False,
) -> Reply:
    """Run an embedded Solana validator until it is told to stop."""
    given = ["--host", host, "--rpc-port", str(rpc_port), "--finality-slots", str(finality_slots)]
    given += ["--ledger", str(ledger)] if ledger is not None else []
    given += ["--slot-milliseconds", str(slot_milliseconds)] if slot_milliseconds is not None else []
    given += [flag for flag, is_set in (("--reset", reset), ("--quiet", quiet)) if is_set]
    try:
        options = parser(parser_class=RaisingParser).parse_args([*given, *(flags or [])])
        invocation = read_invocation(options, embedded_programs())
        async with (
            Localnet(invocation.config) as chain,
            LocalnetServer(chain, invocation.host, invocation.rpc_port) as server,
        ):
            if invocation.warp_slot is not None:
                chain.warp_to_slot(invocation.warp_slot)
            addresses = {"rpc_url": server.rpc_url, "websocket_url": server.ws_url}
            if not invocation.is_quiet:
                addresses["genesis_hash"] = str(chain.bank.genesis_hash)
            # The caller waits for the addresses, so they are shown now and not at the end.
            session.output.reply(Reply(addresses, [fields("Localnet", addresses)]))
            notes = [*invocation.notes, unheeded(invocation, is_resumed=chain.is_resumed)]
            for note in filter(None, notes):
                typer.echo(f"note: {note}", err=True)
            with stop_signal() as stopped:
                await stopped.wait()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the localnet cannot run: {error}") from None
    return Reply(addresses, is_shown=True)
