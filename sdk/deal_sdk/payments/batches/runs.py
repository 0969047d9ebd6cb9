"""One batch while it is driven: its tasks, its counts, and those who wait for a change."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from deal_sdk.payments.batches.recording import Batch
from deal_sdk.payments.batches.remaining import Carrier
from deal_sdk.records.tables import PAYMENT_STATUSES
from deal_sdk.settings import WaitFor

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """How far a batch is: lines in all, and recorded payments by their status."""

    lines: int
    recorded: int
    pending: int
    confirmed: int
    finalized: int
    failed: int
    expired: int

    def has_reached(self, wait_for: WaitFor) -> bool:
        """Return whether every recorded payment is at least so far, or at another end."""
        if wait_for == "recorded":
            return True
        return self.pending == 0 and (wait_for == "confirmed" or self.confirmed == 0)


def progress_of(lines: int, counts: Mapping[str, int]) -> BatchProgress:
    """Make the progress out of how many members there are by status."""
    by_status = {status: counts.get(status, 0) for status in PAYMENT_STATUSES}
    return BatchProgress(lines=lines, recorded=sum(by_status.values()), **by_status)


class BatchRun:
    """What is being done of one batch here."""

    def __init__(self, batch: Batch, counts: Mapping[str, int], on_idle: Callable[[], None]) -> None:
        """Begin with what the records say.

        Args:
            batch: as it is recorded.
            counts: members by status.
            on_idle: called when the last task ended.
        """
        self.batch = batch
        self.counts = Counter(counts)
        self.tasks: set[asyncio.Task[None]] = set()
        self.changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_idle = on_idle
        self._confirmed: set[UUID] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Own a piece of work; what breaks in it is logged, and resumed later."""
        task = asyncio.create_task(self._guarded(work))
        self.tasks.add(task)
        task.add_done_callback(self._finished)

    def move(self, carrier: Carrier, after: str, count: int) -> None:
        """Count members of a carrier under another status, and wake who waits."""
        before = "confirmed" if carrier.id in self._confirmed or carrier.was_confirmed else "pending"
        if after == "confirmed":
            self._confirmed.add(carrier.id)
        self.counts[before] -= count
        self.counts[after] += count
        self.tell()

    def tell(self) -> None:
        """Wake who waits for a change."""
        changed, self.changed = self.changed, asyncio.get_running_loop().create_future()
        changed.set_result(None)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Exception:
            # A defect must not look like an end: what is not final stays so and is resumed later.
            logger.exception("driving batch %s stopped", self.batch.key)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not self.tasks:
            self._on_idle()
            self.tell()
