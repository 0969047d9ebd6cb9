"""The SQL side of purchases: one row per counted purchase, and the stored policies.

Owns `token_purchases` and `purchase_policies`. The rows are the record of truth; the counters in the
store are what decides quickly, and are rebuilt from these rows when they are lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.errors import UserNotFoundError
from deal_sdk.limits.gate import HeldPurchases
from deal_sdk.limits.rules import PurchaseRule, UserKey, check_id
from deal_sdk.records import Database, parse_user_id
from deal_sdk.records.tables import purchase_policies, token_purchases, users

_HELD: Final = ("reserved", "counted")


@dataclass(frozen=True, slots=True)
class PurchasePolicy:
    """How often a user may buy a token, as stored."""

    user_id: UUID
    token_mint: str
    max_purchases: int
    subscription_id: str | None


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

    async def add_counted(self, reservation_id: str, rule: PurchaseRule) -> bool:
        """Record a purchase that no payment of ours stands behind, in a commit shared with other callers.

        Args:
            reservation_id: under which it was counted.
            rule: what it was counted under.

        Returns:
            False when the id was recorded before; nothing changes then.

        Raises:
            DatabaseError: when it could not be recorded.
        """
        now = self._database.clock.now()
        statement = (
            self._database.insert(token_purchases)
            .values(
                reservation_id=reservation_id,
                user_id=str(rule.user_id),
                token_mint=rule.token_mint,
                subscription_id=rule.subscription_id,
                max_purchases=rule.max_purchases,
                state="counted",
                created_at=now,
                updated_at=now,
            )
            .on_conflict_do_nothing(index_elements=["reservation_id"])
            .returning(token_purchases.c.reservation_id)
        )

        async def unit(connection: AsyncConnection) -> bool:
            return (await connection.execute(statement)).first() is not None

        return await self._database.write(unit)

    async def held(self, user_id: UserKey, token_mint: str, period_seconds: int) -> HeldPurchases:
        """Count the purchases that may still belong to a running period, and say when the first was made.

        Where periods follow each other closely this counts the tail of the one before as well: it may
        refuse a purchase too many, never allow one.
        """
        since = self._database.clock.now() - timedelta(seconds=period_seconds)
        first = sa.func.min(token_purchases.c.created_at, type_=token_purchases.c.created_at.type)
        query = sa.select(sa.func.count(), first).where(
            *_of(user_id, token_mint), token_purchases.c.created_at > since
        )
        async with self._database.reading() as connection:
            count, started_at = (await connection.execute(query)).one()
        return HeldPurchases(count, started_at)

    async def mints_of(self, user_id: UserKey) -> tuple[str, ...]:
        """Return the mints that the user has recorded purchases of, sorted."""
        query = sa.select(token_purchases.c.token_mint).distinct().order_by(token_purchases.c.token_mint)
        query = query.where(token_purchases.c.user_id == str(user_id), token_purchases.c.state.in_(_HELD))
        async with self._database.reading() as connection:
            return tuple((await connection.execute(query)).scalars())

    async def stats(self) -> PurchaseStats:
        """Return how many tokens, users and purchases are recorded, the cancelled ones left out."""
        columns = (
            sa.func.count(token_purchases.c.token_mint.distinct()),
            sa.func.count(token_purchases.c.user_id.distinct()),
            sa.func.count(),
        )
        query = sa.select(*columns).where(token_purchases.c.state.in_(_HELD))
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

    async def delete_before(self, moment: datetime) -> int:
        """Delete settled purchases made before a moment, and return how many they were."""
        statement = sa.delete(token_purchases).where(
            token_purchases.c.created_at <= moment, token_purchases.c.state != "reserved"
        )

        async def unit(connection: AsyncConnection) -> int:
            return (await connection.execute(statement)).rowcount

        return await self._database.run(unit)

    async def set_policy(
        self, user_id: UserKey, token_mint: str, max_purchases: int, subscription_id: str | None
    ) -> PurchasePolicy:
        """Store a user's policy for a token in place of an earlier one.

        Raises:
            UserNotFoundError: when there is no such user.
            InvalidInputError: for a maximum below 1, or ids that cannot be stored.
        """
        rule = PurchaseRule(user_id, token_mint, max_purchases, subscription_id)
        policy = PurchasePolicy(parse_user_id(user_id), token_mint, rule.max_purchases, subscription_id)
        changing = {"max_purchases": max_purchases, "subscription_id": subscription_id}
        insert = self._database.insert(purchase_policies).values(
            user_id=policy.user_id, token_mint=token_mint, created_at=self._database.clock.now(), **changing
        )
        statement = insert.on_conflict_do_update(index_elements=["user_id", "token_mint"], set_=changing)

        async def unit(connection: AsyncConnection) -> None:
            known = await connection.scalar(sa.select(users.c.id).where(users.c.id == policy.user_id))
            if known is None:
                raise UserNotFoundError(f"there is no user {policy.user_id}", user_id=str(policy.user_id))
            await connection.execute(statement)

        await self._database.run(unit)
        return policy

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
        table = purchase_policies.c
        columns = table.user_id, table.token_mint, table.max_purchases, table.subscription_id
        query = sa.select(*columns).where(table.user_id.in_(user_ids), table.token_mint == token_mint)
        return {row.user_id: PurchasePolicy(*row) for row in await self._database.fetch(query)}


def _of(user_id: UserKey, token_mint: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        token_purchases.c.user_id == str(user_id),
        token_purchases.c.token_mint == token_mint,
        token_purchases.c.state.in_(_HELD),
    )
