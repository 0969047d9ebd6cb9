"""Whether a message that others can sign and send has landed, asked without knowing its signature.

Owns the proof for transactions that the backend does not co-sign. The message names an address that
nothing else names, its reference, so the address's history is the message's; see Solana Pay's
https://docs.solanapay.com/spec#reference.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from solders.pubkey import Pubkey

from deal_sdk.chain.replies import EpochPosition
from deal_sdk.chain.rpc import Rpc
from deal_sdk.chain.rpc_history import MAX_ADDRESS_SIGNATURES_PER_CALL

logger = logging.getLogger(__name__)

INDEX_LAG_BLOCKS: Final = 32
"""Nodes write an address's history a little after the block; so many finalized blocks are left to them."""
_MAX_PAGES: Final = 10
_SIGNATURE_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class LandedSearch:
    """What was found: the transaction's bytes, or the proof that it never landed, or neither."""

    raw_bytes: bytes | None
    is_proven_absent: bool
    endpoints: tuple[str, ...] = ()


async def search_landed(
    endpoints: Sequence[Rpc],
    message_bytes: bytes,
    *,
    reference: Pubkey,
    context_slot: int,
    finalized: EpochPosition,
) -> LandedSearch:
    """Look for a message in the finalized history of its reference; absent only if every endpoint says so.

    An endpoint's silence counts when it has reached the finalized slot and still holds the blocks since
    the message's blockhash was read.

    Args:
        endpoints: all of them must agree.
        message_bytes: the message, whoever signed it.
        reference: the address that it names and nothing else does.
        context_slot: the slot at which its blockhash was read.
        finalized: read before this call, its height `INDEX_LAG_BLOCKS` past the last valid one.

    Raises:
        ChainError: when an endpoint does not answer or lags; then nothing is proven.
    """
    for rpc in endpoints:
        if await rpc.get_first_available_block() > context_slot:
            return LandedSearch(None, is_proven_absent=False)
        found, is_complete = await _search(rpc, message_bytes, reference, finalized.slot)
        if found is not None or not is_complete:
            return LandedSearch(found, is_proven_absent=False)
    return LandedSearch(None, is_proven_absent=True, endpoints=tuple(rpc.endpoint for rpc in endpoints))


async def _search(
    rpc: Rpc, message_bytes: bytes, reference: Pubkey, min_context_slot: int
) -> tuple[bytes | None, bool]:
    before: str | None = None
    for _ in range(_MAX_PAGES):
        page = await rpc.get_signatures_for_address(
            reference, before=before, min_context_slot=min_context_slot
        )
        for entry in page:
            raw_bytes = await rpc.get_transaction_bytes(entry.signature)
            if raw_bytes is None:
                return None, False
            if raw_bytes[1 + raw_bytes[0] * _SIGNATURE_BYTES :] == message_bytes:
                return raw_bytes, True
        if len(page) < MAX_ADDRESS_SIGNATURES_PER_CALL:
            return None, True
        before = page[-1].signature
    logger.warning("the reference %s is named by too many transactions to look at", reference)
    return None, False
