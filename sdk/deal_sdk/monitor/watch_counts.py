"""Counting: from transactions that were listed and read to a wallet's count, and to its stop.

Owns the one commit in which transactions get their numbers, events are told, and a wallet stops exactly at
its limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from deal_sdk.amounts import format_amount
from deal_sdk.monitor import texts
from deal_sdk.monitor.watch_listings import PendingTransaction
from deal_sdk.monitor.watch_log import APPROACHING, TRANSACTION, Change, WatchLog
from deal_sdk.monitor.watch_movements import NO_MOVEMENT, Movement
from deal_sdk.monitor.watch_quota import QuotaBook
from deal_sdk.monitor.watch_store import WatchStore, at_count, tell
from deal_sdk.monitor.watch_values import WatchedWallet
from deal_sdk.records.watch_tables import watched_transactions, watched_wallets

MAX_TRIES: Final = 10
"""After as many polls a transaction that no endpoint shows is counted without its details."""

_seen = watched_transactions.c
_wallet = watched_wallets.c


@dataclass(frozen=True, slots=True)
class ReadTransaction:
    """A listed transaction and what it moved; None when no endpoint showed it."""

    pending: PendingTransaction
    movement: Movement | None

    @property
    def is_countable(self) -> bool:
        """Return whether it was shown, or has been asked for often enough."""
        return self.movement is not None or self.pending.tries + 1 >= MAX_TRIES


class Counter:
    """Gives transactions their numbers."""

    def __init__(self, store: WatchStore, log: WatchLog, quota: QuotaBook, *, owner: UUID) -> None:
        """Keep the parts.

        Args:
            store: the wallets.
            log: commits.
            quota: counts the calls that reading took.
            owner: in whose name wallets are leased here.
        """
        self._store = store
        self._log = log
        self._quota = quota
        self._owner = owner

    async def count(
        self, transactions: dict[str, list[ReadTransaction]], calls: dict[str, int]
    ) -> list[ReadTransaction]:
        """Count transactions by wallet, as far as each wallet's window reaches.

        Args:
            transactions: the oldest first.
            calls: that reading them took, by wallet.

        Returns:
            What was counted.

        Raises:
            DatabaseError: nothing was counted; the same is read again.
        """

        async def work(change: Change) -> list[ReadTransaction]:
            counted: list[ReadTransaction] = []
            await self._quota.add(change.connection, calls)
            for wallet in await self._held(change, transactions):
                counted += await self._count_wallet(change, wallet, transactions[wallet.address])
            return counted

        return await self._log.change(work)

    async def _held(
        self, change: Change, transactions: dict[str, list[ReadTransaction]]
    ) -> list[WatchedWallet]:
        """Return the wallets that are still active and leased here, whatever happened since the poll."""
        query = sa.select(_wallet.address).where(
            _wallet.lease_owner == self._owner, _wallet.state == "active", _wallet.address.in_(transactions)
        )
        held = (await change.connection.execute(query.order_by(_wallet.address))).scalars().all()
        wallets = await self._store.locked_all(change.connection, held)
        return [wallets[address] for address in held]

    async def _count_wallet(
        self, change: Change, wallet: WatchedWallet, found: Sequence[ReadTransaction]
    ) -> list[ReadTransaction]:
        counted: list[ReadTransaction] = []
        window, count = wallet.window, wallet.transaction_count
        for transaction in found:
            if window.room(count) == 0:
                break
            if not transaction.is_countable:
                await change.connection.execute(_tried(transaction.pending))
                continue
            if not await self._number(change, wallet, transaction, count + 1):
                continue
            count += 1
            counted.append(transaction)
            self._tell(change, wallet, transaction, count)
        if counted:
            values = {"transaction_count": count, "last_transaction_at": change.now}
            wallet = await self._store.update(change, wallet, **values)
        if window.room(count) == 0:
            await self._store.stop(change, wallet, "limit-reached")
        return counted

    async def _number(
        self, change: Change, wallet: WatchedWallet, transaction: ReadTransaction, number: int
    ) -> bool:
        """Give a transaction its number, and return whether it had none yet."""
        movement = transaction.movement or NO_MOVEMENT
        numbered = (
            sa.update(watched_transactions)
            .where(_seen.id == transaction.pending.id, _seen.state == "pending")
            .values(
                state="counted",
                generation=wallet.generation,
                number=number,
                counted_at=change.now,
                direction=movement.direction,
                amount=movement.amount,
                counterparty=movement.counterparty,
                memo=movement.memo,
            )
        )
        return (await change.connection.execute(numbered)).rowcount == 1

    def _tell(self, change: Change, wallet: WatchedWallet, transaction: ReadTransaction, count: int) -> None:
        change.tell(TRANSACTION, wallet.address, self._facts(wallet, transaction, count))
        near, next_stop = wallet.window.warning_count, wallet.next_stop
        if next_stop is None or count != near or count == next_stop:
            return
        tell(
            change,
            APPROACHING,
            at_count(wallet, count),
            message=texts.approaching(count, next_stop),
            transactionCount=count,
            maxTransactions=wallet.max_transactions,
            nextStop=next_stop,
        )

    def _facts(self, wallet: WatchedWallet, transaction: ReadTransaction, count: int) -> dict[str, Any]:
        pending, movement = transaction.pending, transaction.movement or NO_MOVEMENT
        amount = movement.amount
        decimals = self._store.policy.decimals
        return {
            "signature": pending.signature,
            "slot": pending.slot,
            "blockTime": None if pending.block_time is None else pending.block_time.isoformat(),
            "succeeded": pending.succeeded,
            "direction": movement.direction,
            "amount": None if amount is None else format_amount(amount, decimals=decimals),
            "counterparty": movement.counterparty,
            "memo": movement.memo,
            "transactionCount": count,
            "maxTransactions": wallet.max_transactions,
            "nextStop": wallet.next_stop,
        }


def _tried(pending: PendingTransaction) -> sa.Update:
    return (
        sa.update(watched_transactions)
        .where(_seen.id == pending.id, _seen.state == "pending")
        .values(tries=_seen.tries + 1)
    )
