"""What the pipeline needs of the chain: who signs a plan, and who follows what was signed."""

from __future__ import annotations

from typing import Any, Protocol
from uuid import UUID

from deal_sdk.chain import SignedTransaction, Verdict
from deal_sdk.payments.orders import Plan


class Following(Protocol):
    """A signed transaction on its way to an end."""

    async def reached(self, commitment: Any) -> Verdict:
        """Return the verdict at a commitment, or the end when that comes first."""
        ...


class TransactionFollower(Protocol):
    """Sends a signed transaction, rebroadcasts the same bytes, and proves what became of it."""

    def follow(self, transaction: SignedTransaction) -> Following:
        """Take over a transaction whose bytes are committed."""
        ...


class PlanSigner(Protocol):
    """Turns a plan into signed bytes."""

    async def sign(self, payment_id: UUID, plan: Plan, amount_base_units: int) -> SignedTransaction:
        """Build and sign the plan with a fresh blockhash."""
        ...
