"""A connection that hears what is published on one channel of the store.

Owns the subscription and its end. A broken connection is never mended behind the listener's back, because
what was published meanwhile is lost: it raises, and the listener opens another feed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from redis.asyncio.client import PubSub

from deal_sdk.errors import StoreUnavailableError
from deal_sdk.limits._errors import STORE_FAILURES, translate
from deal_sdk.limits.lanes import Lane

CLOSE_TIMEOUT_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Heard:
    """A message of the channel, or the answer to a ping."""

    data: bytes
    is_pong: bool = False


class Feed:
    """Hears one channel; opened by `async with`."""

    def __init__(
        self,
        find_lane: Callable[[], Awaitable[Lane]],
        suspect: Callable[[Lane], None],
        channel: str,
        *,
        timeout_seconds: float | None,
    ) -> None:
        """Keep the parts; entering connects.

        Args:
            find_lane: the way to a server that is told of everything that is published.
            suspect: told of a server that does not answer.
            channel: what is heard.
            timeout_seconds: the longest that subscribing and pinging may take; None where nobody may fail
                to answer.
        """
        self._find_lane = find_lane
        self._suspect = suspect
        self._channel = channel
        self._timeout_seconds = timeout_seconds
        self._lane: Lane | None = None
        self._subscriber: PubSub | None = None

    async def __aenter__(self) -> Self:
        """Subscribe; from here on nothing that is published is missed.

        Raises:
            StoreUnavailableError: when the store cannot be reached or does not answer in time.
        """
        self._lane = await self._find_lane()
        self._subscriber = self._lane.subscriber()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._subscriber.subscribe(self._channel)
                message: dict[str, Any] | None = None
                while message is None or message["type"] != "subscribe":
                    message = await self._subscriber.get_message(timeout=self._timeout_seconds)
        except STORE_FAILURES as error:
            await self._close()
            raise self._failed(error) from None
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the subscription and its connection."""
        await self._close()

    async def next(self) -> Heard:
        """Wait for what is heard next; after a call that was cancelled the feed is of no use any more.

        Raises:
            StoreUnavailableError: when the connection broke.
        """
        assert self._subscriber is not None
        while True:
            try:
                message = await self._subscriber.get_message(timeout=None)
            except STORE_FAILURES as error:
                raise self._failed(error) from None
            if message is not None and message["type"] == "pong":
                return Heard(b"", is_pong=True)
            if message is not None and message["type"] == "message":
                return Heard(bytes(message["data"]))

    async def ping(self) -> None:
        """Ask for a sign of life, which `next` returns in its turn.

        Raises:
            StoreUnavailableError: when the connection broke.
        """
        assert self._subscriber is not None
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._subscriber.ping()
        except STORE_FAILURES as error:
            raise self._failed(error) from None

    def _failed(self, error: BaseException) -> StoreUnavailableError:
        assert self._lane is not None
        self._suspect(self._lane)
        return translate(error, self._lane.name)

    async def _close(self) -> None:
        subscriber, self._subscriber = self._subscriber, None
        if subscriber is not None:
            with suppress(*STORE_FAILURES):
                async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                    await subscriber.aclose()  # type: ignore[no-untyped-call]
