"""The proof that a transaction can no longer land, or what was found instead.

Owns the conditions under which "nobody knows it" means "it never happened". The caller has already
read that the finalized height is past the transaction's last valid block height.

Every endpoint is asked for its opinion. One that knows a transaction settles the matter. One that is
unreachable, is itself not past the last valid height, or does not hold the history since, has none and
stops nobody; those that have one must be as many as are required.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deal_sdk.chain.replies import EpochPosition, SignatureStatus
from deal_sdk.chain.rpc import Rpc
from deal_sdk.chain.transactions import SignedTransaction
from deal_sdk.errors import ChainError


@dataclass(frozen=True, slots=True)
class ExpiryProof:
    """What all endpoints together say.

    `expired` holds the signatures that can never land and the endpoints that said so, `landed` those
    that one of them knows after all, `silent` the endpoints without an opinion on some and why.
    """

    expired: Mapping[str, tuple[str, ...]]
    landed: Mapping[str, SignatureStatus]
    silent: Mapping[str, str]
    context_slot: int


@dataclass(slots=True)
class _Opinion:
    endpoint: str
    context_slot: int | None = None
    ruled_out: set[str] = field(default_factory=set)
    landed: dict[str, SignatureStatus] = field(default_factory=dict)
    silence: str | None = None


async def prove_expired(
    endpoints: Sequence[Rpc],
    transactions: Sequence[SignedTransaction],
    finalized: EpochPosition,
    *,
    required_opinions: int,
) -> ExpiryProof:
    """Ask every endpoint, with its history, for signatures whose last valid height is past.

    A null counts only from a node that has itself reached the finalized slot and still holds the
    history since the blockhash was read; without that, the transaction stays pending.

    Args:
        endpoints: each one alone, for an answer of one cannot stand on the history of another.
        transactions: those that look expired.
        finalized: the finalized slot and height, read before this call.
        required_opinions: how many endpoints must rule a transaction out.

    Raises:
        ChainError: when the only endpoint does not answer.
    """
    is_alone = len(endpoints) == 1
    opinions = await asyncio.gather(*(_ask(rpc, transactions, finalized, is_alone) for rpc in endpoints))
    landed = {signature: status for opinion in opinions for signature, status in opinion.landed.items()}
    expired = {}
    for transaction in transactions:
        signature = transaction.signature
        said_by = tuple(opinion.endpoint for opinion in opinions if signature in opinion.ruled_out)
        if len(said_by) >= required_opinions and signature not in landed:
            expired[signature] = said_by
    return ExpiryProof(
        expired=expired,
        landed=landed,
        silent={opinion.endpoint: opinion.silence for opinion in opinions if opinion.silence is not None},
        context_slot=min((o.context_slot for o in opinions if o.context_slot is not None), default=0),
    )


async def _ask(
    rpc: Rpc, transactions: Sequence[SignedTransaction], finalized: EpochPosition, is_alone: bool
) -> _Opinion:
    opinion = _Opinion(rpc.endpoint)
    try:
        await _search(rpc, transactions, finalized, opinion, is_alone)
    except ChainError as error:
        if is_alone:
            raise
        opinion.silence = error.code
    return opinion


async def _search(
    rpc: Rpc,
    transactions: Sequence[SignedTransaction],
    finalized: EpochPosition,
    opinion: _Opinion,
    is_alone: bool,
) -> None:
    # A second opinion does not lean on the first: each endpoint's own height must be past, read before
    # the statuses. A lone endpoint has just been asked for it.
    own = finalized if is_alone else await rpc.get_epoch_position("finalized")
    # A node that purged or never had the blocks since then has no null status to give.
    oldest_slot = await rpc.get_first_available_block()
    signatures = [transaction.signature for transaction in transactions]
    reply = await rpc.get_signature_statuses(signatures, search_history=True)
    opinion.context_slot = reply.context_slot
    is_behind = reply.context_slot < max(finalized.slot, own.slot)
    for transaction, status in zip(transactions, reply.statuses, strict=True):
        if status is not None:
            opinion.landed[transaction.signature] = status
        elif is_behind or own.block_height <= transaction.last_valid_block_height:
            opinion.silence = "behind"
        elif transaction.context_slot < oldest_slot:
            opinion.silence = "no_history"
        else:
            opinion.ruled_out.add(transaction.signature)
