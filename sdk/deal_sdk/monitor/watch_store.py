"""The rows of watched wallets: read, changed under the log's lock, and shown as callers see them.

Owns the translation between rows and values, and what a stop and a resumption write. Never talks to the
chain.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.errors import WalletNotWatchedError, WatchSlotsFullError
from deal_sdk.monitor import texts
from deal_sdk.monitor.watch_listing import WatchCursor
from deal_sdk.monitor.watch_log import LIMIT_REACHED, RESUMED, STOPPED, Change
from deal_sdk.monitor.watch_values import WatchedTransaction, WatchedWallet
from deal_sdk.monitor.watch_windows import WatchLimits, window_start_at
from deal_sdk.records import Database
from deal_sdk.records.watch_tables import (
    watch_cursors,
    watch_rpc_usage,
    watched_transactions,
    watched_wallets,
)

_wallet = watched_wallets.c
_seen = watched_transactions.c
_usage = watch_rpc_usage.c
_LIVE_FIGURES: Final = ("rpc_calls_today", "pending_transactions")


@dataclass(frozen=True, slots=True)
class WatchPolicy:
    """How many wallets may be active, and how much each may count."""

    max_wallets: int = 3
    limits: WatchLimits = field(default_factory=WatchLimits)
    decimals: int = 8


class WatchStore:
    """Reads and writes watched wallets."""

    def __init__(self, database: Database, policy: WatchPolicy) -> None:
        """Keep the database; nothing is read yet."""
        self._database = database
        self.policy = policy

    async def all(self) -> tuple[WatchedWallet, ...]:
        """Return every wallet that was ever added, the oldest first."""
        return await self._read(self._shown().order_by(_wallet.added_at, _wallet.address))

    async def one(self, address: str) -> WatchedWallet:
        """Return one wallet.

        Raises:
            WalletNotWatchedError: when it was never added.
        """
        found = await self._read(self._shown().where(_wallet.address == address))
        return _only(found, address)

    async def locked(self, connection: AsyncConnection, address: str) -> WatchedWallet:
        """Return one wallet as it is for the length of a change.

        Raises:
            WalletNotWatchedError: when it was never added.
        """
        query = sa.select(watched_wallets).where(_wallet.address == address)
        rows = (await connection.execute(query)).mappings().all()
        return _only([self.to_wallet(row) for row in rows], address)

    async def locked_all(
        self, connection: AsyncConnection, addresses: Collection[str]
    ) -> dict[str, WatchedWallet]:
        """Return several wallets as they are for the length of a change, by address."""
        query = sa.select(watched_wallets).where(_wallet.address.in_(addresses))
        rows = (await connection.execute(query)).mappings()
        return {row["address"]: self.to_wallet(row) for row in rows}

    async def update(self, change: Change, wallet: WatchedWallet, **values: Any) -> WatchedWallet:
        """Write columns of a wallet, and return it as it is then."""
        update = sa.update(watched_wallets).where(_wallet.address == wallet.address).values(**values)
        returned = update.returning(*watched_wallets.c)
        return self.to_wallet((await change.connection.execute(returned)).mappings().one())

    async def insert(
        self, change: Change, wallet: str, points: Sequence[WatchCursor], given: Mapping[str, Any]
    ) -> None:
        """Write a new wallet that is active, with where its counting begins, its token account's last."""
        counts = dict.fromkeys(
            ("transaction_count", "window_start", "granted", "generation", "deleted_number"), 0
        )
        row = {"address": wallet, "token_account": points[-1].followed, "state": "active", **counts, **given}
        await change.connection.execute(sa.insert(watched_wallets).values(added_at=change.now, **row))
        await change.connection.execute(
            sa.insert(watch_cursors).values([_cursor_row(point, change.now) for point in points])
        )

    async def require_slot(self, change: Change) -> None:
        """Insist on a free place among the active wallets.

        Raises:
            WatchSlotsFullError: when as many are active as may be.
        """
        query = sa.select(sa.func.count()).where(_wallet.state == "active").select_from(watched_wallets)
        active = (await change.connection.execute(query)).scalar_one()
        if active >= self.policy.max_wallets:
            raise WatchSlotsFullError(
                f"{active} wallets are active, and no more than {self.policy.max_wallets} may be",
                active=active,
                max_wallets=self.policy.max_wallets,
            )

    async def stop(
        self, change: Change, wallet: WatchedWallet, reason: str, *, actor: str | None = None
    ) -> WatchedWallet:
        """Stop a wallet for a reason, and tell it."""
        stopped = await self.update(
            change,
            wallet,
            state="stopped",
            stop_reason=reason,
            stopped_at=change.now,
            stop_at=None,
            lease_owner=None,
        )
        if reason == "limit-reached":
            tell_limit_reached(change, stopped)
        else:
            tell(change, STOPPED, stopped, message="Wallet monitoring stopped", reason=reason, actor=actor)
        return stopped

    async def resume(self, change: Change, wallet: WatchedWallet, *, actor: str | None) -> WatchedWallet:
        """Watch a stopped wallet again, in the window that its count has reached.

        Raises:
            WatchSlotsFullError: when there is no free place.
        """
        await self.require_slot(change)
        window: dict[str, int] = {}
        if wallet.window.room(wallet.transaction_count) == 0:
            window["window_start"] = window_start_at(wallet.transaction_count, wallet.max_transactions)
            window["granted"] = 0
        resumed = await self.update(
            change, wallet, state="active", stop_reason=None, stopped_at=None, last_polled_at=None, **window
        )
        toast = texts.tracking_again(wallet.address)
        tell(change, RESUMED, resumed, message=texts.RESUMED, toast=toast, actor=actor)
        return resumed

    async def transactions(
        self, wallet: WatchedWallet, *, limit: int | None = None, before: int | None = None
    ) -> list[WatchedTransaction]:
        """Return what was counted since the last reset, the newest first."""
        return await self._database.read(
            lambda connection: self.counted(connection, wallet, limit=limit, before=before)
        )

    async def counted(
        self,
        connection: AsyncConnection,
        wallet: WatchedWallet,
        *,
        limit: int | None = None,
        before: int | None = None,
    ) -> list[WatchedTransaction]:
        """Return the same inside a transaction."""
        query = (
            sa.select(watched_transactions)
            .where(_seen.wallet == wallet.address, _seen.generation == wallet.generation)
            .order_by(_seen.number.desc())
            .limit(limit)
        )
        if before is not None:
            query = query.where(_seen.number < before)
        rows = (await connection.execute(query)).all()
        return [_transaction(row, self.policy.decimals) for row in rows]

    def to_wallet(self, row: Any) -> WatchedWallet:
        """Turn a row into a wallet, with the limit that is in force for it."""
        return WatchedWallet(
            **{
                name: row[name]
                for name in (
                    *("address", "token_account", "label", "wallet_type", "stop_reason"),
                    *("transaction_count", "window_start", "granted", "generation", "stop_at", "added_at"),
                    "deleted_number",
                    *("stopped_at", "last_polled_at", "last_transaction_at", "last_error"),
                )
            },
            is_active=row["state"] == "active",
            max_transactions=self.policy.limits.of(row["max_transactions"], row["wallet_type"]),
            has_custom_limit=row["max_transactions"] is not None,
            **{name: row[name] for name in _LIVE_FIGURES if name in row},
        )

    def _shown(self) -> sa.Select[Any]:
        today = self._database.clock.now().date().isoformat()
        used = (
            sa.select(sa.func.coalesce(sa.func.sum(_usage.calls), 0))
            .where(_usage.wallet == _wallet.address, _usage.day == today)
            .scalar_subquery()
        )
        pending = (
            sa.select(sa.func.count())
            .where(_seen.wallet == _wallet.address, _seen.state == "pending")
            .scalar_subquery()
        )
        return sa.select(
            watched_wallets, used.label("rpc_calls_today"), pending.label("pending_transactions")
        )

    async def _read(self, query: sa.Select[Any]) -> tuple[WatchedWallet, ...]:
        rows = await self._database.fetch(query)
        return tuple(self.to_wallet(row._mapping) for row in rows)


