"""Which limits a user's purchases were counted under, as their rows remember it, and how far each is used.

Owns the form of terms in `token_purchases.terms`. They go in with the purchase's own row, so that remembering
them costs no statement; the newest row's word counts where several bind the same counter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from deal_sdk.limits.calendars import CalendarWindow
from deal_sdk.limits.decisions import LimitState
from deal_sdk.limits.held_purchases import HELD_STATES
from deal_sdk.limits.ids import UserKey
from deal_sdk.limits.purchase_terms import DEFAULT_TERMS, PurchaseRequest, PurchaseTerms, rules_of
from deal_sdk.limits.rules import CountedRule, KeySpace, LimitKind
from deal_sdk.records.purchase_tables import token_purchases

_ANY_AMOUNT_BASE_UNITS: Final = 1
"""Stands for the amount of a purchase that is not under way: a rule of amounts needs one to be asked."""


@dataclass(frozen=True, slots=True)
class CurrentLimit:
    """One purchase limit of a user's whose period is running, and how far it is used."""

    name: str
    kind: LimitKind
    """PURCHASE counts purchases, AMOUNT sums base units up."""
    token_mint: str
    """The token it binds; of a category, the one last bought."""
    category: str | None
    """The category whose tokens it binds together; None where it binds the token alone."""
    calendar: CalendarWindow | None
    """The days or weeks that are its periods; None for a rolling period."""
    period_seconds: int | None
    """The length of a rolling period; None where a calendar decides."""
    used: int
    maximum: int
    reset_after_seconds: float
    ends_at: datetime
    shadow: bool
    """Whether it only counts, and refuses nothing."""

    @property
    def remaining(self) -> int:
        """Return how much is left; nothing where a lowered maximum is exceeded."""
        return max(self.maximum - self.used, 0)

    def to_dict(self) -> dict[str, Any]:
        """Return the limit as JSON-serialisable data, base units as text."""
        written = str if self.kind is LimitKind.AMOUNT else int
        return {
            "limit": self.name,
            "token_mint": self.token_mint,
            "category": self.category,
            "window": "rolling" if self.calendar is None else self.calendar.unit,
            "time_zone": None if self.calendar is None else self.calendar.time_zone,
            "period_seconds": self.period_seconds,
            "ends_at": self.ends_at.isoformat(timespec="seconds"),
            "used": written(self.used),
            "maximum": written(self.maximum),
            "remaining": written(self.remaining),
            "reset_after_seconds": self.reset_after_seconds,
            "shadow": self.shadow,
        }


def stored_terms(terms: PurchaseTerms) -> dict[str, Any] | None:
    """Return what a purchase's row remembers of its terms; None where there is nothing to remember.

    The category and the amount have columns of their own.
    """
    if terms is DEFAULT_TERMS:
        return None
    facts = {
        "period_seconds": terms.period_seconds,
        "calendar_unit": None if terms.calendar is None else terms.calendar.unit,
        "time_zone": None if terms.calendar is None else terms.calendar.time_zone,
        "max_in_category": terms.max_in_category,
        "max_amount": terms.max_amount_base_units,
        "max_amount_in_category": terms.max_amount_in_category_base_units,
        "shadow": terms.shadow or None,
    }
    return {name: value for name, value in facts.items() if value is not None} or None


def counted_under(
    user_id: UserKey, now: datetime, before: datetime, *, token_mint: str | None = None
) -> sa.Select[Any]:
    """Return the query for what the user's purchases were counted under, the latest first.

    Args:
        user_id: any id of the caller's.
        now: purchases whose counting ended by then are left out.
        before: those that do not know when it ends are left out when they are as old as this.
        token_mint: of this token alone, those that were cancelled included.
    """
    column = token_purchases.c
    may_count = sa.or_(
        column.counts_until > now, sa.and_(column.counts_until.is_(None), column.created_at > before)
    )
    chosen = column.state.in_(HELD_STATES) if token_mint is None else column.token_mint == token_mint
    latest = sa.func.row_number().over(
        partition_by=(column.token_mint, column.category, column.terms),
        order_by=(column.created_at.desc(), column.reservation_id),
    )
    ranked = (
        sa.select(*_facts(column), latest.label("place"))
        .where(column.user_id == str(user_id), chosen, may_count)
        .subquery()
    )
    query = sa.select(*_facts(ranked.c)).where(ranked.c.place == 1)
    return query.order_by(ranked.c.created_at.desc(), ranked.c.reservation_id)


def rules_counted_under(
    user_id: UserKey, rows: Iterable[sa.Row[Any]], period_seconds: int, keys: KeySpace
) -> tuple[CountedRule, ...]:
    """Return the rules that rows were counted under, once for each counter, limits of tokens first.

    Args:
        user_id: whose rows they are.
        rows: as `counted_under` finds them.
        period_seconds: the rolling period where terms name none.
        keys: tell which rules share a counter.
    """
    rules: dict[tuple[str, ...], CountedRule] = {}
    for row in rows:
        request = PurchaseRequest(user_id, row.token_mint, row.max_purchases, terms=_terms(row))
        for rule in rules_of(request, period_seconds):
            rules.setdefault(keys.counted(rule), rule)
    return tuple(sorted(rules.values(), key=lambda rule: (rule.category or "", rule.token_mint)))


def current_limits(states: Sequence[LimitState], now: datetime) -> tuple[CurrentLimit, ...]:
    """Return those limits of which something is used.

    Args:
        states: of purchase limits.
        now: to say when their periods end.
    """
    return tuple(_current(state, now) for state in states if state.current)


def _current(state: LimitState, now: datetime) -> CurrentLimit:
    rule = state.limit.rule
    assert isinstance(rule, CountedRule)
    calendar = rule.calendar
    return CurrentLimit(
        name=state.limit.name,
        kind=state.limit.kind,
        token_mint=rule.token_mint,
        category=rule.category,
        calendar=calendar,
        period_seconds=rule.period_seconds if calendar is None else None,
        used=state.current,
        maximum=state.maximum,
        reset_after_seconds=state.reset_after_seconds,
        ends_at=now + timedelta(seconds=state.reset_after_seconds)
        if calendar is None
        else calendar.current(now)[1],
        shadow=rule.shadow,
    )


def _facts(column: Any) -> tuple[sa.ColumnElement[Any], ...]:
    return (
        column.token_mint,
        column.max_purchases,
        column.category,
        column.terms,
        column.created_at,
        column.reservation_id,
    )


def _terms(row: sa.Row[Any]) -> PurchaseTerms:
    facts: dict[str, Any] = row.terms or {}
    unit = facts.get("calendar_unit")
    return PurchaseTerms(
        period_seconds=facts.get("period_seconds"),
        calendar=None if unit is None else CalendarWindow(unit, facts["time_zone"]),
        category=row.category,
        max_in_category=facts.get("max_in_category"),
        amount_base_units=_ANY_AMOUNT_BASE_UNITS,
        max_amount_base_units=facts.get("max_amount"),
        max_amount_in_category_base_units=facts.get("max_amount_in_category"),
        shadow=facts.get("shadow", False),
    )
