"""The outbox: events written beside what they tell of, in the same SQL transaction.

Which endpoints want what is kept in memory, so that nothing is read or written where nobody listens. The
list is read again when its version in the database has changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Final
from uuid import UUID, uuid4

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.clock import Clock
from deal_sdk.records import Database
from deal_sdk.records.tables import deal_meta
from deal_sdk.records.webhook_tables import webhook_deliveries, webhook_endpoints, webhook_events

ENDPOINTS_VERSION: Final = "webhook_endpoints_version"
MAX_BODY_BYTES: Final = 256 * 1024
MAX_REMEMBERED_TYPES: Final = 1_000


@dataclass(frozen=True, slots=True)
class OutgoingEvent:
    """An event as it is told to endpoints; the same id means the same event, however often it is told."""

    id: UUID
    type: str
    data: Mapping[str, Any]
    timestamp: datetime
    subject: str | None = None
    """What it is about, such as a payment's id."""
    sequence: int | None = None
    """Orders the events of one subject; it grows, with gaps."""

    def body(self) -> bytes:
        """Return the bytes that are signed and sent; data beyond 256 KiB is left out and said so."""
        body = self._written(self.data)
        return body if len(body) <= MAX_BODY_BYTES else self._written({"truncated": True})

    def _written(self, data: Mapping[str, Any]) -> bytes:
        return orjson.dumps(
            {
                "id": str(self.id),
                "type": self.type,
                "timestamp": self.timestamp.isoformat(),
                "subject": self.subject,
                "sequence": self.sequence,
                "data": data,
            },
            default=str,
        )


@dataclass(frozen=True, slots=True)
class _Listener:
    endpoint_id: UUID
    patterns: tuple[str, ...]


class Outbox:
    """Knows who listens, and writes events with one delivery for each listener."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Keep the database; nobody listens before the first `refresh`."""
        self._database = database
        self._clock = clock
        self._version: str | None = None
        self._listeners: tuple[_Listener, ...] = ()
        self._matching: dict[str, tuple[UUID, ...]] = {}
        self.has_endpoints = False
        self.on_change: Callable[[], None] | None = None
        """Called when other endpoints are known than before."""
        self.written = asyncio.Event()
        """Set when deliveries were committed here."""

    @property
    def version(self) -> str | None:
        """Return which state of the endpoints is known; None when there never was one."""
        return self._version

    def matching(self, event_type: str) -> tuple[UUID, ...]:
        """Return the endpoints that want an event; without any this costs one look into a dict."""
        if not self._listeners:
            return ()
        found = self._matching.get(event_type)
        if found is None:
            found = tuple(
                listener.endpoint_id
                for listener in self._listeners
                if any(fnmatchcase(event_type, pattern) for pattern in listener.patterns)
            )
            if len(self._matching) < MAX_REMEMBERED_TYPES:
                self._matching[event_type] = found
        return found

    def wants_any(self, event_types: Collection[str]) -> bool:
        """Return whether an endpoint wants one of some events."""
        return bool(self._listeners) and any(map(self.matching, event_types))

    def wants_others(self, event_types: Collection[str]) -> bool:
        """Return whether a pattern may stand for events that are not among some."""
        patterns = {pattern for listener in self._listeners for pattern in listener.patterns}
        return any("*" in pattern or pattern not in event_types for pattern in patterns)

    async def write(self, connection: AsyncConnection, events: Sequence[OutgoingEvent]) -> None:
        """Write events and their deliveries inside the caller's transaction.

        An event that is there already is left as it is, so that a unit of work may be run again.

        Args:
            connection: of the transaction that changes what the events tell of.
            events: those that nobody wants are left out.
        """
        wanted = [(event, endpoints) for event in events if (endpoints := self.matching(event.type))]
        if not wanted:
            return
        insert = self._database.insert
        rows = [_event_row(event) for event, _ in wanted]
        await connection.execute(insert(webhook_events).on_conflict_do_nothing(), rows)
        now = self._clock.now()
        deliveries = [
            _delivery_row(event.id, endpoint_id, now) for event, found in wanted for endpoint_id in found
        ]
        await connection.execute(insert(webhook_deliveries).on_conflict_do_nothing(), deliveries)

    def committed(self) -> None:
        """Tell that what was written is committed, so that it is delivered without delay."""
        if self._listeners:
            self.written.set()

    async def refresh(self) -> bool:
        """Read the endpoints again when they changed, and return whether they did.

        Raises:
            DatabaseError: the list stays as it was.
        """
        version = sa.select(deal_meta.c.value).where(deal_meta.c.key == ENDPOINTS_VERSION)
        column = webhook_endpoints.c
        query = sa.select(column.id, column.patterns).where(column.state == "enabled").order_by(column.id)

        async def unit(connection: AsyncConnection) -> tuple[str | None, Sequence[Any]]:
            found = await connection.scalar(version)
            return found, () if found == self._version else (await connection.execute(query)).all()

        found, rows = await self._database.read(unit)
        if found == self._version:
            return False
        self._version = found
        self._listeners = tuple(_Listener(row.id, tuple(row.patterns)) for row in rows)
        self._matching = {}
        self.has_endpoints = True
        if self.on_change is not None:
            self.on_change()
        return True


async def endpoints_changed(database: Database, connection: AsyncConnection) -> None:
    """Give the endpoints a new version, inside the transaction that changes them."""
    insert = database.insert(deal_meta).values(key=ENDPOINTS_VERSION, value=str(uuid4()))
    await connection.execute(
        insert.on_conflict_do_update(index_elements=["key"], set_={"value": insert.excluded.value})
    )


def _event_row(event: OutgoingEvent) -> dict[str, Any]:
    return {
        "id": event.id,
        "type": event.type,
        "subject": event.subject,
        "sequence": event.sequence,
        "body": event.body(),
        "created_at": event.timestamp,
    }


def _delivery_row(event_id: UUID, endpoint_id: UUID, now: datetime) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "endpoint_id": endpoint_id,
        "state": "pending",
        "attempts": 0,
        "next_attempt_at": now,
        "created_at": now,
    }