def tell(change: Change, event_type: str, wallet: WatchedWallet, **facts: Any) -> None:
    """Tell an event with the wallet as it is after it; what is None is left out."""
    shown = {name: value for name, value in wallet.to_dict().items() if name not in _LIVE_FIGURES}
    given = {name: value for name, value in facts.items() if value is not None}
    change.tell(event_type, wallet.address, {**given, "wallet": shown})


def tell_limit_reached(change: Change, wallet: WatchedWallet) -> None:
    """Tell that a wallet stopped by itself, in the form that pages and webhooks read."""
    tell(
        change,
        LIMIT_REACHED,
        wallet,
        transactionCount=wallet.transaction_count,
        maxTransactions=wallet.max_transactions,
        message=texts.limit_reached(wallet.max_transactions),
        timestamp=change.now.isoformat(),
    )


def at_count(wallet: WatchedWallet, count: int) -> WatchedWallet:
    """Return a wallet as it was when its count was this."""
    return replace(wallet, transaction_count=count)


def _cursor_row(cursor: WatchCursor, now: datetime) -> dict[str, Any]:
    return {
        "wallet": cursor.wallet,
        "followed": cursor.followed,
        "until_signature": cursor.signature,
        "until_slot": cursor.slot,
        "listed_at": now,
    }


def _only(found: Sequence[WatchedWallet], address: str) -> WatchedWallet:
    if not found:
        raise WalletNotWatchedError("the wallet is not watched", address=address)
    return found[0]


def _transaction(row: Any, decimals: int) -> WatchedTransaction:
    return WatchedTransaction(
        number=row.number,
        signature=row.signature,
        slot=row.slot,
        block_time=row.block_time,
        succeeded=row.succeeded,
        direction=row.direction,
        amount_base_units=row.amount,
        counterparty=row.counterparty,
        memo=row.memo,
        counted_at=row.counted_at,
        decimals=decimals,
    )
