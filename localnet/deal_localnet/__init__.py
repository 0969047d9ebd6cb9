"""An embedded Solana validator: LiteSVM behind Solana's JSON-RPC and WebSocket PubSub.

It owns a chain of its own: slots, blockhashes, commitments, history, and the replies of an Agave node. It
never joins a real cluster, never votes, and never imports `deal_sdk`.

    async with Localnet(LocalnetConfig(slot_seconds=0.1)) as localnet:
        reply = await localnet.handle(b'{"jsonrpc":"2.0","id":1,"method":"getSlot"}')
"""

from .account_files import NamedAccount, read_account_directory, read_account_file, read_program
from .config import LocalnetConfig
from .endpoint import ConnectionDropped, Endpoint
from .errors import RpcError
from .faults import Fault, FaultKind, FaultScript
from .localnet import Localnet
from .pubsub_session import SubscriptionSession
from .server import LocalnetServer
from .setup_errors import AccountFileError, LedgerError, OptionError, ProgramFileError, SetupError
from .snapshots import Snapshot
from .threaded import LoopThread, ThreadedLocalnet

__all__ = [
    "AccountFileError",
    "ConnectionDropped",
    "Endpoint",
    "Fault",
    "FaultKind",
    "FaultScript",
    "LedgerError",
    "Localnet",
    "LocalnetConfig",
    "LocalnetServer",
    "LoopThread",
    "NamedAccount",
    "OptionError",
    "ProgramFileError",
    "RpcError",
    "SetupError",
    "Snapshot",
    "SubscriptionSession",
    "ThreadedLocalnet",
    "read_account_directory",
    "read_account_file",
    "read_program",
]
