"""The priority fee: what others lately paid per compute unit for the accounts that we write to.

Owns the reading of recent fees and the caps on what is offered. The accounts that matter are the few that
many transactions share; a user's own token account is written by that user alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from solders.pubkey import Pubkey

from deal_sdk.chain.estimates import Estimates
from deal_sdk.chain.rpc import Rpc
from deal_sdk.clock import Clock

MICRO_LAMPORTS_PER_LAMPORT: Final = 1_000_000
REFRESH_SECONDS: Final = 5.0
MAX_ACCOUNTS_PER_CALL: Final = 128


@dataclass(frozen=True, slots=True)
class PriorityFeePolicy:
    """What may be offered, from the settings; a fixed price of 0 switches the fee off."""

    fixed_micro_lamports: int | None = None
    percentile: int = 75
    max_micro_lamports: int = 1_000_000
    max_lamports: int = 100_000


class PriorityFees:
    """Says what to offer per compute unit."""

    def __init__(self, rpc: Rpc, *, clock: Clock, policy: PriorityFeePolicy) -> None:
        """Prepare; nothing is read before the first question, and nothing at all for a fixed price."""
        self._rpc = rpc
        self._policy = policy
        self._recent: Estimates[int] = Estimates(
            "recent priority fees", clock=clock, refresh_seconds=REFRESH_SECONDS
        )

    async def micro_lamports(self, writable: Collection[Pubkey], unit_limit: int) -> int:
        """Return the price per compute unit in micro-lamports, 0 where nobody pays one.

        Args:
            writable: the accounts in demand that the transaction writes to.
            unit_limit: its compute units, by which the cap per transaction is divided.
        """
        policy = self._policy
        price = policy.fixed_micro_lamports
        if price is None:
            price = await self._recent_price(writable)
        affordable = policy.max_lamports * MICRO_LAMPORTS_PER_LAMPORT // unit_limit
        return min(price, policy.max_micro_lamports, affordable)

    async def close(self) -> None:
        """Cancel the reading under way."""
        await self._recent.close()

    async def _recent_price(self, writable: Collection[Pubkey]) -> int:
        accounts = sorted(set(writable), key=bytes)[:MAX_ACCOUNTS_PER_CALL]

        async def read() -> int:
            fees = await self._rpc.get_recent_prioritization_fees(accounts)
            return percentile_of([fee.micro_lamports for fee in fees], self._policy.percentile)

        return await self._recent.get(tuple(accounts), read) or 0


def percentile_of(values: Sequence[int], percentile: int) -> int:
    """Return the smallest value that at least `percentile` per cent of all do not exceed; 0 for none.

    Args:
        values: in any order.
        percentile: 1 to 100.
    """
    if not values:
        return 0
    rank = -(-len(values) * percentile // 100)
    return sorted(values)[rank - 1]


def priority_fee_lamports(unit_limit: int, micro_lamports: int) -> int:
    """Return what a price comes to for a transaction, rounded up as the runtime does."""
    return -(-unit_limit * micro_lamports // MICRO_LAMPORTS_PER_LAMPORT)
