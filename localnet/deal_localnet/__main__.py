"""`python -m deal_localnet`: one localnet until it is told to stop."""

import argparse
import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path

from .config import DEFAULT_FINALITY_SLOTS, DEFAULT_SLOT_SECONDS, LocalnetConfig
from .localnet import Localnet
from .memory import collect_rarely, keep_memory
from .server import DEFAULT_RPC_PORT, LocalnetServer


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="deal_localnet", description="An embedded Solana validator.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--rpc-port", type=int, default=DEFAULT_RPC_PORT, help="0 picks a free one")
    parser.add_argument("--ledger", type=Path, help="folder that keeps the chain between runs")
    parser.add_argument("--reset", action="store_true", help="begin the ledger anew")
    parser.add_argument("--slot-milliseconds", type=float, default=DEFAULT_SLOT_SECONDS * 1000)
    parser.add_argument("--finality-slots", type=int, default=DEFAULT_FINALITY_SLOTS)
    parser.add_argument("--quiet", action="store_true", help="print nothing but the addresses")
    return parser.parse_args(arguments)


async def serve(options: argparse.Namespace) -> None:
    """Serve until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    config = LocalnetConfig(
        slot_seconds=options.slot_milliseconds / 1000,
        finality_slots=options.finality_slots,
        ledger_directory=options.ledger,
        reset_ledger=options.reset,
    )
    async with (
        Localnet(config) as localnet,
        LocalnetServer(localnet, options.host, options.rpc_port) as server,
    ):
        print(f"JSON RPC URL: {server.rpc_url}\nWebSocket PubSub URL: {server.ws_url}", flush=True)
        if not options.quiet:
            print(f"Genesis Hash: {localnet.bank.genesis_hash}", flush=True)
        await stop.wait()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command, in a process that is the chain's alone."""
    keep_memory()
    collect_rarely()
    asyncio.run(serve(parse_arguments(arguments)))


if __name__ == "__main__":
    main()
