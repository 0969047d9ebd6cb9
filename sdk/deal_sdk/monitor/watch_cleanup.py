"""Which counted transactions may be deleted: those that no listing can bring a second time.

A transaction's row is what keeps it from being counted twice. So it goes only when both addresses of its
wallet were listed beyond its slot, and with the oldest numbers first, so that the rest of a count still runs
without a gap up to the wallet's count.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, Final

import sqlalchemy as sa

from deal_sdk.monitor.watch_log import Change, WatchLog
from deal_sdk.records.watch_tables import watch_cursors, watched_transactions, watched_wallets

TRANSACTIONS_PER_CHANGE: Final = 2_000
"""How long others wait for the log is bounded by this."""
LISTING_LAG_SECONDS: Final = 86_400
"""An endpoint shows what is finalized long before it is as old as this."""

_wallet = watched_wallets.c
_cursor = watch_cursors.c
_seen = watched_transactions.c


async def delete_transactions(log: WatchLog, before: datetime) -> int:
    """Delete what was counted before a time, and return how many transactions those were.

    Kept are, whatever their age, those that wait to be counted, and those that an address of their wallet
    was not listed beyond: that of a wallet that was stopped meanwhile, say.

    Args:
        log: runs the changes.
        before: longer ago than a listing may lag behind.

    Raises:
        DatabaseError: what was deleted stays deleted, and the next call goes on from there.
    """
    deleted = 0
    for address in await log.change(_addresses):
        deleted += await _delete_of(log, address, before)
    return deleted


async def _addresses(change: Change) -> list[str]:
    query = sa.select(_wallet.address).order_by(_wallet.address)
    return [*(await change.connection.execute(query)).scalars()]


async def _delete_of(log: WatchLog, address: str, before: datetime) -> int:
    floor = await log.change(lambda change: _settle_floor(change, address, before))
    if floor is None:
        return 0
    deleted = 0
    while piece := await log.change(lambda change: _delete_piece(change, address, floor)):
        deleted += piece
    return deleted


async def _settle_floor(change: Change, address: str, before: datetime) -> int | None:
    """Find the slot below which every row may go, and have no listing reach below it; None without rows."""
    connection = change.connection
    # A poll stores what it listed under the lock of this row, and not under that of the log.
    await connection.execute(sa.select(_wallet.address).where(_wallet.address == address).with_for_update())
    cursors = (await connection.execute(sa.select(watch_cursors).where(_cursor.wallet == address))).all()
    bounds = [cursor.until_slot for cursor in cursors if not _was_listed_since(cursor, before)]
    of_wallet = sa.select(_seen.slot).where(_seen.wallet == address)
    counted = of_wallet.where(_seen.state == "counted")
    first_kept = (
        of_wallet.where(_seen.state == "pending").order_by(_seen.slot).limit(1),
        counted.where(_seen.counted_at >= before).order_by(_seen.slot).limit(1),
    )
    for query in first_kept:
        bounds += (await connection.execute(query)).scalars()
    if bounds:
        counted = counted.where(_seen.slot < min(bounds))
    newest = (await connection.execute(counted.order_by(_seen.slot.desc()).limit(1))).scalar_one_or_none()
    if newest is not None:
        raised = sa.update(watch_cursors).where(_cursor.wallet == address, _cursor.until_slot < newest)
        await connection.execute(raised.values(until_slot=newest))
    return newest


def _was_listed_since(cursor: Any, before: datetime) -> bool:
    """Return whether a listing that found nothing more proves that nothing older is still to be found.

    An address where nothing happens keeps its old cursor, however often it is listed.
    """
    if cursor.walk_before is not None or cursor.listed_at is None:
        return False
    return bool(cursor.listed_at >= before + timedelta(seconds=LISTING_LAG_SECONDS))


async def _delete_piece(change: Change, address: str, floor: int) -> int:
    """Delete a bounded number of rows below a floor, and return how many those were."""
    connection = change.connection
    query = sa.select(_wallet.generation).where(_wallet.address == address)
    generation: int = (await connection.execute(query)).scalar_one()
    of_wallet = sa.and_(_seen.wallet == address, _seen.state == "counted")
    earlier = (
        sa.select(_seen.id)
        .where(of_wallet, _seen.generation < generation, _seen.slot < floor)
        .limit(TRANSACTIONS_PER_CHANGE)
    )
    delete = sa.delete(watched_transactions)
    deleted = (await connection.execute(delete.where(_seen.id.in_(earlier)))).rowcount
    current = sa.and_(of_wallet, _seen.generation == generation)
    oldest = sa.select(_seen.number, _seen.slot).where(current).order_by(_seen.number)
    rows = (await connection.execute(oldest.limit(TRANSACTIONS_PER_CHANGE))).all()
    # A number may be lower than that of a row with a lower slot: an address can be listed later.
    gone = [*takewhile(lambda row: row.slot < floor, rows)]
    if gone:
        last = gone[-1].number
        deleted += (await connection.execute(delete.where(current, _seen.number <= last))).rowcount
        noted = sa.update(watched_wallets).where(_wallet.address == address)
        await connection.execute(noted.values(deleted_number=last))
    return deleted
