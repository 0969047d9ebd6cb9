"""Which periods of a plan a user is to be granted now: rules alone, without a database.

A series counts periods from one anchor. It goes on while the user keeps the plan, so that an outage is
caught up; it begins anew, at the present, when the tier changed or a member had left the channel, so that
nobody is granted periods in which there was no claim. Indexes of a plan only ever rise, also over series.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from deal_sdk.accounting.periods import Period
from deal_sdk.accounting.plans import SubscriptionTier, TierPlan
from deal_sdk.errors import InvalidInputError

FREE_TIER: Final = SubscriptionTier.GIFT.value
"""What a subscription becomes when it expires."""
DEFAULT_PERIOD: Final = Period(30)
DEFAULT_CATCH_UP_PERIODS: Final = 12

RenewalMode = Literal["add", "reset"]

NOT_DUE: Final = "not_due"
EXPIRED: Final = "subscription_expired"
CHANNEL_REQUIRED: Final = "channel_required"
MEMBERSHIP_UNKNOWN: Final = "membership_unknown"
UNKNOWN_TIER: Final = "unknown_tier"
REASONS: Final = {
    NOT_DUE: "Renewal is not due yet",
    EXPIRED: "Subscription expired",
    CHANNEL_REQUIRED: "Channel subscription required",
    MEMBERSHIP_UNKNOWN: "Channel subscription cannot be checked now",
    UNKNOWN_TIER: "Tier has no plan",
}
DUE: Final = "Renewal is due"


@dataclass(frozen=True, slots=True)
class Series:
    """Where a user's periods of one plan stand."""

    plan: str
    period: Period
    anchor_at: datetime
    anchor_index: int
    next_index: int
    """The first period that was not granted."""

    def start(self, index: int) -> datetime:
        """Return when a period begins."""
        return self.period.start(self.anchor_at, index - self.anchor_index)

    def index_at(self, when: datetime) -> int:
        """Return which period a time is in."""
        return self.anchor_index + self.period.number_at(self.anchor_at, when)

    def first_from(self, when: datetime) -> int:
        """Return the first period that does not begin before a time."""
        index = self.index_at(when)
        return index if self.start(index) >= when else index + 1

    @property
    def next_renewal_at(self) -> datetime:
        """Return when the next period begins."""
        return self.start(self.next_index)


@dataclass(frozen=True, slots=True)
class LastPeriod:
    """The last period that a user was granted of a plan, in whatever series."""

    index: int
    end: datetime


@dataclass(frozen=True, slots=True)
class Customer:
    """What decides about one user's renewal."""

    user_id: UUID
    tier: str
    expires_at: datetime | None
    channel_since: datetime | None
    """Since when the user is known to be a member of the channel without a break."""
    series: Series | None
    last: LastPeriod | None
    """Of the tier that the user has now."""
    balance: int = 0


