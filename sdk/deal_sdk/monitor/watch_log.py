"""The log of what happened to watched wallets, written in the transactions that change them.

Every change of a watched wallet begins with the lock of one row. So events are committed in the order of
their ids, and a reader that saw one has missed none before it; and no two changes both take the last slot.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NoReturn, Protocol, TypeVar
from uuid import NAMESPACE_URL, uuid5

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.errors import InvalidInputError, WatchPositionGoneError
from deal_sdk.events import EventBus
from deal_sdk.monitor.watch_values import WatchEvent
from deal_sdk.records import Database
from deal_sdk.records.inputs import check_limit
from deal_sdk.records.watch_tables import watch_events, watch_state
from deal_sdk.webhooks import OutgoingEvent

logger = logging.getLogger(__name__)

T = TypeVar("T")

ADDED: Final = "wallet:added"
TRANSACTION: Final = "wallet:transaction"
APPROACHING: Final = "wallet:approaching"
LIMIT_REACHED: Final = "wallet:limit-reached"
STOPPED: Final = "wallet:stopped"
RESUMED: Final = "wallet:resumed"
RESET: Final = "wallet:reset"
LIMIT_CHANGED: Final = "wallet:limit-changed"
STOP_SCHEDULED: Final = "wallet:stop-scheduled"
OVERRIDDEN: Final = "wallet:overridden"
WATCH_EVENTS: Final = frozenset(
    {
        *(ADDED, TRANSACTION, APPROACHING, LIMIT_REACHED, STOPPED, RESUMED, RESET),
        *(LIMIT_CHANGED, STOP_SCHEDULED, OVERRIDDEN),
    }
)
MAX_POSITION: Final = 2**63 - 1
_ROWS_PER_INSERT: Final = 200


class EventOutbox(Protocol):
    """Where events are written for webhooks, in the transaction that they tell of."""

    async def write(self, connection: AsyncConnection, events: Sequence[OutgoingEvent]) -> None:
        """Write events for those who want them."""
        ...

    def committed(self) -> None:
        """Tell that what was written is committed."""
        ...


@dataclass(slots=True)
class Change:
    """One transaction that changes watched wallets: its connection, its moment, and what it tells."""

    connection: AsyncConnection
    now: datetime
    last_event_id: int
    events: list[WatchEvent] = field(default_factory=list)

    def tell(self, event_type: str, address: str, data: Mapping[str, Any]) -> None:
        """Add an event, which is committed with the change."""
        self.last_event_id += 1
        facts = {"address": address, **data}
        self.events.append(WatchEvent(self.last_event_id, event_type, address, facts, self.now))


class WatchLog:
    """Runs changes one after another and keeps what they tell."""

    def __init__(self, database: Database, events: EventBus, outbox: EventOutbox | None = None) -> None:
        """Keep the parts; nothing is read yet.

        Args:
            database: holds the log.
            events: hears of every event of this process after its commit.
            outbox: hears of it in the same transaction.
        """
        self._database = database
        self._events = events
        self._outbox = outbox
        self._listeners: list[Callable[[], None]] = []

    def on_commit(self, listener: Callable[[], None]) -> None:
        """Call a function after each commit that told something."""
        self._listeners.append(listener)

    async def change(self, work: Callable[[Change], Awaitable[T]]) -> T:
        """Run work in a transaction that no other change runs beside, and tell its events.

        Args:
            work: pure SQL, which may be run several times; only its last run is kept.

        Raises:
            DatabaseError: nothing was changed, unless the commit itself was lost.
        """

        async def unit(connection: AsyncConnection) -> tuple[T, list[WatchEvent]]:
            change = Change(connection, self._database.clock.now(), await self._lock(connection))
            result = await work(change)
            await self._write(change)
            return result, change.events

        result, events = await self._database.run(unit)
        self._tell(events)
        return result

    async def after(self, event_id: int, *, limit: int = 500) -> tuple[WatchEvent, ...]:
        """Return the events after one, in their order.

        Args:
            event_id: the last one that is known; 0 for all.
            limit: 1 to 1000.

        Raises:
            InvalidInputError: for an id or a limit that is none.
            WatchPositionGoneError: when events after it were cleaned up; nothing is left out in silence.
        """
        check_position(event_id)
        column = watch_events.c
        query = (
            sa.select(watch_events).where(column.id > event_id).order_by(column.id).limit(check_limit(limit))
        )
        rows = await self._database.fetch(query)
        # The newest event is always kept and ids have no gaps, so that no look at the state is needed.
        if rows and rows[-1].id != event_id + len(rows):
            await self._refuse_gone(event_id)
        return tuple(WatchEvent(row.id, row.type, row.address, row.data, row.created_at) for row in rows)

    async def latest_id(self) -> int:
        """Return the id of the newest event; 0 when there is none."""
        rows = await self._database.fetch(sa.select(watch_state.c.last_event_id))
        return rows[0][0] if rows else 0

    async def _refuse_gone(self, event_id: int) -> NoReturn:
        rows = await self._database.fetch(sa.select(watch_state.c.pruned_event_id))
        raise WatchPositionGoneError(
            "the log does not go back to this event: read the wallets anew",
            event_id=event_id,
            kept_after=rows[0][0],
        )

    async def _lock(self, connection: AsyncConnection) -> int:
        first = self._database.insert(watch_state).values(id=1, last_event_id=0)
        locked = first.on_conflict_do_update(
            index_elements=["id"], set_={"last_event_id": watch_state.c.last_event_id}
        ).returning(watch_state.c.last_event_id)
        last_event_id: int = (await connection.execute(locked)).scalar_one()
        return last_event_id

    async def _write(self, change: Change) -> None:
        if not change.events:
            return
        rows = [
            {
                "id": event.id,
                "type": event.type,
                "address": event.address,
                "data": event.data,
                "created_at": event.timestamp,
            }
            for event in change.events
        ]
        for start in range(0, len(rows), _ROWS_PER_INSERT):
            await change.connection.execute(
                sa.insert(watch_events).values(rows[start : start + _ROWS_PER_INSERT])
            )
        await change.connection.execute(sa.update(watch_state).values(last_event_id=change.last_event_id))
        if self._outbox is not None:
            await self._outbox.write(change.connection, [_outgoing(event) for event in change.events])

    def _tell(self, events: Sequence[WatchEvent]) -> None:
        if not events:
            return
        for event in events:
            self._events.publish(event.type, event_id=event.id, **event.data)
        if self._outbox is not None:
            self._outbox.committed()
        for listener in self._listeners:
            listener()


def check_position(position: int) -> int:
    """Accept an event's id or a transaction's number, or 0 for the place before the first.

    Raises:
        InvalidInputError: for anything but an integer from 0 up to what both databases can hold.
    """
    if isinstance(position, bool) or not isinstance(position, int) or not 0 <= position <= MAX_POSITION:
        raise InvalidInputError("an event's id or a transaction's number is an integer of 0 or more")
    return position


def _outgoing(event: WatchEvent) -> OutgoingEvent:
    # The same event has the same id, however often its transaction is run.
    name = f"deal:watch-event:{event.address}:{event.timestamp.isoformat()}:{event.id}"
    return OutgoingEvent(
        id=uuid5(NAMESPACE_URL, name),
        type=event.type,
        data=event.data,
        timestamp=event.timestamp,
        subject=event.address,
        sequence=event.id,
    )
