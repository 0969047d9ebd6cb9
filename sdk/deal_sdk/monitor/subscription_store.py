"""The rows of subscriptions: whose buys are followed for whom.

Owns adding, listing and removing them. Knows nothing of what a buy leads to.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.chain.addresses import parse_address
from deal_sdk.errors import InvalidInputError, SubscriptionNotFoundError
from deal_sdk.limits.ids import UserKey, check_id
from deal_sdk.limits.rules import MAX_LIMIT
from deal_sdk.monitor.subscription_values import TRADE, Subscription, WatchConfig, parse_subscription_id
from deal_sdk.records import Database
from deal_sdk.records.subscription_tables import TYPE_LENGTH, subscriptions

MAX_LISTED: Final = 1_000


class SubscriptionStore:
    """Reads and writes subscriptions and their purchases."""

    def __init__(self, database: Database) -> None:
        """Keep the database; nothing is read yet."""
        self._database = database

    async def add(
        self,
        user_id: UserKey,
        kol_wallet: str,
        *,
        type: str = TRADE,
        token_buy_count: int | None = None,
        watch_config: Mapping[str, Any] | None = None,
    ) -> Subscription:
        """Follow a wallet's buys for a user from now on.

        Args:
            user_id: for whom, any id of the caller's.
            kol_wallet: whose buys.
            type: "trade"; others are kept and ignored.
            token_buy_count: how often one token may be bought in a period; without it, or without a
                watch_config, nothing is checked.
            watch_config: take_profit_percentage, stop_loss_percentage and whatever else is JSON.

        Raises:
            InvalidInputError, InvalidWalletAddressError: for what could not be followed.
        """
        check_id("user_id", str(user_id))
        parse_address(kol_wallet)
        check_id("type", type)
        if len(type) > TYPE_LENGTH:
            raise InvalidInputError(f"a type has at most {TYPE_LENGTH} characters", field="type")
        _check_count(token_buy_count)
        config = None if watch_config is None else WatchConfig.of(watch_config)
        now = self._database.clock.now()
        added = Subscription(uuid.uuid4(), str(user_id), kol_wallet, type, token_buy_count, config, now)
        row = {name: getattr(added, name) for name in ("id", "user_id", "kol_wallet", "type", "created_at")}
        row |= {"token_buy_count": token_buy_count, "state": "active"}
        row["watch_config"] = None if config is None else config.to_dict()
        statement = sa.insert(subscriptions).values(row)

        async def unit(connection: AsyncConnection) -> None:
            await connection.execute(statement)

        await self._database.write(unit)
        return added

    async def list(
        self, *, user_id: UserKey | None = None, kol_wallet: str | None = None
    ) -> tuple[Subscription, ...]:
        """Return active subscriptions, the oldest first, at most 1000.

        Args:
            user_id: of this user alone.
            kol_wallet: to this wallet alone.
        """
        query = (
            active_subscriptions().order_by(subscriptions.c.created_at, subscriptions.c.id).limit(MAX_LISTED)
        )
        if user_id is not None:
            query = query.where(subscriptions.c.user_id == str(user_id))
        if kol_wallet is not None:
            query = query.where(subscriptions.c.kol_wallet == kol_wallet)
        return tuple(row_to_subscription(row) for row in await self._database.fetch(query))

    async def remove(self, subscription_id: UUID | str) -> None:
        """Stop following; what was handed over already goes on, what was not is skipped.

        Raises:
            SubscriptionNotFoundError: when there is none by that id, or it was removed before.
            InvalidInputError: for an id that is no UUID.
        """
        parsed = parse_subscription_id(subscription_id)
        now = self._database.clock.now()
        statement = (
            sa.update(subscriptions)
            .where(subscriptions.c.id == parsed, subscriptions.c.state == "active")
            .values(state="removed", removed_at=now)
        )
        if not await self._change(statement):
            raise SubscriptionNotFoundError("no such subscription", subscription_id=str(parsed))

    async def _change(self, statement: sa.Update) -> bool:
        async def unit(connection: AsyncConnection) -> bool:
            return (await connection.execute(statement)).rowcount > 0

        return await self._database.write(unit)


def active_subscriptions() -> sa.Select[Any]:
    """Select the subscriptions that were not removed."""
    return sa.select(subscriptions).where(subscriptions.c.state == "active")


def row_to_subscription(row: sa.Row[Any], prefix: str = "") -> Subscription:
    """Turn a row into a subscription; its columns may carry a prefix."""
    of = row._mapping
    config = of[f"{prefix}watch_config"]
    return Subscription(
        id=of[f"{prefix}id"],
        user_id=of[f"{prefix}user_id"],
        kol_wallet=of[f"{prefix}kol_wallet"],
        type=of[f"{prefix}type"],
        token_buy_count=of[f"{prefix}token_buy_count"],
        watch_config=None if config is None else WatchConfig.of(config),
        created_at=of[f"{prefix}created_at"],
    )


def _check_count(count: int | None) -> None:
    if count is None:
        return
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MAX_LIMIT:
        raise InvalidInputError(f"token_buy_count is an integer up to {MAX_LIMIT}", field="token_buy_count")
