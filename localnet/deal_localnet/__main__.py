"""`python -m deal_localnet`: one localnet until it is told to stop."""

import asyncio
import signal
import sys
from collections.abc import Sequence

from .command_line import Invocation, parser, read_invocation, unheeded
from .localnet import Localnet
from .memory import collect_rarely, keep_memory
from .server import LocalnetServer
from .setup_errors import SetupError


async def serve(invocation: Invocation) -> None:
    """Serve until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with (
        Localnet(invocation.config) as localnet,
        LocalnetServer(localnet, invocation.host, invocation.rpc_port) as server,
    ):
        # The process is the chain's alone, and what there is by now stays.
        keep_memory()
        collect_rarely()
        if invocation.warp_slot is not None:
            localnet.warp_to_slot(invocation.warp_slot)
        note = unheeded(invocation, is_resumed=localnet.is_resumed)
        if note is not None:
            print(f"note: {note}", file=sys.stderr)
        print(f"JSON RPC URL: {server.rpc_url}\nWebSocket PubSub URL: {server.ws_url}", flush=True)
        if not invocation.is_quiet:
            print(f"Genesis Hash: {localnet.bank.genesis_hash}", flush=True)
        await stop.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0 once it was told to stop, 1 when it cannot run; wrong usage exits with 2.
    """
    options = parser().parse_args(arguments)
    try:
        invocation = read_invocation(options)
        for note in invocation.notes:
            print(f"note: {note}", file=sys.stderr)
        asyncio.run(serve(invocation))
    except SetupError as error:
        print(f"error: {error.code}: {error}", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"error: localnet_serving: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
