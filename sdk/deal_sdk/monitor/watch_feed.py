"""Events of watched wallets as they happen, in whichever process, for any number of readers.

One task follows the log's tail and keeps the newest events in memory; every reader goes through them at its
own pace by their ids, which have no gaps. So the number of readers costs the database nothing, and a reader
that falls behind reads what it missed from the log: nothing is ever skipped, and nothing waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Final

from deal_sdk.clock import Clock
from deal_sdk.errors import DatabaseError, WatchPositionGoneError
from deal_sdk.monitor.watch_log import WatchLog, check_position
from deal_sdk.monitor.watch_values import WatchEvent

logger = logging.getLogger(__name__)

EVENTS_PER_READ: Final = 500
EVENTS_IN_MEMORY: Final = 2_000


class WatchStream:
    """One reader's events, in order and without gaps."""

    def __init__(self, feed: WatchFeed, after_event_id: int) -> None:
        """Begin after an event; `WatchFeed.subscribe` makes streams."""
        self._feed = feed
        self._waiting: deque[WatchEvent] = deque()
        self.last_event_id = after_event_id
        """The last event that was read, from which a later stream goes on."""

    def __aiter__(self) -> WatchStream:
        """Return itself."""
        return self

    async def __anext__(self) -> WatchEvent:
        """Return the next event, as soon as there is one.

        Raises:
            DatabaseError: when what was missed cannot be read now; reading may be tried again.
            WatchPositionGoneError: when what was missed was cleaned up; see `WatchLog.after`.
            StopAsyncIteration: when the feed was closed.
        """
        while not self._waiting:
            if self._feed.is_closed:
                raise StopAsyncIteration
            self._waiting.extend(await self._feed.next_after(self.last_event_id))
        event = self._waiting.popleft()
        self.last_event_id = event.id
        return event


class WatchFeed:
    """Follows the log for everyone who listens here."""

    def __init__(
        self, log: WatchLog, *, clock: Clock, interval_seconds: float, in_memory: int = EVENTS_IN_MEMORY
    ) -> None:
        """Keep the log; its tail is followed while somebody listens.

        Args:
            log: what happened.
            clock: spaces the looks.
            interval_seconds: how long an event of another process may wait; one of this process does not.
            in_memory: how many events are kept for readers that are not quite up to date.
        """
        self._log = log
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._recent: deque[WatchEvent] = deque(maxlen=in_memory)
        self._latest_id = 0
        self._readers = 0
        self.is_closed = False
        """Whether every stream ends."""
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._arrived = asyncio.Event()
        log.on_commit(self._news.set)

    @asynccontextmanager
    async def subscribe(self, *, after_event_id: int | None = None) -> AsyncIterator[WatchStream]:
        """Open a stream: first what came after an event, then what happens.

        Args:
            after_event_id: the last event that the reader knows; None begins with what happens next.

        Raises:
            InvalidInputError: for an id that is none.
            DatabaseError: when the log cannot be read.
        """
        if after_event_id is not None:
            check_position(after_event_id)
        latest_id = await self._log.latest_id()
        if self._task is None:
            self._latest_id = latest_id
            self._recent.clear()
            self._task = asyncio.create_task(self._follow())
        self._readers += 1
        try:
            yield WatchStream(self, latest_id if after_event_id is None else after_event_id)
        finally:
            self._readers -= 1
            if not self._readers:
                await self._rest()

    async def next_after(self, event_id: int) -> Sequence[WatchEvent]:
        """Return events after one: from memory, from the log, or after a wait for news, which may be none."""
        if event_id < self._latest_id - len(self._recent):
            return await self._log.after(event_id, limit=EVENTS_PER_READ)
        missed = min(self._latest_id - event_id, len(self._recent))
        if missed > 0:
            return list(islice(self._recent, len(self._recent) - missed, None))
        await self._arrived.wait()
        return ()

    async def close(self) -> None:
        """Follow the log no more, and end every stream."""
        self.is_closed = True
        self._arrived.set()
        await self._rest()

    async def _rest(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            self._news.clear()
            try:
                await self._take_in()
            except WatchPositionGoneError:
                # It slept for longer than the log is kept. Readers learn of it as they go on.
                await self._begin_anew()
            except DatabaseError as error:
                logger.warning("the log of watched wallets cannot be read: %s", error.message)
            except Exception:
                logger.exception("following the log of watched wallets broke")
            await self._pause()

    async def _take_in(self) -> None:
        while events := await self._log.after(self._latest_id, limit=EVENTS_PER_READ):
            self._recent.extend(events)
            self._latest_id = events[-1].id
            self._wake()

    async def _begin_anew(self) -> None:
        self._recent.clear()
        self._latest_id = await self._log.latest_id()
        self._wake()

    def _wake(self) -> None:
        # Readers that wait hold the event that is set; later ones wait for the next.
        arrived, self._arrived = self._arrived, asyncio.Event()
        arrived.set()

    async def _pause(self) -> None:
        """Wait for a commit of this process, and no longer than the interval for those of others."""
        waits = [
            asyncio.ensure_future(self._news.wait()),
            asyncio.ensure_future(self._clock.sleep(self._interval_seconds)),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
