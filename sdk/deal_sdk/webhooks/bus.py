"""Events of the in-process bus that no transaction carries, written when they are published."""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.clock import Clock
from deal_sdk.errors import DatabaseError
from deal_sdk.events import ALL_EVENTS, Event, EventBus
from deal_sdk.records import Database
from deal_sdk.webhooks.outbox import Outbox, OutgoingEvent

logger = logging.getLogger(__name__)

MAX_TRIES: Final = 5
RETRY_SECONDS: Final = 0.5


class BusEvents:
    """Copies events from the bus into the outbox, while an endpoint may want one."""

    def __init__(
        self,
        bus: EventBus,
        outbox: Outbox,
        database: Database,
        *,
        clock: Clock,
        recorded_elsewhere: AbstractSet[str],
    ) -> None:
        """Keep the parts; nothing is subscribed before the outbox knows who listens.

        Args:
            bus: where events are published.
            outbox: where they are written.
            database: of the outbox.
            clock: for the pauses between tries.
            recorded_elsewhere: events that are written in the transaction that they tell of.
        """
        self._bus = bus
        self._outbox = outbox
        self._database = database
        self._clock = clock
        self._recorded_elsewhere = recorded_elsewhere
        self._unsubscribe: Callable[[], None] | None = None
        outbox.on_change = self.adjust

    def adjust(self) -> None:
        """Subscribe when an endpoint may want such an event, and not otherwise."""
        is_wanted = self._outbox.wants_others(self._recorded_elsewhere)
        if is_wanted and self._unsubscribe is None:
            self._unsubscribe = self._bus.subscribe(ALL_EVENTS, self._write)
        elif not is_wanted:
            self.close()

    async def drain(self) -> None:
        """Return once every event published so far is written, where any is wanted."""
        if self._unsubscribe is not None:
            await self._bus.drain()

    def close(self) -> None:
        """End the subscription."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    async def _write(self, event: Event) -> None:
        if event.type in self._recorded_elsewhere or not self._outbox.matching(event.type):
            return
        outgoing = OutgoingEvent(UUID(event.id), event.type, event.data, event.timestamp)

        async def unit(connection: AsyncConnection) -> None:
            await self._outbox.write(connection, [outgoing])

        for attempt in range(1, MAX_TRIES + 1):
            try:
                await self._database.write(unit)
                self._outbox.committed()
                return
            except DatabaseError as error:
                logger.warning("try %d to record %s failed: %s", attempt, event.type, error.message)
            await self._clock.sleep(RETRY_SECONDS * attempt)
        logger.error("the event %s (%s) is told to no webhook", event.type, event.id)
