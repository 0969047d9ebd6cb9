"""Hears of changes that other processes make, so that this one's own entries never outlive them for long.

Owns one listening connection and its heartbeat. While it is not sure to hear everything, the tier is empty.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Final

from deal_sdk.cache.entries import TAG_MARK
from deal_sdk.cache.tier import LocalTier
from deal_sdk.clock import Clock
from deal_sdk.errors import StoreUnavailableError
from deal_sdk.limits.feeds import Feed, Heard
from deal_sdk.limits.outages import OutageLog
from deal_sdk.limits.store import Store

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 1.0
MAX_SILENCE_SECONDS: Final = 3.0
"""How long the tier serves entries after the last ping that was answered: the most by which a change that was
made elsewhere can be missed, when the connection is lost without a sign."""
FIRST_RECONNECT_SECONDS: Final = 0.1
MAX_RECONNECT_SECONDS: Final = 5.0


class ChangeListener:
    """Keeps one tier in step with the store."""

    def __init__(self, store: Store, channel: str, tier: LocalTier, clock: Clock) -> None:
        """Keep the parts; nothing runs before `ensure`.

        Args:
            store: whose feed is heard.
            channel: on which changes are told.
            tier: what is kept in step.
            clock: measures heartbeats.
        """
        self._store = store
        self._channel = channel
        self._tier = tier
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._begun_seconds = 0.0
        self._pause_seconds = FIRST_RECONNECT_SECONDS
        self._log = OutageLog(logger, clock)

    def ensure(self) -> None:
        """Begin to listen, unless it does already; a listener that broke is replaced."""
        if self._task is not None and self._task.done() and not self._task.cancelled():
            if self._clock.monotonic() - self._begun_seconds < MAX_RECONNECT_SECONDS:
                return
            logger.error("the listener to %s broke", self._channel, exc_info=self._task.exception())
            self._task = None
        if self._task is None:
            self._begun_seconds = self._clock.monotonic()
            self._task = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """Stop listening and empty the tier."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._tier.distrust()

    async def _listen(self) -> None:
        while True:
            try:
                async with self._store.feed(self._channel) as feed:
                    await self._follow(feed)
            except StoreUnavailableError as error:
                self._log.say(error, "entries are read from the store, not from this process")
            finally:
                self._tier.distrust()
            await self._clock.sleep(self._pause_seconds)
            self._pause_seconds = min(self._pause_seconds * 2, MAX_RECONNECT_SECONDS)

    async def _follow(self, feed: Feed) -> None:
        pings: deque[float] = deque()
        tasks = [asyncio.create_task(self._hear(feed, pings)), asyncio.create_task(self._beat(feed, pings))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def _hear(self, feed: Feed, pings: deque[float]) -> None:
        while True:
            heard = await feed.next()
            if not heard.is_pong:
                self._apply(heard)
            elif pings:
                # What changed before this ping was sent has been heard by now.
                self._tier.trust(pings.popleft() + MAX_SILENCE_SECONDS)
                self._pause_seconds = FIRST_RECONNECT_SECONDS

    async def _beat(self, feed: Feed, pings: deque[float]) -> None:
        # An end without an error: the server is silent, and only a new connection can tell whether it lives.
        while not pings or self._clock.monotonic() - pings[0] < MAX_SILENCE_SECONDS:
            began_seconds = self._clock.monotonic()
            # What changed before this moment was told of by the server that is heard.
            await feed.confirm()
            pings.append(began_seconds)
            await feed.ping()
            await self._clock.sleep(HEARTBEAT_SECONDS)

    def _apply(self, heard: Heard) -> None:
        name = heard.data.decode(errors="replace")
        if name.startswith(TAG_MARK):
            # A key may begin with the mark as well; both are forgotten then.
            self._tier.end_tag(name[len(TAG_MARK) :])
        self._tier.drop(name)
