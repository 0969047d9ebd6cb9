"""The program's accounts as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from solders.pubkey import Pubkey


@dataclass(frozen=True, slots=True)
class AllowanceTerms:
    """What an owner allows a merchant to charge, in base units; `expires_at` is a Unix time, 0 for never."""

    cap_per_period_base_units: int
    period_seconds: int
    max_per_charge_base_units: int
    expires_at: int = 0

    def is_expired(self, now: int) -> bool:
        """Return whether nothing can be charged any more."""
        return self.expires_at != 0 and now >= self.expires_at


@dataclass(frozen=True, slots=True)
class MerchantState:
    """Who may charge, in which mint and into which treasury."""

    address: Pubkey
    creator: Pubkey
    mint: Pubkey
    token_program: Pubkey
    authority: Pubkey
    pending_authority: Pubkey | None
    treasury: Pubkey
    reward_vault: Pubkey
    decimals: int
    is_paused: bool


@dataclass(frozen=True, slots=True)
class AllowanceState:
    """One owner's allowance, open or closed, with what of it is used."""

    address: Pubkey
    merchant: Pubkey
    owner: Pubkey
    token_account: Pubkey
    terms: AllowanceTerms
    period_start: int
    spent_in_period_base_units: int
    next_sequence: int
    charged_total_base_units: int
    last_reference: UUID | None
    """Which payment took the sequence before the next one; None before the first charge."""
    is_open: bool

    def left_in_period(self, now: datetime) -> int:
        """Return what may still be charged in the period that holds a time, in base units.

        Args:
            now: an aware time.
        """
        second = int(now.astimezone(UTC).timestamp())
        if not self.is_open or self.terms.is_expired(second):
            return 0
        has_rolled = second - self.period_start >= self.terms.period_seconds
        spent = 0 if has_rolled else self.spent_in_period_base_units
        return max(self.terms.cap_per_period_base_units - spent, 0)


@dataclass(frozen=True, slots=True)
class RewardBatchState:
    """A batch of rewards and which of them were paid."""

    address: Pubkey
    merchant: Pubkey
    batch_id: UUID
    paid_total_base_units: int
    paid_count: int
    capacity: int
    bitmap: bytes

    def is_paid(self, index: int) -> bool:
        """Return whether the reward of an index, from 0, was paid."""
        return bool(self.bitmap[index // 8] & (1 << index % 8))
