"""The rows between a listing and a count: cursors, and transactions that were listed and wait.

A listing and the cursor behind it are one commit, and a transaction has one row per wallet for good. So
nothing is skipped when a process dies, and nothing is counted twice, whoever lists it again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.monitor.watch_listing import Listing, WatchCursor
from deal_sdk.monitor.watch_quota import QuotaBook
from deal_sdk.records import Database
from deal_sdk.records.among import among
from deal_sdk.records.watch_tables import watch_cursors, watched_transactions, watched_wallets

_ROWS_PER_INSERT: Final = 500
_wallet = watched_wallets.c
_cursor = watch_cursors.c
_seen = watched_transactions.c


@dataclass(frozen=True, slots=True)
class PendingTransaction:
    """A transaction that was listed and is not counted yet."""

    id: int
    wallet: str
    signature: str
    slot: int
    succeeded: bool
    tries: int
    block_time: datetime | None


@dataclass(frozen=True, slots=True)
class PollResult:
    """What a poll of one wallet found at all its addresses, or why it could not."""

    wallet: str
    listings: tuple[Listing, ...]
    calls: int
    error: str | None = None


class ListingStore:
    """Reads and writes cursors and pending transactions."""

    def __init__(self, database: Database, quota: QuotaBook) -> None:
        """Keep the database; nothing is read yet."""
        self._database = database
        self._quota = quota

    async def cursors(self, wallets: Collection[str]) -> dict[str, list[WatchCursor]]:
        """Return the cursors of some wallets."""
        query = sa.select(watch_cursors).where(among(_cursor.wallet, [*wallets]))
        found: dict[str, list[WatchCursor]] = {wallet: [] for wallet in wallets}
        for row in await self._database.fetch(query.order_by(_cursor.wallet, _cursor.followed)):
            found[row.wallet].append(
                WatchCursor(
                    row.wallet,
                    row.followed,
                    row.until_signature,
                    row.until_slot,
                    row.walk_before,
                    row.walk_signature,
                    row.walk_slot,
                )
            )
        return found

    async def store(self, results: Sequence[PollResult], owner: UUID) -> None:
        """Keep what polls found, for those wallets that are still active and this owner's.

        Args:
            results: of one round.
            owner: in whose name the wallets are leased.

        Raises:
            DatabaseError: nothing of it was kept; the same is listed again.
        """
        now = self._database.clock.now()

        async def unit(connection: AsyncConnection) -> None:
            for result in sorted(results, key=lambda found: found.wallet):
                # The wallet's row is locked by this, so that the next holder sees all or nothing of it.
                held = sa.update(watched_wallets).where(
                    _wallet.address == result.wallet,
                    _wallet.lease_owner == owner,
                    _wallet.state == "active",
                )
                noted = held.values(last_polled_at=now, last_error=result.error)
                if (await connection.execute(noted)).rowcount == 1:
                    await self._keep(connection, result, now)
            await self._quota.add(connection, {result.wallet: result.calls for result in results})

        await self._database.run(unit)

    async def pending(self, wallets: Collection[str], per_wallet: int) -> list[PendingTransaction]:
        """Return the oldest transactions of each wallet that are not counted, oldest first.

        A wallet with an unfinished walk has none, because older ones are still to be found.

        Args:
            wallets: whose.
            per_wallet: the most of each.
        """
        walking = sa.exists().where(_cursor.wallet == _seen.wallet, _cursor.walk_before.is_not(None))
        place = sa.func.row_number().over(partition_by=_seen.wallet, order_by=(_seen.slot, _seen.id))
        columns = (_seen.id, _seen.wallet, _seen.signature, _seen.slot, _seen.succeeded, _seen.tries)
        placed = (
            sa.select(*columns, _seen.block_time, place.label("place"))
            .where(among(_seen.wallet, [*wallets]), _seen.state == "pending", ~walking)
            .subquery()
        )
        query = sa.select(placed).where(placed.c.place <= per_wallet)
        rows = await self._database.fetch(query.order_by(placed.c.wallet, placed.c.place))
        return [PendingTransaction(*row[:7]) for row in rows]

    async def _keep(self, connection: AsyncConnection, result: PollResult, now: datetime) -> None:
        rows = _rows(result, now)
        for start in range(0, len(rows), _ROWS_PER_INSERT):
            insert = self._database.insert(watched_transactions)
            chunk = rows[start : start + _ROWS_PER_INSERT]
            await connection.execute(
                insert.values(chunk).on_conflict_do_nothing(index_elements=["wallet", "signature"])
            )
        for listing in result.listings:
            await connection.execute(_moved(listing, now))


def _rows(result: PollResult, now: datetime) -> list[dict[str, Any]]:
    """Return rows in the order in which they happened; one that two addresses list is one."""
    entries = {entry.signature: entry for listing in result.listings for entry in listing.entries}
    return [
        {
            "wallet": result.wallet,
            "signature": entry.signature,
            "slot": entry.slot,
            "succeeded": entry.error is None,
            "state": "pending",
            "tries": 0,
            "seen_at": now,
            "block_time": block_time(entry.block_time),
        }
        for entry in sorted(entries.values(), key=lambda entry: entry.slot)
    ]


def block_time(seconds: int | None) -> datetime | None:
    """Return a block's time of the chain's clock."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _moved(listing: Listing, now: datetime) -> sa.Update:
    cursor = listing.cursor
    # A cleanup may have moved it on meanwhile, and what it deleted must never be listed again.
    slot = sa.case((_cursor.until_slot > cursor.slot, _cursor.until_slot), else_=cursor.slot)
    return (
        sa.update(watch_cursors)
        .where(_cursor.wallet == cursor.wallet, _cursor.followed == cursor.followed)
        .values(
            until_signature=cursor.signature,
            until_slot=slot,
            listed_at=now if listing.is_complete else _cursor.listed_at,
            walk_before=cursor.walk_before,
            walk_signature=cursor.walk_signature,
            walk_slot=cursor.walk_slot,
        )
    )
