"""How commands reach one server: connections of which each has one exchange at a time.

Owns connecting, writing and reading. redis-py opens a connection and is let in; from there its transport
speaks to this module, because the client's own way of writing and reading takes most of a command's time.
Never sends a command twice, and never lets a reply be read by the next caller: a connection with replies
outstanding is closed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

import hiredis
import redis.asyncio
from redis.asyncio.client import PubSub

from deal_sdk.errors import ConfigurationError
from deal_sdk.limits._errors import (
    PROTOCOL_FAILURE,
    STORE_FAILURES,
    NotConnectedError,
    closed_by_server,
    error_reply,
    replica_reply,
)
from deal_sdk.limits.lineages import is_master
from deal_sdk.limits.scripts import Words
from deal_sdk.limits.wire import pack

CLOSE_TIMEOUT_SECONDS: Final = 5.0
_STREAM: Final = "_writer"
"""Where a connection of redis-py keeps its stream, which nothing public of it leads to."""
_ROLE: Final[Words] = ("ROLE",)


class Connections(Protocol):
    """How commands reach one server."""

    async def exchange(self, commands: Sequence[Words]) -> list[Any]:
        """Send commands together and return a reply or an exception for each.

        Raises:
            NotConnectedError: when nothing was sent.
        """
        ...

    async def drop(self) -> None:
        """Close the connections that are idle, so that the next exchange makes one."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...

    def subscriber(self) -> PubSub:
        """Return a connection of its own that can subscribe; it connects with its first command."""
        ...


class InProcess:
    """The stand-in in this process, or whatever else speaks redis-py's pipeline."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        """Keep the client."""
        self._client = client

    async def exchange(self, commands: Sequence[Words]) -> list[Any]:
        """Send commands together and return a reply or an exception for each."""
        try:
            pipeline = self._client.pipeline(transaction=False)
            for words in commands:
                pipeline.execute_command(*words)
            return list(await pipeline.execute(raise_on_error=False))
        except STORE_FAILURES as error:
            return [error] * len(commands)

    async def drop(self) -> None:
        """Do nothing: there is no connection that could be stale."""

    async def close(self) -> None:
        """Close the client."""
        await self._client.aclose()

    def subscriber(self) -> PubSub:
        """Return a connection of its own that can subscribe."""
        return self._client.pubsub()


def check_client_library() -> None:
    """Refuse a redis-py whose connections keep their transport elsewhere, before anything is sent.

    There is no public way to it, and going through the library's own writer and reader makes a command
    take half as long again. pyproject.toml names the versions that were tested.

    Raises:
        ConfigurationError: when it is another redis-py than those.
    """
    if not hasattr(redis.asyncio.Connection(), _STREAM):
        raise ConfigurationError(
            f"redis {redis.__version__} keeps the streams of its connections elsewhere than the versions "
            "that deal-sdk was tested with; install one that its requirements name"
        )


class _Line(asyncio.Protocol):
    """One open connection: what is written on it, and the replies in their order."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._transport: asyncio.WriteTransport = getattr(connection, _STREAM).transport
        self._transport.set_protocol(self)
        self._reader = hiredis.Reader(protocolError=PROTOCOL_FAILURE, replyError=error_reply)
        self._replies: list[Any] = []
        self._expected = 0
        self._waiter: asyncio.Future[list[Any]] | None = None

    @property
    def is_broken(self) -> bool:
        """Return whether it is of no use any more: it failed, or the server has closed it."""
        return self._transport.is_closing()

    async def exchange(self, written: bytes, count: int, deadline: float) -> list[Any]:
        """Write commands and return a reply or an exception for each; an exception breaks the line."""
        loop = asyncio.get_running_loop()
        self._replies, self._expected = [], count
        waiter: asyncio.Future[list[Any]] = loop.create_future()
        self._waiter = waiter
        timer = loop.call_at(deadline, self._break, TimeoutError())
        self._transport.write(written)
        try:
            return await waiter
        finally:
            timer.cancel()
            if len(self._replies) < count:
                # Replies that are still to come must not be read by the next exchange.
                self._break(closed_by_server())

    def data_received(self, data: bytes) -> None:
        """Read replies; what nobody waits for ends the connection."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                self._replies.append(reply)
        except STORE_FAILURES as error:
            self._break(error)
            return
        waiter = self._waiter
        if waiter is None or len(self._replies) > self._expected:
            self._break(closed_by_server())
        elif len(self._replies) == self._expected:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(self._replies)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell whoever waits."""
        self._break(error if isinstance(error, STORE_FAILURES) else closed_by_server())

    async def discard(self) -> None:
        """Close the connection without waiting for the server."""
        self._break(closed_by_server())
        # redis-py would warn of a connection that it believes open.
        with suppress(*STORE_FAILURES):
            await self._connection.disconnect(nowait=True)

    def _break(self, failure: BaseException) -> None:
        self._transport.abort()
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            # What was answered before holds; of the rest nobody knows.
            known = self._replies[: self._expected]
            waiter.set_result(known + [failure] * (self._expected - len(known)))


