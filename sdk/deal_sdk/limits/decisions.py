"""What the gate answers: decisions, the limits that refused, and what becomes of a reservation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol

from deal_sdk.errors import LimitExceededError, PurchaseLimitExceededError, RateLimitExceededError
from deal_sdk.limits.ids import UserKey
from deal_sdk.limits.rules import PURCHASE_KINDS, CountedRule, Limit, LimitKind

_MILLISECONDS: Final = 1000


class Settled(StrEnum):
    """What became of a reservation."""

    COMMITTED = "committed"
    """Its limits stay used; a later cancel changes nothing."""
    CANCELLED = "cancelled"
    """This call gave its limits back."""
    ABSENT = "absent"
    """None is known by that id: never made, cancelled before, or expired, which counts as used."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is needed to end a reservation, also after a restart."""

    reservation_id: str
    user_id: UserKey
    """The user of the first rule; where the limits lie in several slots, its part knows of the others."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One limit that refused: how far it is used, and when to come back."""

    limit: str
    kind: LimitKind
    current: int
    maximum: int
    retry_after_seconds: float


@dataclass(frozen=True, slots=True)
class LimitState:
    """One limit as the decision left it."""

    limit: Limit
    allowed: bool
    current: int
    maximum: int
    retry_after_seconds: float
    reset_after_seconds: float


@dataclass(frozen=True, slots=True)
class Decision:
    """All or nothing: either every limit was taken, or none was and each that refused is named."""

    allowed: bool
    refusals: tuple[Refusal, ...] = ()
    reservation: Reservation | None = None
    degraded: tuple[str, ...] = ()
    """The limits that went unchecked because the store was down and the policy says allow."""
    states: tuple[LimitState, ...] = ()
    """Each limit's state; empty where a reservation made before was returned."""
    shadowed: tuple[Refusal, ...] = ()
    """The shadow limits that would have refused."""

    @property
    def retry_after_seconds(self) -> float:
        """Return the longest wait among the refusals."""
        return max((refusal.retry_after_seconds for refusal in self.refusals), default=0.0)

    def raise_if_refused(self) -> None:
        """Raise the error that names every limit that refused; return when none did.

        Raises:
            PurchaseLimitExceededError: when only purchase limits refused.
            RateLimitExceededError: when only rate limits refused.
            LimitExceededError: when both did.
        """
        if self.allowed:
            return
        names = tuple(refusal.limit for refusal in self.refusals)
        kinds = {refusal.kind in PURCHASE_KINDS for refusal in self.refusals}
        error = LimitExceededError
        if kinds == {True}:
            error = PurchaseLimitExceededError
        elif kinds == {False}:
            error = RateLimitExceededError
        text = f"limit reached: {', '.join(names)}; retry after {self.retry_after_seconds:.3f} s"
        raise error(text, limits=names, retry_after_seconds=self.retry_after_seconds)


@dataclass(frozen=True, slots=True)
class HeldPurchases:
    """What the SQL record knows of a running period."""

    count: int
    amount_base_units: int
    ends_at: datetime | None


class PurchaseHistory(Protocol):
    """The record of truth, asked when the store has no trace of a user's purchases, or an outdated one."""

    async def held(self, rule: CountedRule) -> HeldPurchases:
        """Return the purchases that may still count under a rule, and when their period ends."""
        ...


def states_of(reply: Sequence[Any], limits: Sequence[Limit]) -> tuple[LimitState, ...]:
    """Read each limit's state from the gate script's reply; a reply without any has none."""
    if len(reply) == 1:
        return ()
    values = iter(reply[1:])
    in_turn = zip(limits, values, values, values, values, values, strict=True)
    return tuple(
        [
            LimitState(
                limit,
                bool(ok),
                int(current),
                int(maximum),
                retry_ms / _MILLISECONDS,
                reset_ms / _MILLISECONDS,
            )
            for limit, ok, current, maximum, retry_ms, reset_ms in in_turn
        ]
    )


def refusal_of(state: LimitState) -> Refusal:
    """Return what a refusal tells of a limit."""
    return Refusal(
        limit=state.limit.name,
        kind=state.limit.kind,
        current=state.current,
        maximum=state.maximum,
        retry_after_seconds=state.retry_after_seconds,
    )
