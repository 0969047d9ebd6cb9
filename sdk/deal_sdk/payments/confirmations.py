"""Waiting for transactions that are no payments: approvals, and what owners sign about allowances."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from solders.instruction import Instruction

from deal_sdk.chain import SignedTransaction, Verdict, instructions
from deal_sdk.clock import Clock, wait_within
from deal_sdk.errors import (
    ChargeRefusedError,
    RpcTimeoutError,
    TransactionExpiredError,
    TransactionFailedError,
)
from deal_sdk.payments.pipeline_seams import TransactionFollower


def unique_memo() -> Instruction:
    """Return a memo that makes a transaction's bytes, and so its signature, its own.

    The same approval on the same blockhash would otherwise be the one that landed before, and count as
    confirmed although a revocation came in between. It begins otherwise than a payment's memo, which leads
    from the chain to a record: here there is none.
    """
    return instructions.memo(f"deal-once:{uuid4()}")


class Confirmations:
    """Sends a signed transaction and waits until it is confirmed."""

    def __init__(self, follower: TransactionFollower, *, clock: Clock, timeout_seconds: float) -> None:
        """Wire the parts; nothing runs yet."""
        self._follower = follower
        self._clock = clock
        self._timeout_seconds = timeout_seconds

    async def confirm(self, what: str, signed: SignedTransaction) -> str:
        """Send a transaction and return its signature once it is confirmed.

        Args:
            what: names it in errors, such as "the approval".
            signed: what to send.

        Raises:
            RpcTimeoutError: when the time runs out first; it may still land.
            TransactionExpiredError, TransactionFailedError: when it provably did not happen.
        """
        following = self._follower.follow(signed)
        reached: asyncio.Task[Verdict] = asyncio.create_task(following.reached("confirmed"))
        try:
            if not await wait_within(self._clock, reached, self._timeout_seconds):
                raise RpcTimeoutError(f"{what} was sent and is not confirmed yet", signature=signed.signature)
            verdict = reached.result()
        finally:
            reached.cancel()
        if verdict.state == "expired":
            raise TransactionExpiredError(f"{what} expired before it landed", **verdict.evidence)
        if verdict.state == "failed":
            raise _failed(what, verdict)
        return signed.signature


def _failed(what: str, verdict: Verdict) -> TransactionFailedError:
    failure = verdict.evidence.get("failure") or {}
    if "number" in failure:
        return ChargeRefusedError(
            f"the on-chain program refused {what}: {failure['text']}",
            refusal=failure["name"],
            **verdict.evidence,
        )
    return TransactionFailedError(f"{what} failed on chain", **verdict.evidence)
