"""What a purchase is asked under and what is answered: requests, terms, and results.

Owns how terms become rules of the gate. Never talks to a store or a database.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from deal_sdk.errors import InvalidInputError
from deal_sdk.limits.calendars import CalendarWindow
from deal_sdk.limits.decisions import Reservation
from deal_sdk.limits.ids import UserKey
from deal_sdk.limits.rules import AmountRule, CountedRule, PurchaseRule, period_seconds_of


@dataclass(frozen=True, slots=True)
class PurchaseTerms:
    """How a purchase is counted, beside its maximum: periods, categories, amounts.

    All of it together must allow a purchase. What is given at one purchase must be given at every check and
    increment that is to count with it.
    """

    period_seconds: int | None = None
    """A rolling period of this user's; the setting's by default."""
    calendar: CalendarWindow | None = None
    """Days or weeks of a place in place of a rolling period."""
    category: str | None = None
    """What the token belongs to."""
    max_in_category: int | None = None
    """The most purchases of all tokens of the category together."""
    amount_base_units: int | None = None
    """How much this purchase is."""
    max_amount_base_units: int | None = None
    """The most that may be spent on the token in a period."""
    max_amount_in_category_base_units: int | None = None
    """The most that may be spent on the category in a period."""
    shadow: bool = False
    """Count what would be allowed, and refuse nothing."""

    def __post_init__(self) -> None:
        """Refuse limits that nothing could be counted for."""
        limits = (self.max_in_category, self.max_amount_in_category_base_units)
        if self.category is None and any(limit is not None for limit in limits):
            raise InvalidInputError("a limit by category needs a category")
        amounts = (self.max_amount_base_units, self.max_amount_in_category_base_units)
        if self.amount_base_units is None and any(limit is not None for limit in amounts):
            raise InvalidInputError("a limit by amount needs the purchase's amount_base_units")
        if self.calendar is not None and self.period_seconds is not None:
            raise InvalidInputError("a period is either rolling or a calendar's")


DEFAULT_TERMS: Final = PurchaseTerms()


@dataclass(frozen=True, slots=True)
class PurchaseCheck:
    """Whether one more purchase would be allowed now."""

    can_purchase: bool
    current_count: int
    max_count: int
    remaining_purchases: int
    refused_by: tuple[str, ...] = field(default=(), compare=False)
    """The limits that would refuse, those of terms included."""
    retry_after_seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class PurchaseIncrement:
    """What an increment did; at the limit nothing changes."""

    success: bool
    new_count: int
    was_at_limit: bool
    refused_by: tuple[str, ...] = field(default=(), compare=False)
    """The limits that refused, those of terms included."""
    retry_after_seconds: float = field(default=0.0, compare=False)
    reservation: Reservation | None = field(default=None, compare=False)
    """What `refund_purchase` takes, while it is refundable."""


@dataclass(frozen=True, slots=True)
class PurchaseRequest:
    """One user's purchase of one token, for the calls that take many."""

    user_id: UserKey
    token_mint: str
    max_purchases: int
    subscription_id: str | None = None
    terms: PurchaseTerms = DEFAULT_TERMS


@dataclass(frozen=True, slots=True)
class PurchaseRecord:
    """A user's running period for a token, as stored."""

    user_id: str
    token_mint: str
    current_count: int
    max_count: int
    last_purchase_at: datetime
    period_ends_at: datetime
    subscription_id: str | None


def rules_of(request: PurchaseRequest, period_seconds: int) -> tuple[CountedRule, ...]:
    """Turn a request into the rules that must all allow it, the count of the token first.

    Args:
        request: what is asked for.
        period_seconds: the rolling period where the terms name none.

    Raises:
        InvalidInputError: for what could never be counted.
    """
    terms = request.terms
    seconds = period_seconds if terms.period_seconds is None else terms.period_seconds
    who = (request.user_id, request.token_mint)

    def count(maximum: int, category: str | None) -> PurchaseRule:
        subscription = request.subscription_id
        return PurchaseRule(
            *who, maximum, subscription, seconds, terms.calendar, category, shadow=terms.shadow
        )

    def amount(maximum: int, category: str | None) -> AmountRule:
        assert terms.amount_base_units is not None
        spent = terms.amount_base_units
        return AmountRule(*who, spent, maximum, seconds, terms.calendar, category, shadow=terms.shadow)

    rules: list[CountedRule] = [count(request.max_purchases, None)]
    if terms.max_in_category is not None:
        rules.append(count(terms.max_in_category, terms.category))
    if terms.max_amount_base_units is not None:
        rules.append(amount(terms.max_amount_base_units, None))
    if terms.max_amount_in_category_base_units is not None:
        rules.append(amount(terms.max_amount_in_category_base_units, terms.category))
    return tuple(rules)


def longest_period_seconds(rules: tuple[CountedRule, ...]) -> int:
    """Return how long a purchase may count under any of the rules."""
    return max(period_seconds_of(rule) for rule in rules)
