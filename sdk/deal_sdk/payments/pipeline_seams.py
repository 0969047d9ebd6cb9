"""What the pipeline needs of others and tells them, and its bounds.

Others sign a plan, let several share a transaction, follow what was signed and judge a failure.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from deal_sdk.chain import SignedTransaction, Verdict
from deal_sdk.payments.attempts import LiveAttempt
from deal_sdk.payments.orders import Plan
from deal_sdk.records import Transaction

FailureJudge = Callable[[Transaction, Mapping[str, Any]], Awaitable[bool]]
"""Says of a finalized failure, by its evidence, whether the payment may be signed again all the same."""
AttemptEndObserver = Callable[[SignedTransaction, Verdict], None]
"""Told how each signed transaction ended, whatever that means for its payment."""
PaymentObserver = Callable[[Sequence[Transaction]], Awaitable[None]]
"""Called after changes of payments' statuses were committed; what it raises is logged."""
CommitTogether = Callable[[Sequence[LiveAttempt]], Awaitable[bool]]
"""Commits attempts that share a transaction, all or none; see `AttemptStore.add_together`."""


@dataclass(frozen=True, slots=True)
class PipelineBounds:
    """The pipeline's bounds, from the settings."""

    max_attempts: int
    max_in_flight: int


class Following(Protocol):
    """A signed transaction on its way to an end."""

    @property
    def is_seen(self) -> bool:
        """Return whether a node has it in a block, of whatever commitment."""
        ...

    unseen_count: int
    """How often a node that could know of it said that it has it in no block."""

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


class AttemptSharing(Protocol):
    """Has payments that were asked for together begin in one transaction."""

    async def first_attempt(
        self, payment: Transaction, plan: Plan, commit: CommitTogether
    ) -> LiveAttempt | None:
        """Return the committed attempt that a payment shares with others, or None when it goes alone."""
        ...