@dataclass(frozen=True, slots=True)
class Terms:
    """How periods are counted, how many are caught up, and what one of them does to a balance."""

    period: Period = DEFAULT_PERIOD
    catch_up_periods: int = DEFAULT_CATCH_UP_PERIODS
    """How many missed ones are granted beside the present one, where they were not paid for."""
    mode: RenewalMode = "add"
    rollover_cap: int | None = None
    """The credits that are carried over in full; above them a renewal adds less, and never takes any."""
    expire_after_periods: int | None = None
    """How many periods the credits of one last; None for ever."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself: a reset leaves nothing that could expire."""
        if self.expire_after_periods is not None and self.mode == "reset":
            raise InvalidInputError("credits that are reset cannot expire", field="expire_after_periods")

    def expires_at(self, series: Series, index: int) -> datetime | None:
        """Return when the credits of a period expire."""
        return None if self.expire_after_periods is None else series.start(index + self.expire_after_periods)

    def is_over(self, series: Series, index: int, now: datetime) -> bool:
        """Return whether a period's credits would have expired by now, so that none are granted."""
        expires_at = self.expires_at(series, index)
        return expires_at is not None and expires_at <= now

    def balance_after(self, balance: int, credits: int) -> int:
        """Return the balance that a renewal leaves.

        Args:
            balance: before it.
            credits: what the plan grants.
        """
        if self.mode == "reset":
            return credits
        if self.rollover_cap is None:
            return balance + credits
        return max(balance, min(balance, self.rollover_cap) + credits)


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done about a user now."""

    series: Series | None
    """The series to go on with; None where there is none."""
    due: range = range(0)
    """The periods to be granted."""
    code: str | None = None
    """Why none is granted."""
    next_renewal_at: datetime | None = None
    """When the first period that is due began, or else when the next one begins."""
    expires: bool = False
    """Whether the tier becomes the free one."""

    @property
    def reason(self) -> str:
        """Say the decision in words."""
        return DUE if self.code is None else REASONS[self.code]


def has_expired(customer: Customer, now: datetime) -> bool:
    """Return whether a paid tier is past its expiry."""
    return customer.tier != FREE_TIER and customer.expires_at is not None and customer.expires_at <= now


def decide(
    customer: Customer, plan: TierPlan | None, is_member: bool | None, now: datetime, terms: Terms
) -> Decision:
    """Decide which periods a user is granted now.

    A period that began before the expiry was paid for, so it is granted after an outage too; none that
    begins at the expiry or later is.

    Args:
        customer: the user, as read under the lock of its row.
        plan: of the user's tier.
        is_member: the channel's answer, None where there is none; it matters to plans that need it.
        now: the present.
        terms: of the periods.
    """
    expired = has_expired(customer, now)
    if plan is None:
        return Decision(customer.series, code=EXPIRED if expired else UNKNOWN_TIER, expires=expired)
    series = _going_on(customer, plan, terms)
    if plan.needs_channel and is_member is not True and not expired:
        code = MEMBERSHIP_UNKNOWN if is_member is None else CHANNEL_REQUIRED
        return Decision(customer.series, code=code, next_renewal_at=_next(series, customer, now))
    if series is None:
        last = customer.last
        if last is not None and last.end > now and not expired:
            return Decision(customer.series, code=NOT_DUE, next_renewal_at=last.end)
        series = begin(plan.tier, terms.period, now, last)
    due = due_periods(series, customer, now, terms)
    if due:
        moved = replace(series, next_index=due.stop)
        return Decision(moved, due, next_renewal_at=series.start(due.start), expires=expired)
    if expired:
        return Decision(customer.series, code=EXPIRED, expires=True)
    return Decision(series, code=NOT_DUE, next_renewal_at=series.next_renewal_at)


def begin(tier: str, period: Period, at: datetime, last: LastPeriod | None) -> Series:
    """Begin a series, its indexes after every one that was granted of the plan before."""
    first = 0 if last is None else last.index + 1
    return Series(tier, period, at, first, first)


def _going_on(customer: Customer, plan: TierPlan, terms: Terms) -> Series | None:
    """Return the series that the user is in, or None where one has to begin."""
    series = customer.series
    if series is None or series.plan != customer.tier:
        return None
    if plan.needs_channel and customer.channel_since is None:
        return None
    is_paid_for = customer.tier != FREE_TIER and customer.expires_at is not None
    if series.period == terms.period or is_paid_for:
        # What was paid for keeps the periods it was sold with.
        return series
    return Series(series.plan, terms.period, series.next_renewal_at, series.next_index, series.next_index)


def _next(series: Series | None, customer: Customer, now: datetime) -> datetime:
    if series is not None:
        return max(series.next_renewal_at, now)
    return now if customer.last is None else max(customer.last.end, now)


def due_periods(series: Series, customer: Customer, now: datetime, terms: Terms) -> range:
    """Return the periods of a series that began and were not granted."""
    stop = series.index_at(now) + 1
    first = series.next_index
    if customer.tier != FREE_TIER and customer.expires_at is not None:
        stop = min(stop, series.first_from(customer.expires_at))
    else:
        first = max(first, stop - 1 - terms.catch_up_periods)
    return range(first, max(first, stop))