class ServerConnections:
    """A real server's connections."""

    def __init__(
        self, client: redis.asyncio.Redis, *, timeout_seconds: float, master_only: bool = False
    ) -> None:
        """Keep the client; nothing connects yet.

        Args:
            client: makes the connections and never retries by itself.
            timeout_seconds: the longest that an exchange may take, connecting included.
            master_only: refuse a server that is a replica, which a failover may have made of it: it would
                answer reads with what it last heard.
        """
        self._client = client
        self._callbacks = client.response_callbacks
        self._timeout_seconds = timeout_seconds
        self._master_only = master_only
        self._idle: deque[_Line] = deque()

    async def exchange(self, commands: Sequence[Words]) -> list[Any]:
        """Send commands together and return a reply or an exception for each.

        Raises:
            NotConnectedError: when nothing was sent.
        """
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        line = await self._open_line(deadline)
        try:
            replies = await line.exchange(pack(commands), len(commands), deadline)
        finally:
            if line.is_broken:
                await line.discard()
            else:
                self._idle.append(line)
        callbacks = self._callbacks
        for place, words in enumerate(commands):
            name = words[0]
            # What begins with packed words is a script, whose reply is as it was written.
            callback = callbacks.get(name) if isinstance(name, str) else None
            if callback is not None and not isinstance(replies[place], BaseException):
                replies[place] = callback(replies[place])
        return replies

    async def drop(self) -> None:
        """Close the connections that are idle, so that the next exchange makes one."""
        while self._idle:
            await self._idle.pop().discard()

    async def close(self) -> None:
        """Close all connections."""
        with suppress(*STORE_FAILURES):
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await self.drop()
                await self._client.aclose()
                # The loop closes the sockets in its next turn.
                await asyncio.sleep(0)

    def subscriber(self) -> PubSub:
        """Return a connection of its own that can subscribe."""
        return self._client.pubsub()

    async def _open_line(self, deadline: float) -> _Line:
        while self._idle:
            # The one used last: those that are not needed stay idle until the server closes them.
            line = self._idle.pop()
            if not line.is_broken:
                return line
            await line.discard()
        pool: Any = self._client.connection_pool
        connection = pool.make_connection()
        try:
            async with asyncio.timeout_at(deadline):
                await connection.connect()
        except BaseException as error:
            await connection.disconnect(nowait=True)
            if isinstance(error, STORE_FAILURES):
                raise NotConnectedError(error) from None
            raise
        line = _Line(connection)
        if self._master_only:
            await self._check_role(line, deadline)
        return line

    async def _check_role(self, line: _Line, deadline: float) -> None:
        try:
            (role,) = await line.exchange(pack([_ROLE]), 1, deadline)
            if isinstance(role, STORE_FAILURES):
                raise NotConnectedError(role)
            if not is_master(role):
                raise NotConnectedError(replica_reply())
        except BaseException:
            await line.discard()
            raise
