"""Subscriptions: a tier for some periods, begun or extended once for each payment."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.accounting.book import Book
from deal_sdk.accounting.commands import Command, OperationResult
from deal_sdk.accounting.granting import PURCHASE_TYPE, Granting
from deal_sdk.accounting.journal import Journal
from deal_sdk.accounting.journal_rows import write_book
from deal_sdk.accounting.plans import TierPlan, TierPlans
from deal_sdk.accounting.renewal_results import SubscriptionResult
from deal_sdk.accounting.renewal_rows import Changes, read_customers, write_changes
from deal_sdk.accounting.renewal_watching import RenewalObserver
from deal_sdk.accounting.series import (
    FREE_TIER,
    Customer,
    LastPeriod,
    Series,
    Terms,
    begin,
    due_periods,
    has_expired,
)
from deal_sdk.errors import IdempotencyConflictError, InvalidInputError
from deal_sdk.records import Database, UserId, parse_user_id
from deal_sdk.records.database import Row
from deal_sdk.records.inputs import check_text
from deal_sdk.records.renewal_tables import MAX_PAYMENT_REFERENCE_LENGTH, subscription_history

MAX_PERIODS: Final = 120

_history = subscription_history.c
_KNOWN: Final = sa.select(subscription_history).where(
    _history.payment_reference == sa.bindparam("payment_reference")
)

Outcome = tuple[SubscriptionResult, list[tuple[Command, OperationResult]]]


class Subscriptions:
    """Sells tiers for periods; the first one's credits arrive with the payment, the others as they begin."""

    def __init__(
        self,
        database: Database,
        journal: Journal,
        plans: TierPlans,
        terms: Terms,
        watch: RenewalObserver,
    ) -> None:
        """Keep the parts."""
        self._database = database
        self._journal = journal
        self._plans = plans
        self._terms = terms
        self._watch = watch

    async def subscribe(
        self, user_id: UserId, tier: str, payment_reference: str, *, periods: int = 1
    ) -> SubscriptionResult:
        """Begin or extend a subscription; see `MonthlyRenewalService.subscribe`."""
        parsed = parse_user_id(user_id)
        plan = sold_plan(self._plans, tier, periods)
        reference = check_text(
            "payment_reference", payment_reference, max_length=MAX_PAYMENT_REFERENCE_LENGTH
        )

        async def unit(connection: AsyncConnection, book: Book) -> Outcome:
            return await self._unit(connection, book, parsed, plan, reference, periods)

        accounts = [Command("credit", parsed, PURCHASE_TYPE, plan.credits, "issuance")]
        return await self._journal.run_unit(accounts, unit)

    async def _unit(
        self,
        connection: AsyncConnection,
        book: Book,
        user_id: UUID,
        plan: TierPlan,
        reference: str,
        periods: int,
    ) -> Outcome:
        # After the lock: whoever held it may have used the payment.
        known = (await connection.execute(_KNOWN, {"payment_reference": reference})).one_or_none()
        if known is not None:
            return _replayed(known, user_id, plan.tier, periods), []
        customers = await read_customers(connection, [user_id], tiers={user_id: plan.tier})
        if user_id not in customers:
            return SubscriptionResult(
                False, plan.tier, None, 0, None, error="User not found", code="user_not_found"
            ), []
        granting = Granting(book, Changes(book.now))
        customer = self._settled(granting, customers[user_id], plan.tier)
        series, starts_at, expires_at = self._term(customer, plan.tier, periods, book.now)
        sold = granting.sell(user_id, plan, series, reference, self._terms)
        if not sold.success:
            refused = SubscriptionResult(
                False, plan.tier, customer.expires_at, 0, sold.new_balance, error=sold.error, code=sold.code
            )
            return refused, []
        granting.changes.change_user(user_id, tier=plan.tier, subscription_expires_at=expires_at)
        await write_book(connection, self._database, book)
        await write_changes(connection, self._database, granting.changes)
        row = {
            "id": book.ids.next(book.now),
            "user_id": user_id,
            "tier": plan.tier,
            "previous_tier": customer.tier,
            "payment_reference": reference,
            "periods": periods,
            "price_rub": plan.price_rub * periods,
            "tokens_granted": plan.credits,
            "new_balance": sold.new_balance,
            "entry_id": sold.ledger_entry_id,
            "previous_expires_at": customer.expires_at,
            "starts_at": starts_at,
            "expires_at": expires_at,
            "created_at": book.now,
        }
        await connection.execute(subscription_history.insert(), [row])
        result = _result(row)
        await self._watch.record_subscription(connection, user_id, result, book.now)
        return result, granting.decided

    def _settled(self, granting: Granting, customer: Customer, tier: str) -> Customer:
        """Grant what a series that ends here still owes, because it was paid for and missed."""
        series = customer.series
        if series is None or series.plan != customer.tier or customer.tier == FREE_TIER:
            return customer
        goes_on = customer.tier == tier and not has_expired(customer, granting.book.now)
        old = self._plans.find(customer.tier)
        if goes_on or old is None or customer.expires_at is None:
            return customer
        owed = due_periods(series, customer, granting.book.now, self._terms)
        granting.renew(customer.user_id, old, series, owed, self._terms)
        return replace(customer, series=granting.changes.series.get(customer.user_id, series))

    def _term(
        self, customer: Customer, tier: str, periods: int, now: datetime
    ) -> tuple[Series, datetime, datetime]:
        """Return the series that a payment pays for, and from when to when."""
        series = customer.series if customer.series is not None and customer.series.plan == tier else None
        last = customer.last if series is None else LastPeriod(series.next_index - 1, series.next_renewal_at)
        expires_at = customer.expires_at
        if customer.tier != tier or expires_at is None or expires_at <= now:
            begun = begin(tier, self._terms.period, now, last)
            return begun, now, begun.start(begun.anchor_index + periods)
        series = series or begin(tier, self._terms.period, now, last)
        return series, expires_at, series.start(series.first_from(expires_at) + periods)


def sold_plan(plans: TierPlans, tier: str, periods: int) -> TierPlan:
    """Return the plan of a tier that is sold for some periods.

    Raises:
        InvalidInputError: for a tier without a price, or periods other than 1 to 120.
    """
    plan = plans.find(tier)
    if plan is None or not plan.is_sold:
        raise InvalidInputError("tier must be one with a price", field="tier", value=repr(tier)[:64])
    if isinstance(periods, bool) or not isinstance(periods, int) or not 1 <= periods <= MAX_PERIODS:
        raise InvalidInputError(f"periods must be 1 to {MAX_PERIODS}", field="periods")
    return plan


def _replayed(known: Row, user_id: UUID, tier: str, periods: int) -> SubscriptionResult:
    if (known.user_id, known.tier, known.periods) != (user_id, tier, periods):
        raise IdempotencyConflictError(
            "this payment was used for another subscription", payment_reference=known.payment_reference
        )
    return replace(_result(known._mapping), replayed=True)


def _result(row: Any) -> SubscriptionResult:
    return SubscriptionResult(
        True, row["tier"], row["expires_at"], row["tokens_granted"], row["new_balance"], row["entry_id"]
    )
