"""What became of an attempt, and the payment that it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

from deal_sdk.records import Transaction

AttemptEnd: TypeAlias = Literal[
    "confirmed", "finalized", "failed", "expired", "attempt_expired", "attempt_failed"
]
"""The last two end one attempt and leave the payment pending for the next."""
SIGNED_AGAIN_EARLY: Final = "signed_again_early"
"""In the evidence of an attempt that ended without proof, because its sequence lets one of several happen."""
ENDS_OF_ONE_ATTEMPT: Final = ("attempt_expired", "attempt_failed")


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


def advanced(payment: Transaction, change: Change, signature: str, at: datetime) -> Transaction:
    """Return the payment as `settle` leaves it in the database at a time, without reading it back."""
    moved: dict[str, Any] = {"status": change.end, "signature": signature, "slot": change.slot}
    if change.end in ENDS_OF_ONE_ATTEMPT:
        moved = {"status": "pending", "slot": None, "confirmed_at": None}
    elif change.end == "confirmed":
        moved["confirmed_at"] = at
    else:
        moved["evidence"] = dict(change.evidence)
        if change.end == "finalized":
            moved |= {"finalized_at": at, "confirmed_at": payment.confirmed_at or at}
    return replace(payment, updated_at=at, **moved)
