"""One followed transaction: its verdicts as they come, and those who wait for them.

Owns the meaning of a status. Errors are looked at before the commitment, success and failure are
final at "finalized" alone, and what a fork took back is taken back here too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal

from deal_sdk.chain.failures import explain_failure
from deal_sdk.chain.replies import SignatureStatus
from deal_sdk.chain.sender import Broadcast, SendReport
from deal_sdk.chain.transactions import SignedTransaction
from deal_sdk.errors import RpcUnavailableError

logger = logging.getLogger(__name__)

VerdictState = Literal["confirmed", "finalized", "failed", "expired"]
Level = Literal["confirmed", "finalized"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a transaction, with its evidence as JSON data; only a final one never changes."""

    state: VerdictState
    final: bool
    slot: int | None
    error: Any | None
    evidence: dict[str, Any] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        """Return whether the transaction landed without an error."""
        return self.state in ("confirmed", "finalized")


class Following:
    """A transaction that a `Confirmer` follows until it is final."""

    def __init__(self, signature: str, transaction: SignedTransaction | None, now_seconds: float) -> None:
        """Begin to follow; a transaction of others has no bytes, so it is neither resent nor expired."""
        self.signature = signature
        self.transaction = transaction
        self.verdict: Verdict | None = None
        self.broadcast: Broadcast | None = None
        self.broadcast_at_seconds = now_seconds
        self.poll_at_seconds = now_seconds
        self.followed_at_seconds = now_seconds
        self.noted_status: str | None = None
        self.unseen_count = 0
        """How often a node that could know of it said that it has it in no block."""
        self._seen: SignatureStatus | None = None
        self._closed = False
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def is_final(self) -> bool:
        """Return whether the verdict can no longer change."""
        return self.verdict is not None and self.verdict.final

    @property
    def is_seen(self) -> bool:
        """Return whether a node has the transaction in a block, of whatever commitment."""
        return self._seen is not None

    @property
    def last_report(self) -> SendReport | None:
        """Return its broadcasts' last refusal, or that there was none; None before the first is back."""
        return None if self.broadcast is None else self.broadcast.report

    async def reached(self, level: Level) -> Verdict:
        """Wait until the transaction is at least confirmed, or finalized, or came to another end.

        Args:
            level: for "confirmed" a failure at confirmed is returned too, with `final` False.

        Returns:
            The verdict; at "finalized" always a final one.

        Raises:
            asyncio.CancelledError: when the confirmer closes meanwhile.
            RpcUnavailableError: when it was closed before.
        """
        while True:
            verdict = self.verdict
            if verdict is not None and (verdict.final or level == "confirmed"):
                return verdict
            await self._change()

    async def verdicts(self) -> AsyncIterator[Verdict]:
        """Iterate over the verdicts as they come, the newest where several came at once, to the final one."""
        told: Verdict | None = None
        while told is None or not told.final:
            if self.verdict is not None and self.verdict != told:
                told = self.verdict
                yield told
            else:
                await self._change()

    def observe(self, status: SignatureStatus, evidence: dict[str, Any]) -> None:
        """Take in a status that a node reported."""
        if self._seen is not None and self._seen.slot != status.slot:
            self._take_back()
        self._seen = status
        final = status.commitment == "finalized"
        evidence = {**evidence, "slot": status.slot, "error": status.error, "commitment": status.commitment}
        if status.error is not None:
            failure = self.transaction and explain_failure(self.transaction.raw_bytes, status.error)
            if failure:
                evidence["failure"] = failure
            if status.commitment != "processed":
                self._settle(Verdict("failed", final, status.slot, status.error, evidence))
        elif final:
            self._settle(Verdict("finalized", True, status.slot, None, evidence))
        elif status.commitment == "confirmed":
            self._settle(Verdict("confirmed", False, status.slot, None, evidence))

    def observe_nothing(self, context_slot: int) -> bool:
        """Take in a null status.

        Args:
            context_slot: the slot up to which the node could know.

        Returns:
            Whether the null counts: a node behind the slot where the transaction was seen is only late.
        """
        if self._seen is not None and context_slot < self._seen.slot:
            return False
        if self._seen is not None:
            logger.warning("%s vanished from slot %d", self.signature, self._seen.slot)
            self._seen = None
            self._take_back()
        self.unseen_count += 1
        return True

    def expire(self, evidence: dict[str, Any]) -> None:
        """End as expired; the confirmer holds the evidence that it can never land."""
        report = self.last_report
        refusal = None if report is None else report.to_evidence()
        self._settle(Verdict("expired", True, None, refusal, {**evidence, "slot": None, "error": refusal}))

    def close(self) -> None:
        """Cancel those who wait; what became of the transaction stays unknown."""
        self._closed = True
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.cancel()

    def _settle(self, verdict: Verdict) -> None:
        current = self.verdict
        if current is not None and (current.state, current.final, current.slot) == (
            verdict.state,
            verdict.final,
            verdict.slot,
        ):
            return
        if current is not None and current.final:
            return
        self.verdict = verdict
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _take_back(self) -> None:
        if not self.is_final:
            self.verdict = None

    async def _change(self) -> None:
        if self._closed:
            raise RpcUnavailableError(f"{self.signature} is no longer followed: the confirmer was closed")
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter


@dataclass(frozen=True, slots=True)
class DeliveryNote:
    """What is known of a transaction that no node has in a block yet; it is no verdict.

    `sent` when a node took the bytes of the last broadcast that was answered, `unknown` when it was
    refused or not answered; it may have landed all the same.
    """

    following: Following
    status: Literal["sent", "unknown"]
    evidence: dict[str, Any]

    @property
    def signature(self) -> str:
        """Return the transaction's signature."""
        return self.following.signature

    def forget(self) -> None:
        """Have it noted again, because this note was lost."""
        self.following.noted_status = None


def delivery_note(following: Following, *, endpoint: str, checked_at: str) -> DeliveryNote | None:
    """Return what changed since the last note, or None when there is nothing new to say."""
    broadcast, report = following.broadcast, following.last_report
    if broadcast is None or (report is None and broadcast.is_under_way and following.noted_status):
        return None
    status: Literal["sent", "unknown"] = "sent" if report is not None and report.error is None else "unknown"
    if following.noted_status == status:
        return None
    following.noted_status = status
    refusal = None if report is None else report.to_evidence()
    evidence = {
        "broadcasts": broadcast.turn + 1,
        "endpoint": endpoint,
        "error": refusal,
        "checked_at": checked_at,
    }
    return DeliveryNote(following, status, evidence)
