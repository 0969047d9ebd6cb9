"""What became of an attempt, and the payment that it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

from deal_sdk.records import Transaction

AttemptEnd: TypeAlias = Literal["confirmed", "finalized", "failed", "expired", "attempt_expired"]
"""`attempt_expired` ends one attempt and leaves the payment pending for the next."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of an attempt."""

    payment_id: UUID
    number: int
    end: AttemptEnd
    slot: int | None
    evidence: Mapping[str, Any]
    at: datetime
    debited_account: str | None = None


def advanced(payment: Transaction, change: Change, signature: str) -> Transaction:
    """Return the payment as `settle` leaves it in the database, without reading it back."""
    if change.end == "attempt_expired":
        return replace(payment, status="pending", slot=None, confirmed_at=None, updated_at=change.at)
    moved = replace(payment, status=change.end, signature=signature, updated_at=change.at)
    if change.end == "confirmed":
        return replace(moved, slot=change.slot, confirmed_at=change.at)
    moved = replace(moved, slot=change.slot, evidence=dict(change.evidence))
    if change.end == "finalized":
        return replace(moved, finalized_at=change.at, confirmed_at=payment.confirmed_at or change.at)
    return moved
