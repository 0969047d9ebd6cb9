"""One server: its connections, and the pipeline in which concurrent commands leave together.

Owns script loading, the time that an exchange may take, and the verdict whether a command ran. Never sends
a command twice: a connection that broke with replies outstanding is closed, so that no reply is ever read
by the next caller.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

import redis.asyncio
from redis.asyncio.client import PubSub

from deal_sdk.batching import Collector
from deal_sdk.limits._errors import (
    ERROR_REPLIES,
    STORE_FAILURES,
    NotConnectedError,
    is_script_missing,
    judge,
    not_connected,
    timed_out,
)
from deal_sdk.limits.scripts import Script, ScriptForm, Words
from deal_sdk.limits.wire import pack

CLOSE_TIMEOUT_SECONDS: Final = 5.0
_ASKING: Final[Words] = ("ASKING",)


@dataclass(frozen=True, slots=True)
class Pipelines:
    """How concurrent commands are gathered."""

    max_commands: int
    max_in_flight: int


# In process a pipeline runs on the event loop without a pause, so it is kept short.
MEMORY_PIPELINES: Final = Pipelines(max_commands=8, max_in_flight=1)
SERVER_PIPELINES: Final = Pipelines(max_commands=256, max_in_flight=4)


@dataclass(frozen=True, slots=True)
class Command:
    """What one caller wants done, and until when (in the event loop's time)."""

    words: Words
    deadline: float
    script: Script | None = None
    key: str | None = None
    """A key that it touches, which tells the server of a cluster; None where any server can answer."""
    asking: bool = False
    """Whether the server holds the key only for those who say that they were sent."""


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


class ServerConnections:
    """A real server's connections."""

    def __init__(self, client: redis.asyncio.Redis, *, timeout_seconds: float) -> None:
        """Keep the client's pool; nothing connects yet.

        Args:
            client: never retries by itself.
            timeout_seconds: the longest that an exchange may take, connecting included.
        """
        self._client = client
        self._pool = client.connection_pool
        self._callbacks = client.response_callbacks
        self._timeout_seconds = timeout_seconds

    async def exchange(self, commands: Sequence[Words]) -> list[Any]:
        """Send commands together and return a reply or an exception for each.

        Raises:
            NotConnectedError: when nothing was sent.
        """
        connection: Any = None
        replies: list[Any] = []
        try:
            async with asyncio.timeout(self._timeout_seconds):
                connection = await self._connect()
                await connection.send_packed_command(pack(commands), check_health=False)
                for words in commands:
                    replies.append(await self._read(connection, words))
        except STORE_FAILURES as error:
            if connection is None:
                raise NotConnectedError(error) from None
            # What was answered before holds; of the rest nobody knows.
            return replies + [error] * (len(commands) - len(replies))
        finally:
            if connection is not None:
                if len(replies) < len(commands):
                    # Replies that are still to come must not be read by the next exchange.
                    await connection.disconnect(nowait=True)
                await self._pool.release(connection)
        return replies

    async def drop(self) -> None:
        """Close the connections that are idle, so that the next exchange makes one."""
        await self._pool.disconnect(inuse_connections=False)

    async def close(self) -> None:
        """Close all connections."""
        with suppress(*STORE_FAILURES):
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await self._client.aclose()

    def subscriber(self) -> PubSub:
        """Return a connection of its own that can subscribe."""
        return self._client.pubsub()

    async def _connect(self) -> Any:
        pool: Any = self._pool
        return await pool.get_connection()

    async def _read(self, connection: Any, words: Words) -> Any:
        try:
            # The exchange as a whole is timed; a timer of each reply's own would cost more than the reply.
            reply = await connection.read_response(timeout=math.inf, disconnect_on_error=False)
        except ERROR_REPLIES as error:
            return error
        callback = self._callbacks.get(str(words[0]))
        return reply if callback is None else callback(reply)


class Lane:
    """The way to one server, shared by all who send to it."""

    def __init__(
        self, connections: Connections, *, name: str, form: ScriptForm, pipelines: Pipelines
    ) -> None:
        """Keep the parts; nothing connects before the first command.

        Args:
            connections: to the one server.
            name: what errors call it, without its password.
            form: how it loads and calls scripts.
            pipelines: how much leaves together.
        """
        self._connections = connections
        self._form = form
        self.name = name
        self._commands: Collector[Command, Any] = Collector(
            self._send, max_items=pipelines.max_commands, max_in_flight=pipelines.max_in_flight
        )

    def put(self, command: Command) -> asyncio.Future[Any]:
        """Hand over a command and return the future of its reply, which its caller may end before.

        The future ends with `NotRunError` where the command provably did not run, and with
        `StoreUnavailableError` where it failed or nobody knows.
        """
        return self._commands.put(command)

    def subscriber(self) -> PubSub:
        """Return a connection of its own that can subscribe; it connects with its first command."""
        return self._connections.subscriber()

    async def drop(self) -> None:
        """Close the connections that are idle, so that the next exchange makes one."""
        await self._connections.drop()

    async def close(self) -> None:
        """Finish what is under way, then close the connections."""
        await self._commands.close()
        await self._connections.close()

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        # A command whose caller was already told "no answer" must not act later, so it is not sent.
        now = asyncio.get_running_loop().time()
        live = [command for command in commands if command.deadline > now]
        replies = iter(await self._exchange(live))
        return [next(replies) if command.deadline > now else timed_out(self.name) for command in commands]

    async def _exchange(self, commands: list[Command]) -> list[Any]:
        replies = await self._deliver([], commands)
        missing = [index for index, reply in enumerate(replies) if is_script_missing(reply)]
        if missing:
            # Nothing of these ran: the server was restarted, failed over or flushed, or is new.
            scripts = {script for index in missing if (script := commands[index].script) is not None}
            loads = [self._form.load(script) for script in scripts]
            again = await self._deliver(loads, [commands[index] for index in missing])
            for index, reply in zip(missing, again, strict=True):
                replies[index] = reply
        return [judge(reply, self.name) if isinstance(reply, STORE_FAILURES) else reply for reply in replies]

    async def _deliver(self, first: Sequence[Words], commands: Sequence[Command]) -> list[Any]:
        if not commands:
            return []
        lines, places = list(first), []
        for command in commands:
            if command.asking:
                lines.append(_ASKING)
            places.append(len(lines))
            lines.append(command.words)
        try:
            replies = await self._connections.exchange(lines)
        except NotConnectedError as error:
            return [not_connected(error.failure, self.name)] * len(commands)
        return [replies[place] for place in places]
