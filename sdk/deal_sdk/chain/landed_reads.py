"""Finalized transactions, read once for everyone who asks: they never change any more."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Protocol

from deal_sdk.chain.replies import LandedTransaction
from deal_sdk.settings import Commitment

DEFAULT_MAX_KEPT: Final = 1_000


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
