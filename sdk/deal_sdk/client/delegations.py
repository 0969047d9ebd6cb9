"""Wiring of approvals: what owners let others spend."""

from __future__ import annotations

from typing import Protocol

from deal_sdk.chain import Confirmer, MintFacts, Rpc
from deal_sdk.clock import Clock
from deal_sdk.payments import Delegations, PaymentSigner
from deal_sdk.settings import Settings


class DelegationParts(Protocol):
    """What approvals need of a `Deal`."""

    settings: Settings
    clock: Clock
    rpc: Rpc
    mint: MintFacts


def make_delegations(deal: DelegationParts, signer: PaymentSigner, confirmer: Confirmer) -> Delegations:
    """Put together what approves and revokes; nothing is read yet."""
    return Delegations(
        mint=deal.mint,
        rpc=deal.rpc,
        signer=signer,
        follower=confirmer,
        clock=deal.clock,
        confirm_timeout_seconds=deal.settings.confirm_timeout_seconds,
    )
