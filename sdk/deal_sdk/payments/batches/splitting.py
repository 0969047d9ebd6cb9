"""How a transaction that provably failed is cut, so that whoever made it fail stands alone.

The chain says at which instruction a transaction failed. Who that instruction paid is tried alone, and
what came before and after in parts of their own; where the chain names nobody, in halves. The parts are
spans of the group, in its order, because a span is what a carrier is recorded by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from deal_sdk.payments.batches.shares import Share


def split(shares: Sequence[Share], raw_bytes: bytes, error: Any) -> list[tuple[Share, ...]]:
    """Cut the members of a failed transaction that are still to be paid into parts to be tried anew.

    Args:
        shares: in their order; perhaps not all that the transaction paid.
        raw_bytes: the transaction as it was sent.
        error: the chain's, such as `{"InstructionError": [3, {"Custom": 17}]}`.
    """
    named = accounts_at(raw_bytes, error)
    for place, share in enumerate(shares):
        if share.account in named:
            before, after = shares[:place], shares[place + 1 :]
            return [part for part in (tuple(before), (share,), *_halves(after)) if part]
    return _halves(shares)


def accounts_at(raw_bytes: bytes, error: Any) -> frozenset[Pubkey]:
    """Return the written-out accounts of the instruction at which a transaction failed, or none."""
    place = _instruction(error)
    message = VersionedTransaction.from_bytes(raw_bytes).message
    if place is None or place >= len(message.instructions):
        return frozenset()
    keys = message.account_keys
    indexes = bytes(message.instructions[place].accounts)
    return frozenset(keys[index] for index in indexes if index < len(keys))


def _instruction(error: Any) -> int | None:
    if not isinstance(error, dict):
        return None
    found = error.get("InstructionError")
    if not isinstance(found, list) or not found or not isinstance(found[0], int):
        return None
    return found[0] if found[0] >= 0 else None


def _halves(shares: Sequence[Share]) -> list[tuple[Share, ...]]:
    middle = len(shares) // 2
    return [part for part in (tuple(shares[:middle]), tuple(shares[middle:])) if part]
