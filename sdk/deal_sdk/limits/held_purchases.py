"""What the SQL record knows of running periods, for counts that the store has lost or never had.

Owns the question; those of one moment share one read transaction, because after a loss everybody asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.batching import Collector
from deal_sdk.limits.decisions import HeldPurchases
from deal_sdk.limits.purchase_reports import amount_of, amount_parts
from deal_sdk.limits.rules import CountedRule
from deal_sdk.records import Database
from deal_sdk.records.purchase_tables import token_purchases

HELD_STATES: Final = ("reserved", "counted")
MAX_RULES_PER_READ: Final = 256


class HeldLookups:
    """Counts the purchases that may still belong to running periods."""

    def __init__(self, database: Database) -> None:
        """Keep the database; nothing is read yet."""
        self._database = database
        self._lookups: Collector[CountedRule, HeldPurchases] = Collector(
            self._find_all, max_items=MAX_RULES_PER_READ, drop_cancelled=True
        )

    async def find(self, rule: CountedRule) -> HeldPurchases:
        """Count the purchases that may still belong to a rule's running period, and say when it ends.

        Where periods follow each other closely this counts the tail of the one before as well: it may
        refuse a purchase too many, never allow one.

        Raises:
            DatabaseError: when the record failed.
        """
        return await self._lookups.submit(rule)

    async def _find_all(self, rules: Sequence[CountedRule]) -> list[HeldPurchases]:
        async def unit(connection: AsyncConnection) -> list[HeldPurchases]:
            return [await self._find(connection, rule) for rule in rules]

        return await self._database.read(unit)

    async def _find(self, connection: AsyncConnection, rule: CountedRule) -> HeldPurchases:
        now = self._database.clock.now()
        if rule.calendar is None:
            since, ends_at = now - timedelta(seconds=rule.period_seconds), None
        else:
            since, ends_at = rule.calendar.current(now)
        query = _query(by_category=rule.category is not None, by_calendar=rule.calendar is not None)
        given = {"user": str(rule.user_id), "bought": rule.category or rule.token_mint, "since": since}
        count, high, low, started_at = (await connection.execute(query, given)).one()
        if started_at is not None and rule.calendar is None:
            ends_at = started_at + timedelta(seconds=rule.period_seconds)
        return HeldPurchases(count, amount_of(high, low), ends_at if count else None)


@lru_cache(maxsize=4)
def _query(*, by_category: bool, by_calendar: bool) -> sa.Select[Any]:
    column = token_purchases.c
    created_at, since = column.created_at, sa.bindparam("since", type_=column.created_at.type)
    # A rolling period ends a whole period after its first purchase, when that no longer counts; a calendar's
    # begins with its first instant.
    has_begun = created_at >= since if by_calendar else created_at > since
    bought = column.category if by_category else column.token_mint
    first = sa.func.min(created_at, type_=created_at.type)
    return sa.select(sa.func.count(), *amount_parts(), first).where(
        column.user_id == sa.bindparam("user"),
        bought == sa.bindparam("bought"),
        column.state.in_(HELD_STATES),
        has_begun,
    )
