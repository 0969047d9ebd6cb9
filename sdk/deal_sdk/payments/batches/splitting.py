"""How a transaction that provably failed is cut, so that whoever made it fail stands alone.

The chain says at which instruction a transaction failed. Who that instruction paid is tried alone, and
what came before and after in parts of their own; where the chain names nobody, in halves. The parts are
spans of the group, in its order, because a span is what a carrier is recorded by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from deal_sdk.payments.batches.shares import Share

TRANSFER_CHECKED: Final = b"\x0c"
"""What its data begins with, in either token program."""


def split(shares: Sequence[Share], raw_bytes: bytes, error: Any) -> list[tuple[Share, ...]]:
    """Cut the members of a failed transaction that are still to be paid into parts to be tried anew.

    Args:
        shares: in their order; perhaps not all that the transaction paid.
        raw_bytes: the transaction as it was sent.
        error: the chain's, such as `{"InstructionError": [3, {"Custom": 17}]}`.
    """
    message = VersionedTransaction.from_bytes(raw_bytes).message
    at = _instruction(error)
    place = None if at is None else _place_of(shares, message, at)
    if place is None:
        return _halves(shares)
    before, after = shares[:place], shares[place + 1 :]
    return [part for part in (tuple(before), (shares[place],), *_halves(after)) if part]


def _place_of(shares: Sequence[Share], message: Message | MessageV0, at: int) -> int | None:
    """Return whom the instruction at a place pays, or None where that cannot be told."""
    if at >= len(message.instructions):
        return None
    named = _written_out(message, at)
    for place, share in enumerate(shares):
        if share.account in named:
            return place
    return _order_of(shares, message, at)


def _written_out(message: Message | MessageV0, at: int) -> frozenset[Pubkey]:
    keys = message.account_keys
    return frozenset(keys[index] for index in bytes(message.instructions[at].accounts) if index < len(keys))


def _order_of(shares: Sequence[Share], message: Message | MessageV0, at: int) -> int | None:
    """Count the transfers up to one whose recipient is in a lookup table: the shares are in their order."""
    failed = message.instructions[at]
    kind = (failed.program_id_index, bytes(failed.data)[:1])
    if kind[1] != TRANSFER_CHECKED or max(bytes(failed.accounts), default=0) < len(message.account_keys):
        return None
    transfers = [
        place
        for place, one in enumerate(message.instructions)
        if (one.program_id_index, bytes(one.data)[:1]) == kind
    ]
    # Where not all of its members are still to be paid, their order says nothing.
    return transfers.index(at) if len(transfers) == len(shares) else None


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
