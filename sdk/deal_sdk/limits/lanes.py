"""One server: the pipelines in which concurrent commands leave together.

Owns script loading and the verdict whether a command ran. Never sends a command again whose caller was told
that there was no answer.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from redis.asyncio.client import PubSub

from deal_sdk.batching import Collector
from deal_sdk.limits._errors import (
    STORE_FAILURES,
    NotConnectedError,
    is_script_missing,
    judge,
    not_connected,
    timed_out,
)
from deal_sdk.limits.connections import Connections
from deal_sdk.limits.deadlines import Deadlines
from deal_sdk.limits.scripts import Script, ScriptForm, Words

_ASKING: Final[Words] = ("ASKING",)


@dataclass(frozen=True, slots=True)
class Pipelines:
    """How concurrent commands are gathered."""

    max_commands: int
    max_in_flight: int


# In process a pipeline runs on the event loop without a pause, so it is kept short.
MEMORY_PIPELINES: Final = Pipelines(max_commands=8, max_in_flight=1)
# Several short ones, so that the server works on one while this process reads and writes the others.
SERVER_PIPELINES: Final = Pipelines(max_commands=32, max_in_flight=8)


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
        self._deadlines = Deadlines(partial(timed_out, name))
        self._commands: Collector[Command, Any] = Collector(
            self._send, max_items=pipelines.max_commands, max_in_flight=pipelines.max_in_flight
        )

    def put(self, command: Command) -> asyncio.Future[Any]:
        """Hand over a command and return the future of its reply, which its caller may end before.

        The future ends with `NotRunError` where the command provably did not run, and with
        `StoreUnavailableError` where it failed, nobody knows, or its deadline is over.
        """
        reply = self._commands.put(command)
        if command.deadline != math.inf:
            self._deadlines.watch(command.deadline, reply)
        return reply

    def subscriber(self) -> PubSub:
        """Return a connection of its own that can subscribe; it connects with its first command."""
        return self._connections.subscriber()

    async def drop(self) -> None:
        """Close the connections that are idle, so that the next exchange makes one."""
        await self._connections.drop()

    async def close(self) -> None:
        """Finish what is under way, then close the connections."""
        await self._commands.close()
        self._deadlines.close()
        await self._connections.close()

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        # A command whose caller was already told "no answer" must not act later, so it is not sent.
        now = asyncio.get_running_loop().time()
        live = [command for command in commands if command.deadline > now]
        replies = iter(await self._exchange(live))
        return [next(replies) if command.deadline > now else timed_out(self.name) for command in commands]

    async def _exchange(self, commands: list[Command]) -> list[Any]:
        replies = await self._deliver([], commands)
        failed = [index for index, reply in enumerate(replies) if isinstance(reply, Exception)]
        if not failed:
            return replies
        missing = [index for index in failed if is_script_missing(replies[index])]
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
