"""What the pipeline needs of others: who signs a plan, who follows what was signed, who judges a failure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol
from uuid import UUID

from deal_sdk.chain import SignedTransaction, Verdict
from deal_sdk.payments.orders import Plan
from deal_sdk.records import Transaction

FailureJudge = Callable[[Transaction, Mapping[str, Any]], Awaitable[bool]]
"""Says of a finalized failure, by its evidence, whether the payment may be signed again all the same."""


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
