"""An embedded Solana validator: LiteSVM behind Solana's JSON-RPC and WebSocket PubSub.

It owns a chain of its own: slots, blockhashes, commitments, history, and the replies of an Agave node. It
never joins a real cluster, never votes, and never imports `deal_sdk`.

    async with Localnet(LocalnetConfig(slot_seconds=0.1)) as localnet:
        reply = await localnet.handle(b'{"jsonrpc":"2.0","id":1,"method":"getSlot"}')
"""

from .config import LocalnetConfig
from .localnet import Localnet
from .pubsub_session import SubscriptionSession
from .server import LocalnetServer

__all__ = ["Localnet", "LocalnetConfig", "LocalnetServer", "SubscriptionSession"]
