"""Watching wallets: which, until when, and what people may do about it.

Owns the commands and what callers see. The counting is `watch_rounds`'; here no transaction is ever read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from deal_sdk.chain import parse_address
from deal_sdk.clock import Clock
from deal_sdk.errors import InvalidInputError, WalletAlreadyWatchedError
from deal_sdk.monitor import watch_log as log_of
from deal_sdk.monitor.watch_cleanup import delete_transactions
from deal_sdk.monitor.watch_export import exported
from deal_sdk.monitor.watch_feed import WatchFeed, WatchStream
from deal_sdk.monitor.watch_listing import WatchCursor
from deal_sdk.monitor.watch_log import Change, WatchLog, check_position
from deal_sdk.monitor.watch_quota import QuotaBook
from deal_sdk.monitor.watch_retention import DEFAULT_KEPT_DAYS, check_kept_days, delete_events
from deal_sdk.monitor.watch_store import WatchStore, tell
from deal_sdk.monitor.watch_values import (
    QuotaOverview,
    WatchCleanup,
    WatchedTransaction,
    WatchedWallet,
    WatchEvent,
    WatchReset,
)
from deal_sdk.monitor.watch_windows import MAX_LIMIT, check_watch_limit, window_start_at
from deal_sdk.records.export import EXPORT_FORMATS, ExportFormat
from deal_sdk.records.inputs import check_choice, check_limit, check_text, check_time, optional_text
from deal_sdk.records.watch_tables import LABEL_LENGTH, WALLET_TYPE_LENGTH

MAX_ACTOR_LENGTH: Final = 255
MAX_REASON_LENGTH: Final = 1_000


class StartingPoints(Protocol):
    """Finds where the counting of a wallet begins."""

    async def __call__(self, wallet: str) -> tuple[WatchCursor, ...]:
        """Return a cursor for each address that is followed, the wallet's token account last.

        Raises:
            ChainError: when it cannot be read.
        """
        ...


class HistoryTracker(Protocol):
    """Keeps the balance history of a watched wallet's token account."""

    async def __call__(self, owner_address: str, user_id: None, *, connection: Any) -> None:
        """Track it from now on, in the caller's transaction."""
        ...


