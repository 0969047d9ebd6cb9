"""Doors for callers who bring solana-py or anchorpy: both talk to the same endpoint as the package.

Owns nothing but their construction; both libraries take long to import and are loaded on first use.
Payments do not go this way, because neither library records a transaction before it sends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from solders.keypair import Keypair

from deal_sdk.chain.transport import Transport
from deal_sdk.settings import Commitment

if TYPE_CHECKING:
    from anchorpy.provider import Provider
    from solana.rpc.async_api import AsyncClient


def async_client(transport: Transport, *, commitment: Commitment = "confirmed") -> AsyncClient:
    """Return a solana-py client over a transport, so that it works with the embedded chain as well.

    Args:
        transport: stays open when the client is closed.
        commitment: at which the client reads by default.
    """
    from deal_sdk.chain.solana_client import TransportClient

    return TransportClient(transport, commitment)


def anchor_provider(
    transport: Transport, keypair: Keypair | None = None, *, commitment: Commitment = "confirmed"
) -> Provider:
    """Return an anchorpy provider over a transport, to read and call programs by their IDL.

    Args:
        transport: stays open when the provider is closed.
        keypair: pays and signs what the provider sends. anchorpy signs synchronously with a key in its
            hands, so no `Signer` fits here. None gives a provider that can only read.
        commitment: for preflight and confirmation.
    """
    from anchorpy.provider import Provider, Wallet
    from solana.rpc.commitment import Commitment as CommitmentName
    from solana.rpc.types import TxOpts

    wallet = Wallet.dummy() if keypair is None else Wallet(keypair)
    options = TxOpts(skip_confirmation=False, preflight_commitment=CommitmentName(commitment))
    return Provider(async_client(transport, commitment=commitment), wallet, options)
