"""The store of limits and cache: Redis in any of its forms, or the same commands and Lua in this process.

Owns what a caller sees of it: one command or script at a time, answered in bounded time or failed with a
typed error. A command is sent again only after a server proved that it did not run. Knows nothing of limits
or cache entries.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from deal_sdk.clock import Clock
from deal_sdk.errors import StoreUnavailableError
from deal_sdk.limits._errors import NotRunError, Reason, timed_out
from deal_sdk.limits.clusters import ClusterServers
from deal_sdk.limits.connections import InProcess
from deal_sdk.limits.feeds import Feed
from deal_sdk.limits.lanes import MEMORY_PIPELINES, Command, Lane
from deal_sdk.limits.locations import StoreAccess, locate
from deal_sdk.limits.scripts import Argument, Digests, Functions, Key, Script, ScriptForm, Words
from deal_sdk.limits.servers import OneServer, Servers

if TYPE_CHECKING:
    import fakeredis

MEMORY_SCHEME: Final = "memory://"
DEFAULT_TIMEOUT_SECONDS: Final = 2.0
RETRY_PAUSES_SECONDS: Final = (0.005, 0.02, 0.08, 0.16)
"""Before each further try of a command that did not run; a redirection is followed without a pause."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_REDIRECTIONS: Final = (Reason.MOVED, Reason.ASK)
_KEYLESS: Final = frozenset({"PING", "TIME"})
_KEY_AFTER_SUBCOMMAND: Final = frozenset({"MEMORY", "OBJECT"})