class WalletMonitor:
    """Adds wallets, stops and re-watches them, and tells what happened."""

    def __init__(
        self,
        store: WatchStore,
        log: WatchLog,
        feed: WatchFeed,
        quota: QuotaBook,
        *,
        clock: Clock,
        find_start: StartingPoints,
        track: HistoryTracker,
        poll: Callable[[], Awaitable[None]],
    ) -> None:
        """Keep the parts; nothing is read yet.

        Args:
            store: the wallets' rows.
            log: commits changes with their events.
            feed: carries events to those who listen.
            quota: what watching costs.
            clock: tells what is past.
            find_start: reads where a new wallet's counting begins.
            track: called for each new wallet, so that its balance history is kept.
            poll: polls what is due.
        """
        self._store = store
        self._log = log
        self._feed = feed
        self._quota = quota
        self._clock = clock
        self._find_start = find_start
        self._track = track
        self._poll = poll

    async def add(
        self,
        address: str,
        *,
        label: str | None = None,
        wallet_type: str | None = None,
        max_transactions: int | None = None,
        actor: str | None = None,
    ) -> WatchedWallet:
        """Watch a wallet from now on; what it did before is not counted.

        Args:
            address: any Solana address.
            label: for people.
            wallet_type: chooses a limit by type, where the settings have one.
            max_transactions: the wallet's own limit, 1 to 10,000,000; 99999 means unlimited.
            actor: who asks, for the log.

        Raises:
            InvalidWalletAddressError, InvalidInputError: for what is no address, label or limit.
            WalletAlreadyWatchedError: when it was added before, stopped or not.
            WatchSlotsFullError: when as many are active as may be.
            ChainError: when it cannot be read where the counting begins; nothing was added.
        """
        wallet = str(parse_address(address))
        row = {
            "label": optional_text("label", label, max_length=LABEL_LENGTH),
            "wallet_type": optional_text("wallet_type", wallet_type, max_length=WALLET_TYPE_LENGTH),
            "max_transactions": check_watch_limit(max_transactions),
        }
        actor = _check_actor(actor)
        points = await self._find_start(wallet)

        async def work(change: Change) -> WatchedWallet:
            if await self._store.locked_all(change.connection, [wallet]):
                raise WalletAlreadyWatchedError("the wallet is watched already", address=wallet)
            await self._store.require_slot(change)
            await self._store.insert(change, wallet, points, row)
            await self._track(wallet, None, connection=change.connection)
            added = await self._store.locked(change.connection, wallet)
            tell(change, log_of.ADDED, added, message="Wallet monitoring started", actor=actor)
            return added

        return await self._log.change(work)

    async def stop(self, address: str, *, actor: str | None = None) -> WatchedWallet:
        """Stop watching a wallet; its record and its count stay. A stopped one is left as it is.

        Raises:
            WalletNotWatchedError: when it was never added.
        """
        who = _check_actor(actor)

        async def work(change: Change, wallet: WatchedWallet) -> WatchedWallet:
            if not wallet.is_active:
                return wallet
            return await self._store.stop(change, wallet, "manual", actor=who)

        return await self._command(address, work)

    async def rewatch(self, address: str, *, actor: str | None = None) -> WatchedWallet:
        """Watch a stopped wallet again: its count goes on, and so does the list of what it did meanwhile.

        Raises:
            WalletNotWatchedError: when it was never added.
            WatchSlotsFullError: when as many are active as may be.
        """
        who = _check_actor(actor)

        async def work(change: Change, wallet: WatchedWallet) -> WatchedWallet:
            return wallet if wallet.is_active else await self._store.resume(change, wallet, actor=who)

        return await self._command(address, work)

    async def reset(
        self, address: str, *, actor: str | None = None, export_format: ExportFormat | None = "json"
    ) -> WatchReset:
        """Begin a wallet's count anew at 0, and hand out what was counted before.

        A wallet stays active or stopped as it was; nothing that was counted is counted again.

        Args:
            address: the wallet.
            actor: who asks, for the log.
            export_format: "json" or "csv"; None leaves the export out.

        Raises:
            WalletNotWatchedError: when it was never added.
            InvalidInputError: for another format.
        """
        who = _check_actor(actor)
        if export_format is not None:
            check_choice("export_format", export_format, EXPORT_FORMATS)
        counted: list[WatchedTransaction] = []

        async def work(change: Change, wallet: WatchedWallet) -> WatchedWallet:
            # In the same transaction: what is counted between an export and a reset would be in neither.
            counted[:] = await self._store.counted(change.connection, wallet) if export_format else []
            generation = wallet.generation + 1
            fresh = dict.fromkeys(("transaction_count", "window_start", "granted", "deleted_number"), 0)
            begun = await self._store.update(change, wallet, generation=generation, **fresh)
            message = f"Transaction count reset from {wallet.transaction_count} to 0"
            tell(change, log_of.RESET, begun, message=message, actor=who, before=wallet.transaction_count)
            return begun

        begun = await self._command(address, work)
        return WatchReset(begun, await exported(counted, export_format) if export_format else None)

    async def set_limit(
        self, address: str, max_transactions: int | None, *, actor: str | None = None
    ) -> WatchedWallet:
        """Give a wallet a limit of its own; one that has counted more in its window stops at once.

        Args:
            address: the wallet.
            max_transactions: 1 to 10,000,000, 99999 means unlimited; None goes back to its type's limit.
            actor: who asks, for the log.

        Raises:
            WalletNotWatchedError: when it was never added.
            InvalidInputError: for a limit that is none.
        """
        limit, who = check_watch_limit(max_transactions), _check_actor(actor)

        async def work(change: Change, wallet: WatchedWallet) -> WatchedWallet:
            in_force = self._store.policy.limits.of(limit, wallet.wallet_type)
            start = min(wallet.window_start, window_start_at(wallet.transaction_count, in_force))
            changed = await self._store.update(
                change, wallet, max_transactions=limit, window_start=start, granted=0
            )
            message = f"Transaction limit changed from {wallet.max_transactions} to {in_force}"
            tell(change, log_of.LIMIT_CHANGED, changed, message=message, actor=who)
            if changed.is_active and changed.window.room(changed.transaction_count) == 0:
                return await self._store.stop(change, changed, "limit-reached")
            return changed

        return await self._command(address, work)

    async def schedule_stop(
        self, address: str, stop_at: datetime | None, *, actor: str | None = None
    ) -> WatchedWallet:
        """Have a wallet stop at a time; None takes that back.

        Raises:
            WalletNotWatchedError: when it was never added.
            InvalidInputError: for a time without a zone, one that is past, or a wallet that is stopped.
        """
        who = _check_actor(actor)
        if stop_at is not None and check_time("stop_at", stop_at) <= self._clock.now():
            raise InvalidInputError("stop_at is past; stop the wallet instead", field="stop_at")

        async def work(change: Change, wallet: WatchedWallet) -> WatchedWallet:
            if not wallet.is_active and stop_at is not None:
                raise InvalidInputError("the wallet is stopped already", field="stop_at")
            changed = await self._store.update(change, wallet, stop_at=stop_at)
            when = "Scheduled stop taken back" if stop_at is None else f"Stops at {stop_at.isoformat()}"
            tell(change, log_of.STOP_SCHEDULED, changed, message=when, actor=who)
            return changed

        return await self._command(address, work)

    async def override(
        self, address: str, *, extra_transactions: int, actor: str, reason: str
    ) -> WatchedWallet:
        """Grant a wallet transactions beyond its limit, once; one that had stopped by itself goes on.

        Args:
            address: the wallet.
            extra_transactions: on top of the limit of the window that it is in, 1 to 10,000,000.
            actor: who grants them; kept in the log for good.
            reason: why; kept as well.

        Raises:
            WalletNotWatchedError: when it was never added.
            InvalidInputError: for a number, an actor or a reason that is none.
            WatchSlotsFullError: when the wallet would go on and there is no place; nothing was granted.
        """
        check_text("actor", actor, max_length=MAX_ACTOR_LENGTH)
        check_text("reason", reason, max_length=MAX_REASON_LENGTH)
        if check_watch_limit(extra_transactions) is None:
            raise InvalidInputError("extra_transactions is a number", field="extra_transactions")

        async def work(change: Change, wallet: WatchedWallet) -> WatchedWallet:
            granted = min(wallet.granted + extra_transactions, MAX_LIMIT)
            changed = await self._store.update(change, wallet, granted=granted)
            message = f"{extra_transactions} transactions granted beyond the limit"
            tell(change, log_of.OVERRIDDEN, changed, message=message, actor=actor, reason=reason)
            if changed.stop_reason == "limit-reached":
                return await self._store.resume(change, changed, actor=actor)
            return changed

        return await self._command(address, work)

    async def get(self, address: str) -> WatchedWallet:
        """Return a wallet.

        Raises:
            WalletNotWatchedError: when it was never added.
        """
        return await self._store.one(str(parse_address(address)))

    async def list(self) -> tuple[WatchedWallet, ...]:
        """Return every wallet that was ever added, the oldest first."""
        return await self._store.all()

    async def transactions(
        self, address: str, *, limit: int = 50, before: int | None = None
    ) -> tuple[WatchedTransaction, ...]:
        """Return what was counted for a wallet since its last reset, the newest first.

        Args:
            address: the wallet.
            limit: 1 to 1000.
            before: a transaction's number; those before it are returned.

        Raises:
            WalletNotWatchedError: when it was never added.
            InvalidInputError: for a limit or a number that is none.
        """
        if before is not None:
            check_position(before)
        wallet = await self.get(address)
        return tuple(await self._store.transactions(wallet, limit=check_limit(limit), before=before))

    async def export(self, address: str, *, format: ExportFormat = "json") -> str:
        """Return all that was counted for a wallet since its last reset, as a text.

        Args:
            address: the wallet.
            format: "json" or "csv".

        Raises:
            WalletNotWatchedError: when it was never added.
            InvalidInputError: for another format.
        """
        check_choice("format", format, EXPORT_FORMATS)
        return await exported(await self._store.transactions(await self.get(address)), format)

    async def quota(self) -> QuotaOverview:
        """Return what watching used of the provider's daily quota, and what the day will have used."""
        return await self._quota.overview()

    async def poll(self) -> None:
        """Poll the wallets that are due, without a wait for the job that does so every second.

        Raises:
            DatabaseError: what was counted stays counted, and the next poll goes on.
        """
        await self._poll()

    async def events_after(self, event_id: int, *, limit: int = 500) -> tuple[WatchEvent, ...]:
        """Return what happened after an event, in order; see `WatchLog.after`."""
        return await self._log.after(event_id, limit=limit)

    async def latest_event_id(self) -> int:
        """Return the id of the newest event; 0 when there is none."""
        return await self._log.latest_id()

    def subscribe(self, *, after_event_id: int | None = None) -> AbstractAsyncContextManager[WatchStream]:
        """Open an iterator over events of every process on this database; see `WatchFeed.subscribe`."""
        return self._feed.subscribe(after_event_id=after_event_id)

    async def cleanup(
        self, kept_days: int = DEFAULT_KEPT_DAYS, *, transactions_kept_days: int | None = None
    ) -> WatchCleanup:
        """Delete the events and the counts of RPC calls that are older than some days.

        Overrides are kept for good. A reader that was away for longer is refused, and does not miss anything
        in silence. Counted transactions go as well when their days are given: counts stay as they are, and
        a row that still keeps its transaction from being counted twice stays too.

        Args:
            kept_days: 7 to 36,500.
            transactions_kept_days: how long after it was counted a transaction is kept, 7 to 36,500; None
                keeps them all.

        Raises:
            InvalidInputError: for any other number.
            DatabaseError: what was deleted stays deleted, and the next call goes on from there.
        """
        now = self._clock.now()
        before = now - timedelta(days=check_kept_days(kept_days))
        transactions = 0
        if transactions_kept_days is not None:
            days = timedelta(days=check_kept_days(transactions_kept_days, "transactions_kept_days"))
            transactions = await delete_transactions(self._log, now - days)
        events = await delete_events(self._log, before)
        return WatchCleanup(events, await self._quota.delete(before), transactions)

    async def _command(
        self, address: str, work: Callable[[Change, WatchedWallet], Awaitable[WatchedWallet]]
    ) -> WatchedWallet:
        parsed = str(parse_address(address))

        async def locked(change: Change) -> WatchedWallet:
            return await work(change, await self._store.locked(change.connection, parsed))

        return await self._log.change(locked)


def _check_actor(actor: str | None) -> str | None:
    return optional_text("actor", actor, max_length=MAX_ACTOR_LENGTH)
