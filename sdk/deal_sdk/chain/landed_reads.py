"""Finalized transactions, read once for everyone who asks: they never change any more."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Protocol

from deal_sdk.chain.replies import LandedTransaction
from deal_sdk.errors import RpcMalformedReplyError
from deal_sdk.settings import Commitment

DEFAULT_MAX_KEPT: Final = 1_000
DEFAULT_MAX_KEPT_IN_BLOCKS: Final = 2_000
"""Transactions of all remembered blocks; one block of a busy cluster may hold as many."""


class TransactionSource(Protocol):
    """Reads one transaction from the chain."""

    async def get_transaction(
        self, signature: str, commitment: Commitment = "finalized"
    ) -> LandedTransaction | None:
        """Return a landed transaction, or None when it is not there."""
        ...


class LandedReads:
    """Reads finalized transactions and remembers the newest of them."""

    def __init__(self, source: TransactionSource, *, max_kept: int = DEFAULT_MAX_KEPT) -> None:
        """Keep the source; nothing is read yet.

        Args:
            source: an endpoint.
            max_kept: transactions that are remembered.
        """
        self._source = source
        self._max_kept = max_kept
        self._kept: OrderedDict[str, LandedTransaction] = OrderedDict()

    def is_kept(self, signature: str) -> bool:
        """Return whether a transaction costs no call."""
        return signature in self._kept

    async def get(self, signature: str) -> LandedTransaction | None:
        """Return a finalized transaction, or None when the endpoint does not have it.

        Raises:
            ChainError: when the endpoint fails.
        """
        kept = self._kept.get(signature)
        if kept is not None:
            return kept
        found = await self._source.get_transaction(signature, "finalized")
        if found is not None:
            self._kept[signature] = found
            while len(self._kept) > self._max_kept:
                self._kept.popitem(last=False)
        return found


class BlockSource(Protocol):
    """Reads one block from the chain."""

    async def get_block_transactions(
        self, slot: int, commitment: Commitment = "finalized"
    ) -> tuple[LandedTransaction, ...] | None:
        """Return a block's transactions in their order, or None for a skipped slot."""
        ...


class LandedBlocks:
    """Reads finalized blocks and remembers the newest of them: payments of one are asked for in turns."""

    def __init__(
        self, source: BlockSource, *, max_kept_transactions: int = DEFAULT_MAX_KEPT_IN_BLOCKS
    ) -> None:
        """Keep the source; nothing is read yet.

        Args:
            source: an endpoint.
            max_kept_transactions: in all blocks that are remembered; a larger block never is.
        """
        self._source = source
        self._max_kept_transactions = max_kept_transactions
        self._kept: OrderedDict[int, tuple[LandedTransaction, ...]] = OrderedDict()
        self._kept_transactions = 0

    async def get(self, slot: int) -> tuple[LandedTransaction, ...]:
        """Return the transactions of a finalized block, in their order.

        Args:
            slot: one that the endpoint lists transactions of.

        Raises:
            ChainError: when the endpoint fails, or has no such block.
        """
        kept = self._kept.get(slot)
        if kept is not None:
            self._kept.move_to_end(slot)
            return kept
        block = await self._source.get_block_transactions(slot)
        if block is None:
            raise RpcMalformedReplyError(
                f"the endpoint lists transactions of slot {slot} but has no such block", slot=slot
            )
        self._keep(slot, block)
        return block

    def _keep(self, slot: int, block: tuple[LandedTransaction, ...]) -> None:
        if slot in self._kept:
            # Another caller asked for it at the same time.
            return
        self._kept[slot] = block
        self._kept_transactions += len(block)
        while self._kept_transactions > self._max_kept_transactions:
            _, dropped = self._kept.popitem(last=False)
            self._kept_transactions -= len(dropped)
