"""Events of a user that webhooks were told of: found, and emptied once the user is erased.

An event that is still to be delivered is never altered, so that each receiver learns what happened as it was;
an erasure is refused until then.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final
from uuid import UUID

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.records import Database
from deal_sdk.records.webhook_tables import webhook_deliveries, webhook_events

MAX_EVENTS_PER_COMMIT: Final = 200

_event = webhook_events.c
_delivery = webhook_deliveries.c


def names_user(user_id: UUID, dialect: str) -> sa.ColumnElement[bool]:
    """Return the condition for events that name a user by the id.

    Args:
        user_id: who is named.
        dialect: of the database, which says how bytes are searched.
    """
    body = sa.func.encode(_event.body, "escape") if dialect == "postgresql" else _event.body
    find = sa.func.strpos if dialect == "postgresql" else sa.func.instr
    found: sa.ColumnElement[bool] = find(body, str(user_id)) > 0
    return found


def count_undelivered(user_id: UUID, dialect: str) -> sa.Select[int]:
    """Build the count of deliveries that are still to tell an endpoint of a user."""
    return (
        sa.select(sa.func.count())
        .join_from(webhook_deliveries, webhook_events, _event.id == _delivery.event_id)
        .where(_delivery.state == "pending", names_user(user_id, dialect))
    )


async def erase_told_events(database: Database, user_id: UUID) -> int:
    """Take what was told of a user out of the events that nobody waits for any more, in small commits.

    Id, type, time, subject and sequence stay; the data says that it was erased, and whose it was. A dead
    letter that is sent again says just that. Running it again goes on where a failure stopped it.

    Args:
        database: where the events are.
        user_id: an erased user.

    Returns:
        How many events were altered.

    Raises:
        DatabaseError: what was committed before stays so.
    """
    count, after = 0, UUID(int=0)
    while page := await database.fetch(_page(user_id, after, database.dialect)):
        altered = [
            {"event": event_id, "emptied": emptied}
            for event_id, body in page
            if (emptied := emptied_body(body, user_id)) != body
        ]
        if altered:
            count += await database.run(partial(_write, rows=altered))
        after = page[-1].id
    return count


def emptied_body(body: bytes, user_id: UUID) -> bytes:
    """Return an event's body without its data; of one that was emptied before, the same bytes."""
    event = orjson.loads(body)
    return orjson.dumps({**event, "data": {"erased": True, "user": str(user_id)}})


def _page(user_id: UUID, after: UUID, dialect: str) -> sa.Select[UUID, bytes]:
    query = sa.select(_event.id, _event.body).where(_event.id > after, names_user(user_id, dialect))
    return query.where(~_IS_AWAITED).order_by(_event.id).limit(MAX_EVENTS_PER_COMMIT)


async def _write(connection: AsyncConnection, *, rows: list[dict[str, Any]]) -> int:
    return sum([(await connection.execute(_EMPTY, row)).rowcount for row in rows])


_IS_AWAITED: Final = (
    sa.exists().where(_delivery.event_id == _event.id, _delivery.state == "pending").correlate(webhook_events)
)
_EMPTY: Final = (
    sa.update(webhook_events)
    # A dead letter may have been put back meanwhile; what it says is then left as it was.
    .where(_event.id == sa.bindparam("event"), ~_IS_AWAITED)
    .values(body=sa.bindparam("emptied"))
)