class Store:
    """One Redis, cluster of them, or in-process stand-in, shared by limits and cache."""

    def __init__(
        self,
        servers: Servers,
        *,
        name: str,
        timeout_seconds: float | None,
        test_clock: Clock | None,
        form: ScriptForm,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        """Keep the servers; nothing connects before the first command. Callers use `open_store`."""
        self._servers = servers
        self._form = form
        self._timeout_seconds = timeout_seconds
        self._test_clock = test_clock
        self._closed = False
        self._on_close = on_close
        self.name = name

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

        Args:
            words: the command and its arguments. On a cluster all its keys share a hash tag; the first is
                the argument after the command.

        Raises:
            StoreUnavailableError: when the store cannot be reached, refuses, or does not answer in time.
        """
        return await self._submit(Command(words, self._deadline(), key=_key_of(words)))

    async def run(self, script: Script, keys: Sequence[Key], arguments: Sequence[Argument]) -> Any:
        """Run a script by its digest, loading it where the server does not know it.

        It runs once or not at all. After an error it is known not to have run only where the script itself
        can tell, for example by a reservation id.

        Args:
            script: from `load_script`.
            keys: every key it touches, at least one; where the store has slots they share a hash tag.
            arguments: its ARGV.

        Raises:
            StoreUnavailableError: when the store cannot be reached, refuses, or does not answer in time.
        """
        words = self._form.call(script, keys, arguments)
        first = keys[0]
        key = first if isinstance(first, str) else first.words[0]
        return await self._submit(Command(words, self._deadline(), script, key))

    async def command_everywhere(self, *words: Argument) -> list[Any]:
        """Run a command that names no key on every server that holds keys, and return their replies.

        Raises:
            StoreUnavailableError: when one of them cannot be reached, refuses, or does not answer in time.
        """
        command = Command(words, self._deadline())
        try:
            async with self._until(command.deadline):
                return await self._everywhere(command)
        except TimeoutError:
            raise timed_out(self.name) from None

    async def ping(self) -> None:
        """Ask for a sign of life of every server that holds keys.

        Raises:
            StoreUnavailableError: when one of them gives none.
        """
        await self.command_everywhere("PING")

    @property
    def has_slots(self) -> bool:
        """Return whether keys live apart, so that a script can touch several only by one hash tag."""
        return isinstance(self._servers, ClusterServers)

    def feed(self, channel: str) -> Feed:
        """Return a feed of what is published on a channel, on whichever server; entering it connects."""
        return Feed(self._servers, self._any_lane, self._ask, channel, timeout_seconds=self._timeout_seconds)

    async def close(self) -> None:
        """Finish what is under way, then close the connections; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        await self._servers.close()
        if self._on_close is not None:
            self._on_close()

    async def _any_lane(self) -> Lane:
        self._check_open()
        # What is known may be from before a failover, which nobody who only reads was told of.
        await self._servers.look_up()
        lane = self._servers.lane_for(None)
        if lane is None:
            raise self._nobody()
        return lane

    async def _ask(self, words: Words) -> Any:
        return await self._submit(Command(words, self._deadline()))

    def _deadline(self) -> float:
        if self._timeout_seconds is None:
            return math.inf
        return asyncio.get_running_loop().time() + self._timeout_seconds

    async def _submit(self, command: Command) -> Any:
        self._check_open()
        lane = self._servers.lane_for(command.key)
        if lane is not None:
            try:
                return await self._answer(lane, command)
            except NotRunError as error:
                refusal = error
        else:
            refusal = NotRunError(self._nobody(), Reason.UNREACHABLE)
        try:
            async with self._until(command.deadline):
                return await self._again(command, lane, refusal)
        except TimeoutError:
            raise timed_out(self.name) from None

    async def _everywhere(self, command: Command) -> list[Any]:
        for is_last in (False, True):
            self._check_open()
            if not self._servers.lanes() or is_last:
                await self._servers.look_up()
            lanes = self._servers.lanes()
            try:
                if lanes:
                    return await asyncio.gather(*(self._answer(lane, command) for lane in lanes))
            except NotRunError as refusal:
                if is_last:
                    raise refusal.error from None
        raise self._nobody()

    @staticmethod
    def _until(deadline: float) -> asyncio.Timeout:
        return asyncio.timeout_at(None if deadline == math.inf else deadline)

    async def _again(self, command: Command, lane: Lane | None, refusal: NotRunError) -> Any:
        for pause_seconds in RETRY_PAUSES_SECONDS:
            if lane is None:
                await self._servers.look_up()
                sent_to = None
            else:
                if refusal.reason not in _REDIRECTIONS:
                    await asyncio.sleep(pause_seconds)
                sent_to = await self._servers.follow(refusal, lane)
            self._check_open()
            lane = sent_to or self._servers.lane_for(command.key)
            if lane is None:
                refusal = NotRunError(self._nobody(), Reason.UNREACHABLE)
                await asyncio.sleep(pause_seconds)
                continue
            try:
                return await self._answer(lane, replace(command, asking=sent_to is not None))
            except NotRunError as error:
                refusal = error
        raise refusal.error from None

    async def _answer(self, lane: Lane, command: Command) -> Any:
        try:
            return await lane.put(command)
        except StoreUnavailableError as error:
            if error.facts["reason"] in ("timeout", "connection") and not self._closed:
                self._servers.suspect(lane)
            raise

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailableError(f"the store {self.name} is closed", store=self.name, reason="closed")

    def _nobody(self) -> StoreUnavailableError:
        if self._servers.failure is not None:
            return self._servers.failure
        text = f"no server of the store {self.name} is known to hold the key"
        return StoreUnavailableError(text, store=self.name, reason="connection")


@dataclass(slots=True)
class _MemoryServer:
    server: fakeredis.FakeServer
    holders: int = 0


_named_memory: dict[str, _MemoryServer] = {}


def open_store(
    redis_url: str,
    *,
    access: StoreAccess | None = None,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    test_clock: Clock | None = None,
) -> Store:
    """Prepare a store; it connects with its first command.

    Args:
        redis_url: redis://, rediss:// (TLS) or unix:// for one server;
            redis+sentinel://host:port,host:port/master_name for the master that sentinels watch;
            redis+cluster://host:port,host:port for a cluster, of which some servers are enough;
            rediss+sentinel:// and rediss+cluster:// for both by TLS; or memory:// for a private store in
            this process, memory://name for one shared by that name while anyone holds it open.
        access: users, passwords and TLS files, where the URL does not name them.
        timeout_seconds: the longest that one command may take, waiting and connecting included; memory://
            needs none.
        test_clock: gives scripts their time in place of the server's clock. For tests and simulations
            alone: in production the time must be one that all clients share.

    Raises:
        ConfigurationError: for a URL of another form, which is not repeated, because it may hold a password,
            or for TLS files that cannot be used.
    """
    if redis_url.startswith(MEMORY_SCHEME):
        return _open_memory(redis_url.removeprefix(MEMORY_SCHEME), test_clock)
    location = locate(redis_url, access or StoreAccess(), timeout_seconds=timeout_seconds)
    return Store(
        location.servers,
        name=location.name,
        timeout_seconds=timeout_seconds,
        test_clock=test_clock,
        form=Digests(),
    )


def in_process_store(
    client: Any, *, name: str, test_clock: Clock | None = None, on_close: Callable[[], None] | None = None
) -> Store:
    """Make a store of a client that speaks redis-py's pipeline and runs in this process.

    Args:
        client: for example of fakeredis.
        name: what errors call it.
        test_clock: gives scripts their time.
        on_close: called once, when the store is closed.
    """
    form = Functions()
    lane = Lane(InProcess(client), name=name, form=form, pipelines=MEMORY_PIPELINES)
    # In this process there is nobody who might not answer, only work that waits its turn.
    servers = OneServer(lane, lineage=None)
    return Store(
        servers, name=name, timeout_seconds=None, test_clock=test_clock, form=form, on_close=on_close
    )


def _open_memory(name: str, test_clock: Clock | None) -> Store:
    # Loaded on first use: it takes a third of a second, which a service on a real Redis need not spend.
    import fakeredis

    held = _named_memory.setdefault(name, _MemoryServer(fakeredis.FakeServer())) if name else None
    server = fakeredis.FakeServer() if held is None else held.server
    if held is not None:
        held.holders += 1
    return in_process_store(
        fakeredis.FakeAsyncRedis(server=server),
        name=f"{MEMORY_SCHEME}{name}",
        test_clock=test_clock,
        on_close=partial(_release_memory, name),
    )


def _release_memory(name: str) -> None:
    held = _named_memory.get(name)
    if held is None:
        return
    held.holders -= 1
    if held.holders == 0:
        del _named_memory[name]


def _key_of(words: Sequence[Argument]) -> str | None:
    name = str(words[0]).upper()
    place = 2 if name in _KEY_AFTER_SUBCOMMAND else 1
    if name in _KEYLESS or len(words) <= place:
        return None
    key = words[place]
    return key.decode() if isinstance(key, bytes) else str(key)
