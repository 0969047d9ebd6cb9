"""Following one signature to its end, whoever sent it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Literal

from solders.signature import Signature

from deal_sdk.chain import Confirmer, Following, Verdict
from deal_sdk.clock import Clock, wait_within
from deal_sdk.errors import InvalidInputError, RpcTimeoutError
from deal_sdk.payments.attempts import AttemptStore


class TransactionMonitor:
    """Follows signatures; a failure or an expiry is reported only with its proof."""

    def __init__(
        self,
        *,
        confirmer: Confirmer,
        attempts: AttemptStore,
        sync_history: Callable[[], Awaitable[object]],
        clock: Clock,
        timeout_seconds: float,
    ) -> None:
        """Wire the parts; nothing runs yet.

        Args:
            sync_history: records what a finalized transaction did to our token accounts.
            timeout_seconds: how long a call follows when it does not say.
        """
        self._confirmer = confirmer
        self._attempts = attempts
        self._sync_history = sync_history
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._watchers: Counter[str] = Counter()

    async def monitor_transaction(
        self,
        signature: str,
        *,
        wait_for: Literal["confirmed", "finalized"] = "finalized",
        timeout_seconds: float | None = None,
    ) -> Verdict:
        """Follow a signature until it is confirmed, finalized, failed or expired.

        Expiry can be proven only for transactions that this package signed, whose last valid block
        height is recorded. A finalized one is recorded in the history of the token accounts it moved.

        Args:
            signature: in base58.
            wait_for: the commitment that is enough for success; a failure waits for finalized.
            timeout_seconds: how long to follow; the confirm timeout by default.

        Returns:
            The verdict with its evidence.

        Raises:
            InvalidInputError: for a text that is no signature.
            RpcTimeoutError: when the time ran out; nothing is known of the end.
        """
        _check_signature(signature)
        ours = await self._attempts.find_transaction(signature)
        following = self._confirmer.watch(signature) if ours is None else self._confirmer.follow(ours)
        self._watchers[signature] += 1
        try:
            verdict = await self._verdict(following, wait_for, timeout_seconds or self._timeout_seconds)
        finally:
            self._watchers[signature] -= 1
            if ours is None and not self._watchers[signature] and not following.is_final:
                # Nobody waits for a stranger's transaction any more, so its status is asked no longer.
                self._confirmer.forget(following)
        if verdict.state == "finalized":
            await self._sync_history()
        return verdict

    async def _verdict(
        self, following: Following, wait_for: Literal["confirmed", "finalized"], seconds: float
    ) -> Verdict:
        reached = asyncio.create_task(_end(following, wait_for))
        try:
            if not await wait_within(self._clock, reached, seconds):
                raise RpcTimeoutError(
                    "the transaction has not reached its end", signature=following.signature
                )
            return reached.result()
        finally:
            reached.cancel()


async def _end(following: Following, wait_for: Literal["confirmed", "finalized"]) -> Verdict:
    verdict = await following.reached(wait_for)
    if verdict.state == "failed" and not verdict.final:
        # A failure may be dropped with its fork, so only a finalized one is an end.
        return await following.reached("finalized")
    return verdict


def _check_signature(signature: str) -> None:
    try:
        Signature.from_string(signature)
    except (ValueError, TypeError):
        raise InvalidInputError("not a transaction signature", signature=str(signature)[:88]) from None
