"""A connection that hears what is published on one channel of the store.

Owns the subscription and its end. A broken connection is never mended behind the listener's back, because
what was published meanwhile is lost: it raises, and the listener opens another feed. The same holds when
commands go to another server by now than the one that is heard.
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
from deal_sdk.limits._errors import ERROR_REPLIES, STORE_FAILURES, translate
from deal_sdk.limits.lanes import Lane
from deal_sdk.limits.lineages import NO_LINEAGE, UNTOLD
from deal_sdk.limits.scripts import Words
from deal_sdk.limits.servers import Servers

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
        servers: Servers,
        find_lane: Callable[[], Awaitable[Lane]],
        ask: Callable[[Words], Awaitable[Any]],
        channel: str,
        *,
        timeout_seconds: float | None,
    ) -> None:
        """Keep the parts; entering connects.

        Args:
            servers: the store's; told of one that does not answer, or is not the one that is asked.
            find_lane: the way to a server that is told of everything that is published.
            ask: asks the server that commands go to.
            channel: what is heard.
            timeout_seconds: the longest that subscribing and pinging may take; None where nobody may fail
                to answer.
        """
        self._servers = servers
        self._find_lane = find_lane
        self._ask = ask
        self._channel = channel
        self._timeout_seconds = timeout_seconds
        self._lane: Lane | None = None
        self._subscriber: PubSub | None = None
        self._lineage = UNTOLD

    async def __aenter__(self) -> Self:
        """Subscribe; from here on nothing that is published is missed, as long as `confirm` returns.

        Raises:
            StoreUnavailableError: when the store cannot be reached, does not answer in time, or is a server
                that does not hear everything.
        """
        self._lane = await self._find_lane()
        self._subscriber = subscriber = self._lane.subscriber()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                self._lineage = await self._own_lineage(subscriber)
                await subscriber.subscribe(self._channel)
                message: dict[str, Any] | None = None
                while message is None or message["type"] != "subscribe":
                    message = await subscriber.get_message(timeout=self._timeout_seconds)
        except STORE_FAILURES as error:
            await self._close()
            raise self._failed(error) from None
        except BaseException:
            await self._close()
            raise
        if self._lineage == NO_LINEAGE:
            await self._close()
            raise await self._replaced()
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

    async def confirm(self) -> None:
        """Make sure that commands still go to the server that is heard, and that it is a master.

        A failover need not break this connection: a former master becomes a replica and stays in touch,
        but misses what is published until it is in step with its successor.

        Raises:
            StoreUnavailableError: when it is another server, or nobody answers.
        """
        question = self._servers.lineage
        if question is None:
            return
        try:
            lineage = question.read(await self._ask(question.words))
        except StoreUnavailableError as error:
            if error.facts.get("reason") != "refused":
                raise
            lineage = UNTOLD
        if lineage != self._lineage:
            raise await self._replaced()

    async def _own_lineage(self, subscriber: PubSub) -> str:
        # On the feed's own connection, because another one to the same name may lead to another server.
        question = self._servers.lineage
        if question is None:
            return UNTOLD
        await subscriber.execute_command(*question.words)
        try:
            return question.read(await subscriber.parse_response())
        except ERROR_REPLIES:
            return UNTOLD

    async def _replaced(self) -> StoreUnavailableError:
        assert self._lane is not None
        # Connections that were made before may lead to where the server was, not to where it is.
        await self._lane.drop()
        self._servers.suspect(self._lane)
        return StoreUnavailableError(
            f"the store {self._lane.name} does not tell of all changes: another server has its place",
            store=self._lane.name,
            reason="replaced",
        )

    def _failed(self, error: BaseException) -> StoreUnavailableError:
        assert self._lane is not None
        self._servers.suspect(self._lane)
        return translate(error, self._lane.name)

    async def _close(self) -> None:
        subscriber, self._subscriber = self._subscriber, None
        if subscriber is not None:
            with suppress(*STORE_FAILURES):
                async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                    await subscriber.aclose()  # type: ignore[no-untyped-call]
