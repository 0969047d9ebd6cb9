"""The SQL side of purchases: one row per counted purchase, and the stored policies.

Owns `token_purchases` and `purchase_policies`. The rows are the record of truth; the counters in the
store are what decides quickly, and are rebuilt from these rows when they are lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.batching import Collector
from deal_sdk.errors import UserNotFoundError
from deal_sdk.limits.calendars import CalendarWindow
from deal_sdk.limits.decisions import HeldPurchases
from deal_sdk.limits.held_purchases import HELD_STATES, HeldLookups
from deal_sdk.limits.ids import UserKey, check_id
from deal_sdk.limits.purchase_listings import counted_under, rules_counted_under, stored_terms
from deal_sdk.limits.purchase_reports import (
    PurchaseDimension,
    PurchaseReport,
    report_of,
    report_query,
)
from deal_sdk.limits.purchase_terms import DEFAULT_TERMS, PurchaseRequest, PurchaseTerms, rules_of
from deal_sdk.limits.rules import DEFAULT_PURCHASE_PERIOD_SECONDS, CountedRule, KeySpace, PurchaseRule
from deal_sdk.records import Database, parse_user_id
from deal_sdk.records.purchase_tables import purchase_policies, token_purchases
from deal_sdk.records.row_inserts import Row, add_new_rows
from deal_sdk.records.tables import users

MAX_ROWS_PER_STATEMENT: Final = 256


@dataclass(frozen=True, slots=True)
class PurchasePolicy:
    """How often a user may buy a token, as stored."""

    user_id: UUID
    token_mint: str
    max_purchases: int
    subscription_id: str | None
    period_seconds: int | None = None
    calendar: CalendarWindow | None = None
    max_amount_base_units: int | None = None

    def terms(self, amount_base_units: int | None = None) -> PurchaseTerms:
        """Return the terms that a purchase under this policy is counted under.

        Args:
            amount_base_units: how much it is; needed where the policy limits the amount.

        Raises:
            InvalidInputError: when an amount is needed and none is given.
        """
        return PurchaseTerms(
            period_seconds=self.period_seconds,
            calendar=self.calendar,
            amount_base_units=amount_base_units,
            max_amount_base_units=self.max_amount_base_units,
        )


@dataclass(frozen=True, slots=True)
class PurchaseStats:
    """Sums over all recorded purchases that were not cancelled."""

    total_tokens: int
    total_users: int
    total_purchases: int


class PurchaseRecords:
    """Reads and writes purchases and policies in SQL."""

    def __init__(self, database: Database) -> None:
        """Keep the database; nothing is read yet."""
        self._database = database
        self._held = HeldLookups(database)
        self._added: Collector[Row, None] = Collector(self._add, max_items=MAX_ROWS_PER_STATEMENT)

    async def add_counted(
        self,
        reservation_id: str,
        rule: PurchaseRule,
        *,
        terms: PurchaseTerms = DEFAULT_TERMS,
        counts_seconds: int | None = None,
    ) -> None:
        """Record a purchase that no payment of ours stands behind; it is durable when this returns.

        Those of one moment are one statement and share one commit. An id that was recorded before changes
        nothing.

        Args:
            reservation_id: under which it was counted.
            rule: what it was counted under.
            terms: what else it was counted under.
            counts_seconds: how long any limit may need it, where that is longer than the rule's period.

        Raises:
            DatabaseError: when it could not be recorded.
        """
        now = self._database.clock.now()
        row = {
            "reservation_id": reservation_id,
            "user_id": str(rule.user_id),
            "token_mint": rule.token_mint,
            "subscription_id": rule.subscription_id,
            "max_purchases": rule.max_purchases,
            "category": terms.category,
            "amount": terms.amount_base_units,
            "created_at": now,
            "updated_at": now,
            "counts_until": now + timedelta(seconds=counts_seconds or rule.period_seconds),
            "terms": stored_terms(terms),
            "state": "counted",
        }
        await self._added.submit(row)

    async def _add(self, rows: Sequence[Row]) -> list[None]:
        async def unit(connection: AsyncConnection) -> None:
            await add_new_rows(connection, token_purchases, rows, unless="reservation_id")

        await self._database.write(unit)
        return [None] * len(rows)

    async def cancel_counted(self, reservation_id: str) -> bool:
        """Say that a counted purchase did not happen; False when there is none by that id."""
        statement = (
            sa.update(token_purchases)
            .where(
                token_purchases.c.reservation_id == reservation_id,
                token_purchases.c.state == "counted",
                token_purchases.c.payment_id.is_(None),
            )
            .values(state="cancelled", updated_at=self._database.clock.now())
        )

        async def unit(connection: AsyncConnection) -> bool:
            return (await connection.execute(statement)).rowcount > 0

        return await self._database.write(unit)

    async def held(self, rule: CountedRule) -> HeldPurchases:
        """Count the purchases that may still belong to a rule's running period; see `HeldLookups.find`."""
        return await self._held.find(rule)

    async def mints_of(self, user_id: UserKey) -> tuple[str, ...]:
        """Return the mints that the user has recorded purchases of, sorted."""
        query = sa.select(token_purchases.c.token_mint).distinct().order_by(token_purchases.c.token_mint)
        query = query.where(
            token_purchases.c.user_id == str(user_id), token_purchases.c.state.in_(HELD_STATES)
        )
        async with self._database.reading() as connection:
            return tuple((await connection.execute(query)).scalars())

    async def rules_of_user(
        self, user_id: UserKey, keys: KeySpace, period_seconds: int, *, token_mint: str | None = None
    ) -> tuple[CountedRule, ...]:
        """Return the rules that the user's recorded purchases may still count under, each counter once.

        Args:
            user_id: any id of the caller's.
            keys: tell which rules share a counter; the latest purchase says its maximum.
            period_seconds: the rolling period where a purchase names none.
            token_mint: of this token alone, those of cancelled purchases included.

        Raises:
            DatabaseError: when the record failed.
        """
        now = self._database.clock.now()
        query = counted_under(user_id, now, now - timedelta(seconds=period_seconds), token_mint=token_mint)
        return rules_counted_under(user_id, await self._database.fetch(query), period_seconds, keys)

    async def stats(self) -> PurchaseStats:
        """Return how many tokens, users and purchases are recorded, the cancelled ones left out."""
        columns = (
            sa.func.count(token_purchases.c.token_mint.distinct()),
            sa.func.count(token_purchases.c.user_id.distinct()),
            sa.func.count(),
        )
        query = sa.select(*columns).where(token_purchases.c.state.in_(HELD_STATES))
        async with self._database.reading() as connection:
            return PurchaseStats(*(await connection.execute(query)).one())

    async def forget(self, user_id: UserKey, token_mint: str, period_seconds: int) -> int:
        """Mark the purchases of the running period as cancelled, and return how many they were.

        A purchase that belongs to a payment keeps its state, which follows the payment's.
        """
        now = self._database.clock.now()
        since = now - timedelta(seconds=period_seconds)
        statement = (
            sa.update(token_purchases)
            .where(
                *_of(user_id, token_mint),
                token_purchases.c.created_at > since,
                token_purchases.c.payment_id.is_(None),
            )
            .values(state="cancelled", updated_at=now)
        )

        async def unit(connection: AsyncConnection) -> int:
            return (await connection.execute(statement)).rowcount

        return await self._database.run(unit)

    async def analyze(
        self,
        by: Sequence[PurchaseDimension] = ("token_mint",),
        *,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> PurchaseReport:
        """Sum recorded purchases up by token, user, subscription, category, state or UTC day.

        Args:
            by: what the rows are grouped by, in this order; without any there is one row for everything.
            since: purchases from this moment on.
            until: purchases before this moment.

        Raises:
            InvalidInputError: for an unknown dimension.
            DatabaseError: when the record failed.
        """
        query = report_query(self._database.dialect, by, since, until)
        return report_of(by, await self._database.fetch(query))

    async def delete_ended(self, now: datetime, before: datetime) -> int:
        """Delete settled purchases that no limit needs any more, and return how many they were.

        Args:
            now: rows that know how long they count are deleted after that.
            before: those that do not know are deleted when they are older.
        """
        column = token_purchases.c
        is_over = sa.or_(
            column.counts_until <= now,
            sa.and_(column.counts_until.is_(None), column.created_at <= before),
        )
        statement = sa.delete(token_purchases).where(is_over, column.state != "reserved")

        async def unit(connection: AsyncConnection) -> int:
            return (await connection.execute(statement)).rowcount

        return await self._database.run(unit)

    async def set_policy(
        self,
        user_id: UserKey,
        token_mint: str,
        max_purchases: int,
        subscription_id: str | None,
        *,
        period_seconds: int | None = None,
        calendar: CalendarWindow | None = None,
        max_amount_base_units: int | None = None,
    ) -> PurchasePolicy:
        """Store a user's policy for a token in place of an earlier one.

        Args:
            user_id: a user of the directory.
            token_mint: what is bought.
            max_purchases: 1 or more in a period.
            subscription_id: on whose behalf, for the record.
            period_seconds: this user's rolling period, in place of the setting's.
            calendar: days or weeks of a place, in place of a rolling period.
            max_amount_base_units: the most that may be spent in a period.

        Raises:
            UserNotFoundError: when there is no such user.
            InvalidInputError: for a limit or a period below 1, both kinds of period, or ids that cannot be
                stored.
        """
        policy = PurchasePolicy(
            parse_user_id(user_id),
            token_mint,
            max_purchases,
            subscription_id,
            period_seconds,
            calendar,
            max_amount_base_units,
        )
        # Whatever the rules refuse later is refused now.
        terms = policy.terms(amount_base_units=1)
        request = PurchaseRequest(user_id, token_mint, max_purchases, subscription_id, terms)
        rules_of(request, DEFAULT_PURCHASE_PERIOD_SECONDS)
        await self._database.run(lambda connection: self._put_policy(connection, policy))
        return policy

    async def _put_policy(self, connection: AsyncConnection, policy: PurchasePolicy) -> None:
        changing = {
            "max_purchases": policy.max_purchases,
            "subscription_id": policy.subscription_id,
            "period_seconds": policy.period_seconds,
            "calendar_unit": None if policy.calendar is None else policy.calendar.unit,
            "time_zone": None if policy.calendar is None else policy.calendar.time_zone,
            "max_amount": policy.max_amount_base_units,
        }
        insert = self._database.insert(purchase_policies).values(
            user_id=policy.user_id,
            token_mint=policy.token_mint,
            created_at=self._database.clock.now(),
            **changing,
        )
        known = await connection.scalar(sa.select(users.c.id).where(users.c.id == policy.user_id))
        if known is None:
            raise UserNotFoundError(f"there is no user {policy.user_id}", user_id=str(policy.user_id))
        await connection.execute(
            insert.on_conflict_do_update(index_elements=["user_id", "token_mint"], set_=changing)
        )

    async def get_policy(self, user_id: UserKey, token_mint: str) -> PurchasePolicy | None:
        """Return a user's policy for a token, or None where none is stored.

        Raises:
            InvalidInputError: for ids that cannot be stored.
        """
        owner = parse_user_id(user_id)
        return (await self.get_policies([owner], token_mint)).get(owner)

    async def get_policies(self, user_ids: Sequence[UUID], token_mint: str) -> dict[UUID, PurchasePolicy]:
        """Return the policies that these users have for a token, by user.

        Args:
            user_ids: up to 30,000.
            token_mint: the token.

        Raises:
            InvalidInputError: for a mint that cannot be stored.
        """
        check_id("token_mint", token_mint)
        table = purchase_policies
        query = sa.select(table).where(table.c.user_id.in_(user_ids), table.c.token_mint == token_mint)
        return {row.user_id: _policy(row) for row in await self._database.fetch(query)}


def _policy(row: sa.Row[Any]) -> PurchasePolicy:
    calendar = None if row.calendar_unit is None else CalendarWindow(row.calendar_unit, row.time_zone)
    return PurchasePolicy(
        row.user_id,
        row.token_mint,
        row.max_purchases,
        row.subscription_id,
        row.period_seconds,
        calendar,
        row.max_amount,
    )


def _of(user_id: UserKey, token_mint: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        token_purchases.c.user_id == str(user_id),
        token_purchases.c.token_mint == token_mint,
        token_purchases.c.state.in_(HELD_STATES),
    )
