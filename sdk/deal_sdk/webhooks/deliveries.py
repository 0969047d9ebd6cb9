"""The record of deliveries: claimed by leases, ended with what came of them, kept when they are dead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.batching import Collector
from deal_sdk.records import Database
from deal_sdk.records.tables import UtcDateTime
from deal_sdk.records.transaction_rows import plain_value
from deal_sdk.records.webhook_tables import webhook_deliveries, webhook_endpoints, webhook_events

DeliveryState: TypeAlias = Literal["pending", "delivered", "dead"]
MAX_OUTCOMES_PER_TRANSACTION: Final = 256
MAX_ROWS_PER_CLEANING: Final = 1_000
_table: Final = webhook_deliveries
_column: Final = webhook_deliveries.c


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """One event on its way to one endpoint, or what became of it."""

    id: int
    event_id: UUID
    event_type: str
    subject: str | None
    sequence: int | None
    endpoint_id: UUID
    state: DeliveryState
    attempts: int
    next_attempt_at: datetime
    last_status: int | None
    last_error: str | None
    created_at: datetime
    ended_at: datetime | None

    def to_dict(self) -> dict[str, Any]:
        """Return the delivery as JSON-serialisable data."""
        return {field.name: plain_value(getattr(self, field.name)) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that is this process's until its lease ends."""

    id: int
    endpoint_id: UUID
    url: str
    event_id: UUID
    event_type: str
    body: bytes
    attempts: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a claimed delivery; one that was not tried keeps its number of attempts."""

    delivery_id: int
    state: DeliveryState
    attempts: int
    next_attempt_at: datetime
    status: int | None = None
    error: str | None = None
    ended_at: datetime | None = None


class DeliveryStore:
    """Reads and writes the rows of deliveries for one process, which a token of its own stands for."""

    def __init__(self, database: Database, lease: UUID) -> None:
        """Keep the database and the token that marks what this process is at."""
        self._database = database
        self._lease = lease
        self._outcomes: Collector[Outcome, None] = Collector(
            self._record, max_items=MAX_OUTCOMES_PER_TRANSACTION
        )

    async def due_endpoints(self, now: datetime) -> list[UUID]:
        """Return the enabled endpoints for which something is due."""
        is_due = sa.exists().where(
            _column.endpoint_id == webhook_endpoints.c.id,
            _column.state == "pending",
            _column.next_attempt_at <= now,
        )
        query = sa.select(webhook_endpoints.c.id).where(webhook_endpoints.c.state == "enabled", is_due)
        async with self._database.reading() as connection:
            return list((await connection.execute(query.order_by(webhook_endpoints.c.id))).scalars())

    async def claim(self, room: Mapping[UUID, int], *, now: datetime, lease_seconds: float) -> list[Claimed]:
        """Take due deliveries, the longest due first, each for no other process until the lease ends.

        Args:
            room: how many to take, by endpoint.
            now: what is due.
            lease_seconds: after which another process may take them: this one is dead by then.
        """

        async def unit(connection: AsyncConnection) -> list[Claimed]:
            ids: list[int] = []
            for endpoint_id, count in room.items():
                # Another process's claims are passed over, not waited for.
                query = (
                    sa.select(_column.id)
                    .where(_column.endpoint_id == endpoint_id, _column.state == "pending")
                    .where(_column.next_attempt_at <= now)
                    .order_by(_column.next_attempt_at, _column.id)
                    .limit(count)
                    .with_for_update(skip_locked=True)
                )
                ids += (await connection.execute(query)).scalars()
            if not ids:
                return []
            until = now + timedelta(seconds=lease_seconds)
            lease = _table.update().where(_column.id.in_(ids))
            await connection.execute(lease.values(lease=self._lease, next_attempt_at=until))
            return await _claimed(connection, ids)

        return await self._database.run(unit)

    async def end(self, outcome: Outcome) -> None:
        """Write what came of a delivery; a lease that ended meanwhile leaves that to its next holder."""
        await self._outcomes.submit(outcome)

    async def release(self, now: datetime) -> None:
        """Give back what this process claimed and did not end."""
        update = _table.update().where(_column.lease == self._lease, _column.state == "pending")

        async def unit(connection: AsyncConnection) -> None:
            await connection.execute(update.values(lease=None, next_attempt_at=now))

        await self._database.run(unit)

    async def clean(self, now: datetime, *, max_age_seconds: float, retention_seconds: float) -> int:
        """End what waits too long or for an endpoint that is gone, and delete what was delivered long ago.

        Dead letters are never deleted.

        Returns:
            How many deliveries became dead letters.
        """
        too_old = now - timedelta(seconds=max_age_seconds)
        old = now - timedelta(seconds=retention_seconds)

        async def unit(connection: AsyncConnection) -> int:
            count = await bury(connection, _column.created_at < too_old, "too old", now)
            removed = sa.select(webhook_endpoints.c.id).where(webhook_endpoints.c.state == "removed")
            return count + await bury(connection, _column.endpoint_id.in_(removed), "endpoint removed", now)

        buried = await self._database.run(unit)
        while await self._database.run(lambda connection: _delete_delivered(connection, old)):
            pass
        return buried

    async def close(self) -> None:
        """Finish what was submitted."""
        await self._outcomes.close()

    async def _record(self, outcomes: Sequence[Outcome]) -> Sequence[None]:
        rows = [
            {
                "b_id": outcome.delivery_id,
                "b_state": outcome.state,
                "b_attempts": outcome.attempts,
                "b_next_attempt_at": outcome.next_attempt_at,
                "b_status": outcome.status,
                "b_error": outcome.error,
                "b_ended_at": outcome.ended_at,
            }
            for outcome in sorted(outcomes, key=lambda outcome: outcome.delivery_id)
        ]
        update = _END.where(_column.lease == sa.literal(self._lease, sa.Uuid()))

        async def unit(connection: AsyncConnection) -> None:
            await connection.execute(update, rows)

        await self._database.run(unit)
        return [None] * len(outcomes)


_END: Final = (
    _table.update()
    .where(_column.id == sa.bindparam("b_id"), _column.state == "pending")
    .values(
        state=sa.bindparam("b_state"),
        attempts=sa.bindparam("b_attempts"),
        next_attempt_at=sa.bindparam("b_next_attempt_at", type_=UtcDateTime()),
        # A delivery that was not tried keeps what the last try said.
        last_status=sa.func.coalesce(sa.bindparam("b_status", type_=sa.Integer()), _column.last_status),
        last_error=sa.func.coalesce(sa.bindparam("b_error", type_=sa.String(255)), _column.last_error),
        ended_at=sa.bindparam("b_ended_at", type_=UtcDateTime()),
        lease=None,
    )
)


async def _claimed(connection: AsyncConnection, ids: Sequence[int]) -> list[Claimed]:
    query = (
        sa.select(
            _column.id,
            _column.endpoint_id,
            webhook_endpoints.c.url,
            _column.event_id,
            webhook_events.c.type,
            webhook_events.c.body,
            _column.attempts,
        )
        .join(webhook_endpoints, webhook_endpoints.c.id == _column.endpoint_id)
        .join(webhook_events, webhook_events.c.id == _column.event_id)
        .where(_column.id.in_(ids))
        .order_by(_column.id)
    )
    return [Claimed(*row) for row in await connection.execute(query)]


async def bury(
    connection: AsyncConnection, condition: sa.ColumnElement[bool], reason: str, now: datetime
) -> int:
    """Make dead letters of pending deliveries that nobody is at, with the reason and what was said last."""
    text = sa.literal(f"{reason}; ") + sa.func.coalesce(_column.last_error, "never tried")
    is_free = sa.or_(_column.lease.is_(None), _column.next_attempt_at <= now)
    update = _table.update().where(_column.state == "pending", is_free, condition)
    result = await connection.execute(update.values(state="dead", last_error=text, ended_at=now, lease=None))
    return int(result.rowcount)


async def _delete_delivered(connection: AsyncConnection, before: datetime) -> bool:
    """Delete some deliveries that ended before a time, then the events that no delivery names any more."""
    ended = sa.select(_column.id, _column.event_id).where(
        _column.state == "delivered", _column.ended_at < before
    )
    rows = (await connection.execute(ended.limit(MAX_ROWS_PER_CLEANING))).all()
    if not rows:
        return False
    await connection.execute(_table.delete().where(_column.id.in_([row.id for row in rows])))
    event = webhook_events.c
    is_named = sa.exists().where(_column.event_id == event.id)
    await connection.execute(
        webhook_events.delete().where(event.id.in_({row.event_id for row in rows}), ~is_named)
    )
    return len(rows) == MAX_ROWS_PER_CLEANING
