"""What the log of watched wallets lets go of, and what it never does.

Deletes the oldest events in small pieces, each in the order of the log. The newest event stays, so that the
log says where it stands, and so do overrides, because who granted what is kept for good. Which transactions
may go is `watch_cleanup`'s to say.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import sqlalchemy as sa

from deal_sdk.errors import InvalidInputError
from deal_sdk.monitor.watch_log import OVERRIDDEN, Change, WatchLog
from deal_sdk.records.watch_tables import watch_events, watch_state

DEFAULT_KEPT_DAYS: Final = 90
MIN_KEPT_DAYS: Final = 7
"""A reader that was away for a few days still goes on where it was."""
MAX_KEPT_DAYS: Final = 36_500
EVENTS_PER_CHANGE: Final = 2_000
"""How long others wait for the log is bounded by this."""

_event = watch_events.c
_state = watch_state.c


def check_kept_days(kept_days: int, field: str = "kept_days") -> int:
    """Accept for how many days something is kept, 7 to 36,500.

    Raises:
        InvalidInputError: for any other value.
    """
    is_number = isinstance(kept_days, int) and not isinstance(kept_days, bool)
    if not is_number or not MIN_KEPT_DAYS <= kept_days <= MAX_KEPT_DAYS:
        raise InvalidInputError(f"{field} must be {MIN_KEPT_DAYS} to {MAX_KEPT_DAYS}", field=field)
    return kept_days


async def delete_events(log: WatchLog, before: datetime) -> int:
    """Delete what was told before a time, and return how many events those were.

    Raises:
        DatabaseError: what was deleted stays deleted, and the next call goes on from there.
    """
    deleted = 0
    while (piece := await log.change(lambda change: _delete_piece(change, before))) is not None:
        deleted += piece
    return deleted


async def _delete_piece(change: Change, before: datetime) -> int | None:
    """Delete the oldest events of a bounded number; None when there is nothing left to delete."""
    connection = change.connection
    state = (await connection.execute(sa.select(_state.pruned_event_id, _state.pruned_through))).one()
    pruned = state.pruned_event_id or 0
    query = (
        sa.select(_event.id, _event.created_at)
        .where(_event.id > pruned, _event.id < change.last_event_id)
        .order_by(_event.id)
        .limit(EVENTS_PER_CHANGE)
    )
    old = []
    # Only what comes before the first that is kept, because the rest of the log has no gaps.
    for row in await connection.execute(query):
        if row.created_at >= before:
            break
        old.append(row)
    if not old:
        return None
    # Clocks of several processes differ, so that the last event need not be the newest by time.
    through = max(row.created_at for row in old)
    if state.pruned_through is not None:
        through = max(through, state.pruned_through)
    await connection.execute(
        sa.update(watch_state).values(pruned_event_id=old[-1].id, pruned_through=through)
    )
    delete = sa.delete(watch_events).where(
        _event.id > pruned, _event.id <= old[-1].id, _event.type != OVERRIDDEN
    )
    return (await connection.execute(delete)).rowcount
