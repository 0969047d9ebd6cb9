"""What the end of an attempt means for its payment: an end as well, or another signature.

Owns the one exception to "no new signature before the last is proven dead". Where a sequence lets one
transaction of a payment happen, a signature that no node has in a block may be given up early. It may land
all the same, so it is looked at again before the payment is called failed or expired.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from deal_sdk.chain import Verdict
from deal_sdk.clock import Clock, wait_within
from deal_sdk.payments.attempts import AttemptStore, LiveAttempt
from deal_sdk.payments.changes import SIGNED_AGAIN_EARLY, AttemptEnd
from deal_sdk.payments.orders import Plan
from deal_sdk.payments.pipeline_seams import FailureJudge, Following
from deal_sdk.payments.retrying import until_done
from deal_sdk.records import Transaction

T = TypeVar("T")

EARLY_SECONDS: Final = 15.0
"""A sequenced transaction that no node has in a block by then is signed again; a blockhash lasts a minute."""
EARLY_LOOK_SECONDS: Final = 0.5


class AttemptEnds:
    """Judges attempts by their verdicts, and finds those that a payment may still be made by."""

    def __init__(
        self,
        attempts: AttemptStore,
        *,
        clock: Clock,
        max_attempts: int,
        may_sign_again: FailureJudge | None,
        early_seconds: float = EARLY_SECONDS,
    ) -> None:
        """Wire the parts; nothing is read yet.

        Args:
            attempts: where those that were given up early are found again.
            clock: measures how long no node has seen a transaction.
            max_attempts: how many signatures a payment may take.
            may_sign_again: asked of failures; without it each ends its payment.
            early_seconds: after which a sequenced transaction that nobody has seen is signed again.
        """
        self._attempts = attempts
        self._clock = clock
        self._max_attempts = max_attempts
        self._may_sign_again = may_sign_again
        self._early_seconds = early_seconds

    async def first_verdict(
        self, following: Following, plan: Plan, attempt: LiveAttempt, attempts_made: int
    ) -> Verdict:
        """Wait until a transaction is confirmed or has ended, or is given up because it may be signed again.

        Args:
            following: the transaction's.
            plan: its payment's.
            attempt: the transaction.
            attempts_made: how many its payment has; one that was looked at again is waited for to its end,
                and so is the last.
        """
        is_newest = attempt.number == attempts_made < self._max_attempts
        if not plan.is_sequenced or not is_newest:
            return await following.reached("confirmed")
        reached = asyncio.ensure_future(following.reached("confirmed"))
        try:
            is_there = await wait_within(self._clock, reached, self._early_seconds)
            unseen_count = following.unseen_count
            # Nothing is given up in the dark: a node must say by now that it does not have it.
            while not is_there and (following.is_seen or following.unseen_count == unseen_count):
                is_there = await wait_within(self._clock, reached, EARLY_LOOK_SECONDS)
            if is_there:
                return await reached
        finally:
            reached.cancel()
        height = attempt.transaction.last_valid_block_height
        evidence = {SIGNED_AGAIN_EARLY: True, "last_valid_block_height": height, "slot": None, "error": None}
        return Verdict("expired", True, None, None, evidence)

    async def meaning(
        self, payment: Transaction, plan: Plan, attempt: LiveAttempt, verdict: Verdict, attempts_made: int
    ) -> AttemptEnd:
        """Return what a verdict means for the payment.

        Args:
            payment: as it is known.
            plan: what it signs.
            attempt: the one that came to an end.
            verdict: its end.
            attempts_made: how many the payment has.
        """
        if verdict.state == "expired":
            # What the owner's wallet signed ends by a proof that covers what the owner may have sent.
            is_last = attempts_made >= self._max_attempts and plan.signed_by == "backend"
            return "expired" if is_last and not await self.is_open(payment, plan) else "attempt_expired"
        assert verdict.final
        if verdict.succeeded:
            return "finalized"
        if attempt.is_shared or await self.is_open(payment, plan):
            # Another one's part of it may have failed, or an earlier signature landed before it.
            return "attempt_failed"
        again = await self._is_judged_again(payment, verdict)
        return "attempt_failed" if again and attempts_made < self._max_attempts else "failed"

    async def is_open(self, payment: Transaction, plan: Plan) -> bool:
        """Return whether a signature that was given up early may have landed."""
        if not plan.is_sequenced:
            return False
        return await self._until_done(payment, lambda: self._attempts.was_given_up_early(payment.id))

    async def next_look(self, payment: Transaction, plan: Plan, verdict: Verdict) -> LiveAttempt | None:
        """Return an attempt that was given up early and is live again, after another that did not pay.

        Args:
            payment: as it is known.
            plan: what it signs.
            verdict: of the attempt that just ended; it is recorded.
        """
        if not plan.is_sequenced or verdict.succeeded or SIGNED_AGAIN_EARLY in verdict.evidence:
            return None
        return await self._until_done(payment, lambda: self._attempts.look_again(payment.id))

    async def _is_judged_again(self, payment: Transaction, verdict: Verdict) -> bool:
        """Tell a payment that failed from one whose sequence another charge took, which is signed again."""
        judge = self._may_sign_again
        if judge is None:
            return False
        # Asked of the last attempt as well: nothing failed while the chain does not show whose charge it was.
        return await self._until_done(payment, lambda: judge(payment, verdict.evidence))

    async def _until_done(self, payment: Transaction, action: Callable[[], Awaitable[T]]) -> T:
        return await until_done(self._clock, f"payment {payment.id}", action)
