"""Rounds of polling: which wallets are due, what they did, and what becomes of it.

A round lists every due wallet at once, reads what is new of all of them at once, so that the calls share
their HTTP requests, and counts in one commit. Owns no state that a crash could lose: a round that was cut
short is done again from the rows, and what it had counted is not counted twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.chain import LandedReads, LandedTransaction
from deal_sdk.errors import ChainError
from deal_sdk.metrics import Metrics
from deal_sdk.monitor.buys import WatchedBuy
from deal_sdk.monitor.helius import DEFAULT_PAYING_MINTS
from deal_sdk.monitor.watch_counts import Counter, ReadTransaction
from deal_sdk.monitor.watch_listing import AddressListing, Listing, WatchCursor
from deal_sdk.monitor.watch_listings import ListingStore, PendingTransaction, PollResult
from deal_sdk.monitor.watch_log import Change, WatchLog
from deal_sdk.monitor.watch_movements import NO_MOVEMENT, buys_of, movement_of
from deal_sdk.monitor.watch_store import WatchStore
from deal_sdk.records import Database
from deal_sdk.records.watch_tables import watched_wallets

logger = logging.getLogger(__name__)

TICK_SECONDS: Final = 1.0
_wallet = watched_wallets.c


@dataclass(frozen=True, slots=True)
class WatchBounds:
    """How often wallets are polled, and how much a poll counts."""

    poll_interval_seconds: float = 60.0
    hint_interval_seconds: float = 5.0
    transactions_per_poll: int = 5


class WorkerLease(Protocol):
    """Under whose name this process holds wallets, and which are free."""

    @property
    def owner(self) -> UUID:
        """Return this process's name."""
        ...

    def is_free(self, owner: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        """Return the condition that nobody who is alive holds a row."""
        ...


class BalanceHistory(Protocol):
    """Whoever records the balances of watched token accounts."""

    @property
    def reads(self) -> LandedReads:
        """Return the transactions that are read already."""
        ...

    def mark(self, token_accounts: Iterable[str], signature: str, slot: int) -> None:
        """Note token accounts that a finalized transaction moved."""
        ...


@dataclass(frozen=True, slots=True)
class WatchParts:
    """What rounds read from and write to."""

    database: Database
    store: WatchStore
    log: WatchLog
    listing: AddressListing
    listings: ListingStore
    counter: Counter
    lease: WorkerLease
    history: BalanceHistory
    handle_buys: Callable[[Sequence[WatchedBuy]], Awaitable[object]]
    metrics: Metrics
    mint: str


class WatchRounds:
    """Polls the wallets that this process holds."""

    def __init__(
        self,
        parts: WatchParts,
        bounds: WatchBounds,
        *,
        follow: Callable[[Collection[str]], None] | None = None,
    ) -> None:
        """Keep the parts; nothing is read yet.

        Args:
            parts: what rounds read from and write to.
            bounds: how often wallets are polled, and how much a poll counts.
            follow: told which addresses are polled here, so that `hint` is called when one has news.
        """
        self._parts = parts
        self._bounds = bounds
        self._follow = follow
        self._hinted: set[str] = set()
        self._turn = asyncio.Lock()
        self.held: frozenset[str] = frozenset()
        """The token accounts and addresses of the wallets that this process polls."""

    @property
    def name(self) -> str:
        """Return the job's name."""
        return "monitor"

    @property
    def interval_seconds(self) -> float:
        """Return how long to wait between two looks for wallets that are due."""
        return TICK_SECONDS

    def hint(self, address: str) -> None:
        """Note that a watched address has news, so that its wallet is polled before its time."""
        self._hinted.add(address)

    async def run_once(self) -> None:
        """Take what is free, stop what is scheduled, and poll what is due.

        Raises:
            DatabaseError: what was done stays done, and the next look goes on.
        """
        async with self._turn:
            wallets = await self._held_wallets()
            self.held = frozenset(address for row in wallets for address in (row.address, row.token_account))
            if self._follow is not None:
                self._follow(self.held)
            now = self._parts.database.clock.now()
            over = [row.address for row in wallets if row.stop_at is not None and row.stop_at <= now]
            if over:
                await self._parts.log.change(lambda change: self._stop(change, over))
            due = self._due([row for row in wallets if row.address not in over], now)
            if due:
                await self._poll(due)

    async def _held_wallets(self) -> Sequence[Any]:
        lease = self._parts.lease
        is_mine = _wallet.lease_owner == lease.owner
        is_free = lease.is_free(_wallet.lease_owner)
        columns = (_wallet.address, _wallet.token_account, _wallet.last_polled_at, _wallet.stop_at)
        query = sa.select(*columns, is_mine.label("is_mine")).where(_wallet.state == "active")
        rows = await self._parts.database.fetch(query.where(is_mine | is_free).order_by(_wallet.address))
        if all(row.is_mine for row in rows):
            return rows
        claim = sa.update(watched_wallets).where(_wallet.state == "active", is_free)

        async def unit(connection: AsyncConnection) -> None:
            await connection.execute(claim.values(lease_owner=lease.owner))

        await self._parts.database.run(unit)
        return await self._parts.database.fetch(query.where(is_mine).order_by(_wallet.address))

    def _due(self, wallets: Sequence[Any], now: datetime) -> list[str]:
        """Return the wallets to poll: all that are half due once one is, so that they share requests."""
        interval = timedelta(seconds=self._bounds.poll_interval_seconds)
        after_hint = timedelta(seconds=self._bounds.hint_interval_seconds)

        def waited(row: Any, least: timedelta) -> bool:
            return row.last_polled_at is None or row.last_polled_at <= now - least

        hinted = {
            row.address
            for row in wallets
            if waited(row, after_hint) and not self._hinted.isdisjoint((row.address, row.token_account))
        }
        is_time = any(waited(row, interval) for row in wallets)
        return [
            row.address for row in wallets if row.address in hinted or (is_time and waited(row, interval / 2))
        ]

    async def _poll(self, wallets: Sequence[str]) -> None:
        parts = self._parts
        cursors = await parts.listings.cursors(wallets)
        for followed in (cursor.followed for found in cursors.values() for cursor in found):
            self._hinted.discard(followed)
        results = await asyncio.gather(*(self._list(wallet, cursors[wallet]) for wallet in wallets))
        await parts.listings.store(results, parts.lease.owner)
        pending = await parts.listings.pending(wallets, self._bounds.transactions_per_poll)
        if pending:
            await self._count(pending)

    async def _list(self, wallet: str, cursors: Sequence[WatchCursor]) -> PollResult:
        found = await asyncio.gather(
            *(self._parts.listing.list_new(cursor) for cursor in cursors), return_exceptions=True
        )
        listings = tuple(listing for listing in found if isinstance(listing, Listing))
        errors = [error for error in found if isinstance(error, BaseException)]
        for error in errors:
            if not isinstance(error, ChainError):
                raise error
        # A call that failed may have been counted by the provider as well.
        calls = sum(listing.calls for listing in listings) + len(errors)
        told = str(errors[0]) if errors else None
        if told is not None:
            logger.warning("a poll of %s failed: %s", wallet, told)
        return PollResult(wallet, listings, calls, told)

    async def _count(self, pending: Sequence[PendingTransaction]) -> None:
        parts = self._parts
        calls: dict[str, int] = {}
        for item in {item.signature: item for item in pending if self._costs_a_call(item)}.values():
            calls[item.wallet] = calls.get(item.wallet, 0) + 1
        landed = await self._read({item.signature for item in pending if item.succeeded})
        by_wallet: dict[str, list[ReadTransaction]] = {}
        buys: list[WatchedBuy] = []
        for item in pending:
            found = landed.get(item.signature)
            movement = None if found is None else movement_of(found, item.wallet, parts.mint)
            by_wallet.setdefault(item.wallet, []).append(
                ReadTransaction(item, movement if item.succeeded else NO_MOVEMENT)
            )
            if found is not None:
                buys += buys_of(found, item.wallet, DEFAULT_PAYING_MINTS)
        # Before the count is committed: a buy that is told again is recognised, one that is lost is not.
        if buys:
            await parts.handle_buys(buys)
        self._follow_up(await parts.counter.count(by_wallet, calls), landed)

    def _costs_a_call(self, item: PendingTransaction) -> bool:
        return item.succeeded and not self._parts.history.reads.is_kept(item.signature)

    async def _read(self, signatures: Collection[str]) -> dict[str, LandedTransaction]:
        """Read transactions in one go; what cannot be read now is left for the next poll."""
        wanted = [*signatures]
        found = await asyncio.gather(*map(self._parts.history.reads.get, wanted), return_exceptions=True)
        landed: dict[str, LandedTransaction] = {}
        for signature, result in zip(wanted, found, strict=True):
            if isinstance(result, LandedTransaction):
                landed[signature] = result
            elif isinstance(result, ChainError):
                logger.warning("%s cannot be read now: %s", signature, result.message)
            elif result is not None:
                raise result
        return landed

    def _follow_up(self, counted: Iterable[ReadTransaction], landed: dict[str, LandedTransaction]) -> None:
        for transaction in counted:
            direction = transaction.movement.direction if transaction.movement is not None else None
            self._parts.metrics.watched_wallet_transactions.inc()
            found = landed.get(transaction.pending.signature)
            if direction is None or found is None:
                continue
            moved = {
                account
                for account, holding in {**found.token_balances_before, **found.token_balances_after}.items()
                if holding.owner == transaction.pending.wallet and holding.mint == self._parts.mint
            }
            self._parts.history.mark(moved, found.signature, found.slot)

    async def _stop(self, change: Change, addresses: Collection[str]) -> None:
        wallets = await self._parts.store.locked_all(change.connection, addresses)
        for wallet in wallets.values():
            is_due = wallet.stop_at is not None and wallet.stop_at <= change.now
            if wallet.is_active and is_due:
                await self._parts.store.stop(change, wallet, "scheduled")
