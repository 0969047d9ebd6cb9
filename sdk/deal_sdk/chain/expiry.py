"""The proof that a transaction can no longer land, or what was found instead.

Owns the conditions under which "nobody knows it" means "it never happened". The caller has already
read that the finalized height is past the transaction's last valid block height.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deal_sdk.chain.replies import EpochPosition, SignatureStatus
from deal_sdk.chain.rpc import Rpc


@dataclass(frozen=True, slots=True)
class ExpiryProof:
    """The signatures that every endpoint rules out, and those that one of them knows after all."""

    expired: frozenset[str]
    landed: Mapping[str, SignatureStatus]
    endpoints: tuple[str, ...]
    context_slot: int


@dataclass(slots=True)
class _Search:
    expired: set[str]
    landed: dict[str, SignatureStatus] = field(default_factory=dict)
    context_slots: list[int] = field(default_factory=list)


async def prove_expired(
    endpoints: Sequence[Rpc], signed_at_slots: Mapping[str, int], finalized: EpochPosition
) -> ExpiryProof:
    """Ask every endpoint, with its history, for signatures whose last valid height is past.

    A null counts only from a node that has itself reached the finalized slot and still holds the
    history since the blockhash was read; without that, the transaction stays pending.

    Args:
        endpoints: all of them must agree.
        signed_at_slots: by signature, the slot at which its blockhash was read.
        finalized: the finalized slot and height, read before this call.
    """
    search = _Search(set(signed_at_slots))
    for rpc in endpoints:
        await _ask(rpc, search, signed_at_slots, finalized)
    return ExpiryProof(
        expired=frozenset(search.expired),
        landed=search.landed,
        endpoints=tuple(rpc.endpoint for rpc in endpoints),
        context_slot=min(search.context_slots),
    )


async def _ask(
    rpc: Rpc, search: _Search, signed_at_slots: Mapping[str, int], finalized: EpochPosition
) -> None:
    signatures = list(signed_at_slots)
    # A node that purged or never had the blocks since then has no null status to give.
    oldest_slot = await rpc.get_first_available_block()
    reply = await rpc.get_signature_statuses(signatures, search_history=True)
    search.context_slots.append(reply.context_slot)
    is_behind = reply.context_slot < finalized.slot
    for signature, status in zip(signatures, reply.statuses, strict=True):
        if status is not None:
            search.landed[signature] = status
        if status is not None or is_behind or signed_at_slots[signature] < oldest_slot:
            search.expired.discard(signature)
