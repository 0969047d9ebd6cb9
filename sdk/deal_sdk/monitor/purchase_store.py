"""The rows of purchases that buys lead to.

Owns every change of a purchase's state. A change names the state that it starts from and who holds the
purchase, so that a process that was paused and taken over changes nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.errors import InvalidInputError
from deal_sdk.monitor.buys import WatchedBuy
from deal_sdk.monitor.subscription_store import MAX_LISTED, active_subscriptions, row_to_subscription
from deal_sdk.monitor.subscription_values import (
    TRADE,
    Subscription,
    SubscriptionPurchase,
    parse_subscription_id,
)
from deal_sdk.records import Database
from deal_sdk.records.purchase_tables import token_purchases
from deal_sdk.records.subscription_tables import (
    ENDED_STATES,
    OPEN_STATES,
    REASON_LENGTH,
    subscription_purchases,
    subscriptions,
)
from deal_sdk.records.uuid_texts import uuid_text

MIN_KEPT_SECONDS: Final = 7 * 86_400
DEFAULT_KEPT_SECONDS: Final = 90 * 86_400
_ROWS_PER_INSERT: Final = 500
_ROWS_PER_DELETE: Final = 500

_bought = subscription_purchases.c


class PurchaseStore:
    """Reads and writes what became of buys."""

    def __init__(self, database: Database) -> None:
        """Keep the database; nothing is read yet."""
        self._database = database

    async def receive(
        self, buys: Sequence[WatchedBuy], held_until: datetime
    ) -> tuple[SubscriptionPurchase, ...]:
        """Record what buys mean for the subscriptions to their wallets, in one commit.

        Args:
            buys: as told; a buy that was told before is found, not recorded again.
            held_until: until when they are this caller's.

        Raises:
            DatabaseError: when it could not be recorded; nothing of it was then.
        """
        if not buys:
            return ()
        wallets = {buy.kol_wallet for buy in buys}
        now = self._database.clock.now()
        followers = active_subscriptions().where(
            subscriptions.c.kol_wallet.in_(wallets), subscriptions.c.type == TRADE
        )

        async def unit(connection: AsyncConnection) -> list[SubscriptionPurchase]:
            rows = (await connection.execute(followers)).all()
            by_wallet: dict[str, list[Subscription]] = {}
            for row in rows:
                by_wallet.setdefault(row.kol_wallet, []).append(row_to_subscription(row))
            purchases = [
                _received(subscription, buy, now, held_until)
                for buy in dict.fromkeys(buys)
                for subscription in by_wallet.get(buy.kol_wallet, ())
            ]
            new = await self._insert(connection, purchases)
            before = await _told_before(connection, [item for item in purchases if item.id not in new])
            return [item if item.id in new else before[_key(item)] for item in purchases]

        return tuple(await self._database.write(unit))

    async def take_over(
        self, held_until: datetime, *, limit: int, at_work: Collection[UUID] = ()
    ) -> tuple[SubscriptionPurchase, ...]:
        """Take open purchases that nobody holds any more.

        Args:
            held_until: until when they are this caller's then.
            limit: the most that are taken.
            at_work: the caller's own, which it still works at.

        Raises:
            DatabaseError: when they could not be read.
        """
        now = self._database.clock.now()
        query = (
            _joined()
            .where(_bought.state.in_(OPEN_STATES), _bought.held_until < now)
            .order_by(_bought.held_until)
            .limit(limit)
        )
        free = [_purchase(row) for row in await self._database.fetch(query)]
        taken = []
        for purchase in free:
            if purchase.id in at_work:
                continue
            if await self.move(purchase, (purchase.state,), held_until=held_until):
                taken.append(replace(purchase, held_until=held_until))
        return tuple(taken)

    async def move(self, purchase: SubscriptionPurchase, from_states: Sequence[str], **values: Any) -> bool:
        """Change a purchase that is still held as it says, and return whether it was.

        Args:
            purchase: as last seen.
            from_states: what its state may be.
            values: the columns to change.

        Raises:
            DatabaseError: when it is not known whether it was changed.
        """
        statement = (
            sa.update(subscription_purchases)
            .where(
                _bought.id == purchase.id,
                _bought.state.in_(from_states),
                _bought.held_until == purchase.held_until,
            )
            .values(updated_at=self._database.clock.now(), **_cut(values))
        )
        return await self._change(statement)

    async def begin(self, purchase: SubscriptionPurchase, held_until: datetime) -> bool:
        """Note that a purchase is handed to the executor, unless its subscription was removed.

        Returns:
            False when it was, or when the purchase is no longer held as it says; nothing changed then.

        Raises:
            DatabaseError: when it is not known whether it was noted.
        """
        follows = sa.exists().where(
            subscriptions.c.id == purchase.subscription.id, subscriptions.c.state == "active"
        )
        statement = (
            sa.update(subscription_purchases)
            .where(
                _bought.id == purchase.id,
                _bought.state == purchase.state,
                _bought.held_until == purchase.held_until,
                follows,
            )
            .values(state="executing", held_until=held_until, updated_at=self._database.clock.now())
        )
        return await self._change(statement)

    async def end_executed(self, purchase: SubscriptionPurchase, **values: Any) -> bool:
        """Write what an executor proved, also where the purchase was given up as unknown meanwhile."""
        statement = (
            sa.update(subscription_purchases)
            .where(_bought.id == purchase.id, _bought.state.in_(("executing", "unknown")))
            .values(updated_at=self._database.clock.now(), **_cut(values))
        )
        return await self._change(statement)

    async def purchases(
        self, *, subscription_id: UUID | str | None = None, limit: int = 100
    ) -> tuple[SubscriptionPurchase, ...]:
        """Return what buys led to, the newest first.

        Args:
            subscription_id: of one subscription alone.
            limit: 1 to 1000.
        """
        if not 1 <= limit <= MAX_LISTED:
            raise InvalidInputError(f"a limit is 1 to {MAX_LISTED}", field="limit")
        query = _joined().order_by(_bought.created_at.desc(), _bought.id).limit(limit)
        if subscription_id is not None:
            query = query.where(_bought.subscription_id == parse_subscription_id(subscription_id))
        return tuple(_purchase(row) for row in await self._database.fetch(query))

    async def delete_ended(self, kept_seconds: int = DEFAULT_KEPT_SECONDS) -> int:
        """Delete purchases that ended long ago, a few hundred in each commit, and return how many they were.

        A buy that is told again after that is new, so they are kept for longer than any sender tries. One
        that `token_purchases` still counts stays.

        Args:
            kept_seconds: how long after their end they are kept, a week or more.

        Raises:
            InvalidInputError: for less than a week.
            DatabaseError: when the record failed; some may be deleted.
        """
        if kept_seconds < MIN_KEPT_SECONDS:
            raise InvalidInputError(f"kept_seconds must be at least {MIN_KEPT_SECONDS}", field="kept_seconds")
        before = self._database.clock.now() - timedelta(seconds=kept_seconds)
        counted = sa.exists().where(token_purchases.c.reservation_id == uuid_text(_bought.id))
        ended = sa.select(_bought.id).where(
            _bought.state.in_(ENDED_STATES), _bought.updated_at < before, ~counted
        )
        statement = sa.delete(subscription_purchases).where(_bought.id.in_(ended.limit(_ROWS_PER_DELETE)))

        async def unit(connection: AsyncConnection) -> int:
            return (await connection.execute(statement)).rowcount

        deleted = 0
        while (count := await self._database.write(unit)) > 0:
            deleted += count
        return deleted

    def held_for(self, seconds: float) -> datetime:
        """Return the moment that ends a hold of so many seconds from now."""
        return self._database.clock.now() + timedelta(seconds=seconds)

    async def _insert(
        self, connection: AsyncConnection, purchases: Sequence[SubscriptionPurchase]
    ) -> set[UUID]:
        new: set[UUID] = set()
        for start in range(0, len(purchases), _ROWS_PER_INSERT):
            rows = [_row(purchase) for purchase in purchases[start : start + _ROWS_PER_INSERT]]
            statement = (
                self._database.insert(subscription_purchases)
                .values(rows)
                .on_conflict_do_nothing()
                .returning(_bought.id)
            )
            new |= set((await connection.execute(statement)).scalars())
        return new

    async def _change(self, statement: sa.Update) -> bool:
        async def unit(connection: AsyncConnection) -> bool:
            return (await connection.execute(statement)).rowcount > 0

        return await self._database.write(unit)


async def _told_before(
    connection: AsyncConnection, purchases: Sequence[SubscriptionPurchase]
) -> dict[tuple[object, ...], SubscriptionPurchase]:
    found: dict[tuple[object, ...], SubscriptionPurchase] = {}
    for start in range(0, len(purchases), _ROWS_PER_INSERT):
        part = purchases[start : start + _ROWS_PER_INSERT]
        query = _joined().where(
            _bought.subscription_id.in_({item.subscription.id for item in part}),
            _bought.signature.in_({item.buy.signature for item in part}),
        )
        for row in await connection.execute(query):
            known = replace(_purchase(row), is_duplicate=True)
            found[_key(known)] = known
    return found


def _key(purchase: SubscriptionPurchase) -> tuple[object, ...]:
    buy = purchase.buy
    return purchase.subscription.id, buy.signature, buy.instruction_index, buy.token_mint


def _joined() -> sa.Select[Any]:
    columns = [column.label(f"subscription_{column.name}") for column in subscriptions.c]
    return sa.select(*[column for column in _bought if column.name != "subscription_id"], *columns).join_from(
        subscription_purchases, subscriptions
    )


def _received(
    subscription: Subscription, buy: WatchedBuy, now: datetime, held_until: datetime
) -> SubscriptionPurchase:
    return SubscriptionPurchase(
        uuid.uuid4(), subscription, buy, "received", None, None, False, held_until, now
    )


def _row(purchase: SubscriptionPurchase) -> dict[str, Any]:
    buy = purchase.buy
    return {
        "id": purchase.id,
        "subscription_id": purchase.subscription.id,
        "signature": buy.signature,
        "instruction_index": buy.instruction_index,
        "token_mint": buy.token_mint,
        "token_amount": buy.token_amount,
        "slot": buy.slot,
        "state": purchase.state,
        "is_counted": False,
        "held_until": purchase.held_until,
        "created_at": purchase.created_at,
        "updated_at": purchase.created_at,
    }


def _purchase(row: sa.Row[Any]) -> SubscriptionPurchase:
    subscription = row_to_subscription(row, "subscription_")
    buy = WatchedBuy(
        row.signature,
        subscription.kol_wallet,
        row.token_mint,
        row.instruction_index,
        row.token_amount,
        row.slot,
    )
    return SubscriptionPurchase(
        id=row.id,
        subscription=subscription,
        buy=buy,
        state=row.state,
        reason=row.reason,
        reference=row.reference,
        is_counted=row.is_counted,
        held_until=row.held_until,
        created_at=row.created_at,
    )


def _cut(values: dict[str, Any]) -> dict[str, Any]:
    texts = {name: values[name][:REASON_LENGTH] for name in ("reason", "reference") if values.get(name)}
    return {**values, **texts}
