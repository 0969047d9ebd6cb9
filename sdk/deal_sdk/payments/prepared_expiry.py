"""The end of what owners' wallets never signed, or signed too late: proven dead, then released.

Owns the proof. A message that the backend must co-sign is dead once its blockhash is, because the
backend's signature is committed before it can leave, or was never made. A message that its owner alone
signs may have been sent by the owner, so the chain is searched for it; what is found is adopted.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from deal_sdk.chain import (
    INDEX_LAG_BLOCKS,
    EpochPosition,
    Rpc,
    SignedTransaction,
    check_signed,
    search_landed,
)
from deal_sdk.clock import Clock
from deal_sdk.errors import ChainError
from deal_sdk.payments.orders import Plan
from deal_sdk.payments.owner_messages import reference_of
from deal_sdk.payments.pipeline import PaymentPipeline
from deal_sdk.payments.prepared import Prepared
from deal_sdk.payments.prepared_store import PreparedStore, Waiting

logger = logging.getLogger(__name__)

SWEEP_INTERVAL_SECONDS: Final = 2.0


class PreparedExpiry:
    """Ends prepared transactions whose time is over, here and after a restart."""

    def __init__(
        self,
        *,
        store: PreparedStore,
        pipeline: PaymentPipeline,
        rpc: Rpc,
        clock: Clock,
        witnesses: Sequence[Rpc] = (),
    ) -> None:
        """Wire the parts; nothing is read before the first sweep.

        Args:
            store: the prepared transactions.
            pipeline: carries on what is found on the chain, and announces ends.
            rpc: whose finalized height counts.
            clock: spaces the sweeps.
            witnesses: further endpoints that must also know nothing of a transaction.
        """
        self.store = store
        self._pipeline = pipeline
        self._endpoints = (rpc, *witnesses)
        self._clock = clock
        # A restart cannot know whether something waits, so the first sweep looks.
        self._is_waiting = True
        self._swept_at_seconds = float("-inf")

    def note(self) -> None:
        """Take notice that something was prepared, which the coming sweeps then look after."""
        self._is_waiting = True

    async def sweep_when_due(self) -> None:
        """Sweep every two seconds while something waits here.

        Raises:
            ChainError, DatabaseError: as `sweep`.
        """
        now = self._clock.monotonic()
        if self._is_waiting and now - self._swept_at_seconds >= SWEEP_INTERVAL_SECONDS:
            self._swept_at_seconds = now
            await self.sweep()

    async def sweep(self, payment_id: UUID | None = None) -> int:
        """Prove what can be proven of everything that waits, or of one payment's prepared transaction.

        Args:
            payment_id: look at this payment alone.

        Returns:
            How many ended as expired or were found on the chain.

        Raises:
            ChainError, DatabaseError: what was proven so far stays so.
        """
        waiting = await self._read_waiting(payment_id)
        left = [found.prepared for found in waiting if not found.is_under_way]
        if not left:
            return 0
        # Read before everything that proves an end, so that nothing lands between the two.
        finalized = await self._endpoints[0].get_epoch_position("finalized")
        ended = 0
        for prepared in left:
            if finalized.block_height > prepared.transaction.last_valid_block_height:
                ended += await self._end(prepared, finalized)
        return ended

    async def _read_waiting(self, payment_id: UUID | None) -> Sequence[Waiting]:
        if payment_id is not None:
            return await self.store.waiting(payment_id)
        # Cleared before the read, which may miss what is prepared and noted while it runs.
        self._is_waiting = False
        try:
            waiting = await self.store.waiting()
        except BaseException:
            self._is_waiting = True
            raise
        self._is_waiting = self._is_waiting or bool(waiting)
        return waiting

    async def _end(self, prepared: Prepared, finalized: EpochPosition) -> bool:
        payment = await self.store.payment(prepared.payment_id)
        plan = Plan.from_json(payment.instruction or {})
        if plan.signed_by == "owner_alone":
            return await self._end_by_search(prepared, finalized)
        reason = "the backend, which signs last, never committed a signature"
        if prepared.status == "signed":
            reason = "every transaction that the backend signed for it is proven dead"
        return await self._expire(prepared, finalized, {"reason": reason})

    async def _end_by_search(self, prepared: Prepared, finalized: EpochPosition) -> bool:
        transaction = prepared.transaction
        if finalized.block_height <= transaction.last_valid_block_height + INDEX_LAG_BLOCKS:
            return False
        reference = reference_of(prepared.payment_id, prepared.number)
        try:
            search = await search_landed(
                self._endpoints,
                transaction.message_bytes,
                reference=reference,
                context_slot=transaction.context_slot,
                finalized=finalized,
            )
        except ChainError as error:
            logger.warning(
                "whether payment %s was sent by its owner cannot be told now: %s",
                prepared.payment_id,
                error.message,
            )
            return False
        if search.raw_bytes is not None:
            return await self._adopt(prepared, search.raw_bytes)
        if not search.is_proven_absent:
            return False
        reason = "no finalized transaction names its reference"
        evidence = {"reason": reason, "reference": str(reference), "endpoints": list(search.endpoints)}
        return await self._expire(prepared, finalized, evidence)

    async def _adopt(self, prepared: Prepared, raw_bytes: bytes) -> bool:
        """Take over a transaction that its owner sent; its end is then proven like any other's."""
        transaction = prepared.transaction
        signatures = check_signed(transaction.message_bytes, raw_bytes)
        signed = SignedTransaction(
            str(signatures[0]), raw_bytes, transaction.last_valid_block_height, transaction.context_slot
        )
        if not await self.store.commit(prepared, signed):
            return False
        await self._pipeline.take_up([prepared.payment_id])
        return True

    async def _expire(self, prepared: Prepared, finalized: EpochPosition, found: Mapping[str, Any]) -> bool:
        evidence = {
            **found,
            "endpoint": self._endpoints[0].endpoint,
            "prepared_id": str(prepared.id),
            "last_valid_block_height": prepared.transaction.last_valid_block_height,
            "finalized_height": finalized.block_height,
            "finalized_slot": finalized.slot,
            "checked_at": self._clock.now().isoformat(),
        }
        payment = await self.store.expire(prepared, evidence)
        if payment is None:
            return False
        self._pipeline.announce(payment)
        return True
