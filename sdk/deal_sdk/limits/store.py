"""The connection to Redis, or to the same commands and Lua in this process.

Owns connections, time bounds, script loading and the pipeline in which concurrent calls leave together.
It never retries a command that may have been carried out, and knows nothing of limits or cache entries.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from deal_sdk.batching import Collector
from deal_sdk.clock import Clock
from deal_sdk.errors import ConfigurationError, StoreUnavailableError
from deal_sdk.limits._errors import STORE_FAILURES, is_script_missing, timed_out, translate
from deal_sdk.limits.scripts import Argument, Digests, Functions, Script, ScriptForm, Words

if TYPE_CHECKING:
    import fakeredis

MEMORY_SCHEME: Final = "memory://"
DEFAULT_TIMEOUT_SECONDS: Final = 2.0
CLOSE_TIMEOUT_SECONDS: Final = 5.0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class _Command:
    words: Words
    deadline: float
    script: Script | None = None


@dataclass(frozen=True, slots=True)
class Pipelines:
    """How concurrent commands are gathered."""

    max_commands: int
    max_in_flight: int


# In process a pipeline runs on the event loop without a pause, so it is kept short.
MEMORY_PIPELINES: Final = Pipelines(max_commands=8, max_in_flight=1)
SERVER_PIPELINES: Final = Pipelines(max_commands=256, max_in_flight=4)


class Store:
    """One Redis, or one in-process stand-in, shared by limits and cache."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        *,
        name: str,
        timeout_seconds: float | None,
        test_clock: Clock | None,
        form: ScriptForm,
        pipelines: Pipelines,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        """Keep the client; nothing connects before the first command. Callers use `open_store`."""
        self._client = client
        self._form = form
        self._timeout_seconds = timeout_seconds
        self._test_clock = test_clock
        self._closed = False
        self._on_close = on_close
        self.name = name
        self._commands: Collector[_Command, Any] = Collector(
            self._send, max_items=pipelines.max_commands, max_in_flight=pipelines.max_in_flight
        )

    def __repr__(self) -> str:
        """Name the server without its password."""
        return f"Store({self.name})"

    async def __aenter__(self) -> Store:
        """Return itself; there is nothing to open."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self.close()

    def script_time(self) -> str:
        """Return a script's time argument: empty, so that it asks the server, unless a test sets the time."""
        if self._test_clock is None:
            return ""
        return str((self._test_clock.now() - _EPOCH) // _MICROSECOND)

    async def command(self, *words: Argument) -> Any:
        """Run one Redis command and return its reply, in bytes.

        Raises:
            StoreUnavailableError: when the store cannot be reached, refuses, or does not answer in time.
        """
        return await self._submit(_Command(words, self._deadline()))

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run a script by its digest, loading it where the server does not know it.

        Args:
            script: from `load_script`.
            keys: every key it touches; they share a hash tag.
            arguments: its ARGV.

        Raises:
            StoreUnavailableError: when the store cannot be reached, refuses, or does not answer in time.
        """
        words = self._form.call(script, keys, arguments)
        return await self._submit(_Command(words, self._deadline(), script))

    async def ping(self) -> None:
        """Ask for a sign of life.

        Raises:
            StoreUnavailableError: when none comes.
        """
        await self.command("PING")

    async def close(self) -> None:
        """Finish what is under way, then close the connections; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        await self._commands.close()
        with suppress(*STORE_FAILURES):
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await self._client.aclose()
        if self._on_close is not None:
            self._on_close()

    def _deadline(self) -> float:
        if self._timeout_seconds is None:
            return math.inf
        return asyncio.get_running_loop().time() + self._timeout_seconds

    async def _submit(self, command: _Command) -> Any:
        if self._closed:
            raise StoreUnavailableError(f"the store {self.name} is closed", store=self.name, reason="closed")
        reply = self._commands.put(command)
        if command.deadline == math.inf:
            return await reply
        timer = reply.get_loop().call_at(command.deadline, self._give_up, reply)
        try:
            return await reply
        finally:
            timer.cancel()

    def _give_up(self, reply: asyncio.Future[Any]) -> None:
        if not reply.done():
            reply.set_exception(timed_out(self.name))

    async def _send(self, commands: Sequence[_Command]) -> list[Any]:
        # A command whose caller was already told "no answer" must not act later, so it is not sent.
        now = asyncio.get_running_loop().time()
        live = [command for command in commands if command.deadline > now]
        replies = iter(await self._exchange(live))
        return [next(replies) if command.deadline > now else timed_out(self.name) for command in commands]

    async def _exchange(self, commands: list[_Command]) -> list[Any]:
        replies = await self._pipeline([command.words for command in commands])
        missing = [index for index, reply in enumerate(replies) if is_script_missing(reply)]
        if missing:
            # Nothing of these ran: the server was restarted, failed over or flushed, or is new.
            scripts = {script for index in missing if (script := commands[index].script) is not None}
            loads = [self._form.load(script) for script in scripts]
            again = await self._pipeline([*loads, *(commands[index].words for index in missing)])
            for index, reply in zip(missing, again[len(loads) :], strict=True):
                replies[index] = reply
        return [
            translate(reply, self.name) if isinstance(reply, STORE_FAILURES) else reply for reply in replies
        ]

    async def _pipeline(self, commands: Sequence[Words]) -> list[Any]:
        if not commands:
            return []
        try:
            async with asyncio.timeout(self._timeout_seconds):
                pipeline = self._client.pipeline(transaction=False)
                for words in commands:
                    pipeline.execute_command(*words)
                return list(await pipeline.execute(raise_on_error=False))
        except STORE_FAILURES as error:
            raise translate(error, self.name) from None


@dataclass(slots=True)
class _MemoryServer:
    server: fakeredis.FakeServer
    holders: int = 0


_named_memory: dict[str, _MemoryServer] = {}


def open_store(
    redis_url: str, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS, test_clock: Clock | None = None
) -> Store:
    """Prepare a store; it connects with its first command.

    Args:
        redis_url: redis://, rediss:// or unix://; or memory:// for a private store in this process,
            memory://name for one shared by that name while anyone holds it open.
        timeout_seconds: the longest that one command may take, waiting and connecting included; memory://
            needs none.
        test_clock: gives scripts their time in place of the server's clock. For tests and simulations
            alone: in production the time must be one that all clients share.

    Raises:
        ConfigurationError: for a URL of another form; it is not repeated, because it may hold a password.
    """
    if redis_url.startswith(MEMORY_SCHEME):
        return _open_memory(redis_url.removeprefix(MEMORY_SCHEME), test_clock)
    try:
        client = redis.asyncio.Redis.from_url(
            redis_url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            # A command that may have been carried out is not sent twice.
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        name = _name_without_password(redis_url)
    except ValueError:
        raise ConfigurationError("the Redis URL cannot be used") from None
    return Store(
        client,
        name=name,
        timeout_seconds=timeout_seconds,
        test_clock=test_clock,
        form=Digests(),
        pipelines=SERVER_PIPELINES,
    )


def _open_memory(name: str, test_clock: Clock | None) -> Store:
    # Loaded on first use: it takes a third of a second, which a service on a real Redis need not spend.
    import fakeredis

    held = _named_memory.setdefault(name, _MemoryServer(fakeredis.FakeServer())) if name else None
    server = fakeredis.FakeServer() if held is None else held.server
    if held is not None:
        held.holders += 1
    return Store(
        fakeredis.FakeAsyncRedis(server=server),
        name=f"{MEMORY_SCHEME}{name}",
        # In this process there is nobody who might not answer, only work that waits its turn.
        timeout_seconds=None,
        test_clock=test_clock,
        form=Functions(),
        pipelines=MEMORY_PIPELINES,
        on_close=partial(_release_memory, name),
    )


def _release_memory(name: str) -> None:
    held = _named_memory.get(name)
    if held is None:
        return
    held.holders -= 1
    if held.holders == 0:
        del _named_memory[name]


def _name_without_password(redis_url: str) -> str:
    parts = urlsplit(redis_url)
    if parts.scheme == "unix":
        return f"unix://{parts.path}"
    host = (
        f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or "localhost"
    )
    return f"{parts.scheme}://{host}:{parts.port or 6379}{parts.path}"
