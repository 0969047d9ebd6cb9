"""What renewals answer: about one user, about all, and how things stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from deal_sdk.accounting.series import REASONS

MAX_LISTED_ERRORS: Final = 1_000
"""Of one run; those beyond are counted, so that a run over any number of users needs the same memory."""
SKIPPED: Final = frozenset(REASONS)
"""Codes of users who are not eligible now, which is no failure."""


class Eligibility(NamedTuple):
    """Whether a renewal is due now, why or why not, and when it is."""

    eligible: bool
    reason: str
    next_renewal_date: datetime | None


@dataclass(frozen=True, slots=True)
class RenewalResult:
    """What became of one user's renewal."""

    user_id: UUID
    success: bool
    tokens_added: int
    new_balance: int | None
    error: str | None = None
    code: str | None = None
    periods: int = 0
    """How many periods were granted; more than one after an outage."""
    expired: bool = False
    """Whether the subscription expired and the tier became the free one."""

    @property
    def failed(self) -> bool:
        """Return whether something went wrong, which is more than not being eligible now."""
        return not self.success and self.code not in SKIPPED

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-serialisable data."""
        return {
            "user_id": str(self.user_id),
            "success": self.success,
            "tokens_added": self.tokens_added,
            "new_balance": self.new_balance,
            "error": self.error,
            "code": self.code,
            "periods": self.periods,
            "expired": self.expired,
        }


@dataclass(frozen=True, slots=True)
class RenewalError:
    """A renewal that failed."""

    user_id: UUID
    error: str
    code: str

    def to_dict(self) -> dict[str, str]:
        """Return the error as JSON-serialisable data."""
        return {"user_id": str(self.user_id), "error": self.error, "code": self.code}


@dataclass(slots=True)
class RenewalReport:
    """What a run over all users did; `processed` is the sum of successful, failed and skipped ones."""

    dry_run: bool = False
    processed: int = 0
    successful: int = 0
    failed: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    """Users who are not eligible now, by the reason's code; expired subscriptions are among them."""
    tokens_added: int = 0
    errors: list[RenewalError] = field(default_factory=list)
    """The first 1,000."""
    stopped: bool = False
    """Whether an error ended the run before its end."""

    def add(self, result: RenewalResult) -> None:
        """Count one user."""
        self.processed += 1
        self.tokens_added += result.tokens_added
        if result.success:
            self.successful += 1
        elif not result.failed:
            self.skipped[result.code or ""] += 1
        else:
            self.failed += 1
            if len(self.errors) < MAX_LISTED_ERRORS:
                self.errors.append(RenewalError(result.user_id, result.error or "", result.code or ""))

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-serialisable data."""
        return {
            "dry_run": self.dry_run,
            "processed": self.processed,
            "successful": self.successful,
            "failed": self.failed,
            "skipped": dict(sorted(self.skipped.items())),
            "tokens_added": self.tokens_added,
            "errors": [error.to_dict() for error in self.errors],
            "stopped": self.stopped,
        }


@dataclass(frozen=True, slots=True)
class RenewalStatus:
    """How renewals stand on a database."""

    cron_expression: str
    next_run_at: datetime
    due: Mapping[str, int]
    """Users whose renewal or expiry may be due, by tier."""
    renewed: int
    """Periods that were ever granted."""
    last_renewal_at: datetime | None

    def to_dict(self) -> dict[str, Any]:
        """Return the status as JSON-serialisable data."""
        last = self.last_renewal_at
        return {
            "cron_expression": self.cron_expression,
            "next_run_at": self.next_run_at.isoformat(),
            "due": dict(self.due),
            "renewed": self.renewed,
            "last_renewal_at": None if last is None else last.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class SubscriptionResult:
    """What became of a subscription."""

    success: bool
    tier: str
    subscription_expires_at: datetime | None
    tokens_added: int
    new_balance: int | None
    ledger_entry_id: UUID | None = None
    error: str | None = None
    code: str | None = None
    replayed: bool = False
    """Whether the payment was used before, and this is what was done then."""

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-serialisable data."""
        at, entry_id = self.subscription_expires_at, self.ledger_entry_id
        return {
            "success": self.success,
            "tier": self.tier,
            "subscription_expires_at": None if at is None else at.isoformat(),
            "tokens_added": self.tokens_added,
            "new_balance": self.new_balance,
            "ledger_entry_id": None if entry_id is None else str(entry_id),
            "error": self.error,
            "code": self.code,
            "replayed": self.replayed,
        }
