"""`dealctl localnet`: the embedded validator as a server in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deal_localnet import Localnet, LocalnetConfig, LocalnetServer
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
    command(application, "localnet", NO_SERVER)(localnet)


async def localnet(
    session: Session,
    host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
    rpc_port: Annotated[
        int,
        typer.Option(
            help="JSON-RPC; the WebSocket is on the next one. 0 picks a free pair", min=0, max=65534
        ),
    ] = DEFAULT_RPC_PORT,
    ledger: Annotated[Path | None, typer.Option(help="Folder that keeps the chain between runs")] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Begin the ledger anew")] = False,
    slot_milliseconds: Annotated[float, typer.Option(help="How long a slot takes")] = DEFAULT_SLOT_SECONDS
    * 1000,
    finality_slots: Annotated[
        int, typer.Option(help="Slots from landing to finality")
    ] = DEFAULT_FINALITY_SLOTS,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but the addresses")] = False,
) -> Reply:
    """Run an embedded Solana validator until it is told to stop."""
    try:
        config = LocalnetConfig(
            slot_seconds=slot_milliseconds / 1000,
            finality_slots=finality_slots,
            ledger_directory=ledger,
            reset_ledger=reset,
            programs=embedded_programs(),
        )
        async with Localnet(config) as chain, LocalnetServer(chain, host, rpc_port) as server:
            addresses = {"rpc_url": server.rpc_url, "websocket_url": server.ws_url}
            if not quiet:
                addresses["genesis_hash"] = str(chain.bank.genesis_hash)
            # The caller waits for the addresses, so they are shown now and not at the end.
            session.output.reply(Reply(addresses, [fields("Localnet", addresses)]))
            with stop_signal() as stopped:
                await stopped.wait()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the localnet cannot run: {error}") from None
    return Reply(addresses, is_shown=True)
