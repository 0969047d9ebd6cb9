"""What is known of attempts that are slow to land: a node took the bytes, or none said so.

An attempt that confirms within seconds is never written here, so the usual payment pays nothing for
it. The note is for people and for other processes: whatever it says, the attempt stays alive, the
same bytes go on being broadcast, and only a verdict ends it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.chain import DeliveryNote
from deal_sdk.clock import Clock
from deal_sdk.errors import DatabaseError
from deal_sdk.records import Database
from deal_sdk.records.tables import Json, UtcDateTime, payment_attempts

logger = logging.getLogger(__name__)

NOTED_STATUSES: Final = ("signed", "sent", "unknown")
MAX_NOTES_PER_TRANSACTION: Final = 512

_column = payment_attempts.c
_NOTE: Final = (
    payment_attempts.update()
    # A verdict that came first is worth more than any note.
    .where(_column.signature == sa.bindparam("b_signature"))
    .where(sa.or_(*(_column.status == status for status in NOTED_STATUSES)))
    .values(
        status=sa.bindparam("b_status"),
        evidence=sa.bindparam("b_evidence", type_=Json),
        updated_at=sa.bindparam("b_at", type_=UtcDateTime()),
    )
)


class DeliveryNotes:
    """Writes `sent` and `unknown` into the record, many in one transaction and behind the payments."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Write to a database."""
        self._database = database
        self._clock = clock
        self._waiting: dict[str, DeliveryNote] = {}
        self._task: asyncio.Task[None] | None = None

    def take(self, notes: Sequence[DeliveryNote]) -> None:
        """Note what a sweep found undelivered; the newest note of a transaction counts."""
        self._waiting |= {note.signature: note for note in notes}
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_all(), name="delivery-notes")

    async def close(self) -> None:
        """Drop what is not written yet; it says nothing that a verdict will not say better."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _write_all(self) -> None:
        while self._waiting:
            signatures = list(self._waiting)[:MAX_NOTES_PER_TRANSACTION]
            batch = [self._waiting.pop(signature) for signature in signatures]
            try:
                await self._database.run(partial(self._write, notes=batch))
            except DatabaseError as error:
                logger.info("%d notes on deliveries are dropped: %s", len(batch), error.message)
                for note in batch:
                    note.forget()

    async def _write(self, connection: AsyncConnection, *, notes: Sequence[DeliveryNote]) -> None:
        at = self._clock.now()
        rows: list[dict[str, Any]] = [
            {
                "b_signature": note.signature,
                "b_status": note.status,
                "b_evidence": dict(note.evidence),
                "b_at": at,
            }
            for note in notes
        ]
        await connection.execute(_NOTE, rows)
