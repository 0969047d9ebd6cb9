"""One load for all who miss the same entry, in this process and in all others.

Owns who loads and who waits: in a process by a shared task, between processes by the entry's lease. Nobody
waits longer than a bound, and nobody joins a load that began before a change that was already over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar

from deal_sdk.cache.entries import Entries, Grant, Write, Written
from deal_sdk.cache.link import StoreLink
from deal_sdk.clock import Clock
from deal_sdk.errors import StoreUnavailableError
from deal_sdk.flights import Flights

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

DEFAULT_WAIT_SECONDS: Final = 2.0
"""How old another process's lease may be for a caller to wait for its load."""
FIRST_POLL_SECONDS: Final = 0.01
MAX_POLL_SECONDS: Final = 0.2
MAX_REFRESHES: Final = 64
"""Stale entries that are loaded again at once; the next reader of any other asks again."""
OUTAGE: Final = "outage"
"""Stands for the lease while the store does not answer; a token is hexadecimal."""


Tokens: TypeAlias = Mapping[str, str]
"""The tokens of an entry's tags."""


@dataclass(frozen=True, slots=True)
class Loaded(Generic[Value]):
    """What the source said, and how it is stored; None when it is not to be."""

    value: Value
    write: Write | None


@dataclass(frozen=True, slots=True)
class Found(Generic[Value]):
    """A value that somebody else stored meanwhile."""

    value: Value


@dataclass(frozen=True, slots=True)
class Miss(Generic[Value]):
    """An entry that is to be loaded.

    Attributes:
        key: of the entry.
        seen: the value that was found and is of no use; None for none.
        state: what `state_of` made of the lookup, or `OUTAGE`.
        accept: reads a value that somebody else stored meanwhile; None when it is of no use.
        join: returns the tokens of the entry's tags as they are before the load; None when the store failed.
        load: reads the source.
    """

    key: str
    seen: bytes | None
    state: str
    accept: Callable[[bytes], Awaitable[Found[Value] | None]]
    join: Callable[[], Awaitable[Tokens | None]]
    load: Callable[[Tokens | None], Awaitable[Loaded[Value]]]


def state_of(lease: str, tokens: Tokens) -> str:
    """Return what is gone once an entry changes: its lease, and the tokens of its tags."""
    return " ".join((lease, *(f"{tag}={token}" for tag, token in sorted(tokens.items()))))


class _Flight:
    """A load of this process; its mark is the state of the entry since before it began to load."""

    __slots__ = ("mark",)

    def __init__(self) -> None:
        self.mark: str | None = None


class Loader(Generic[Value]):
    """Loads the missing entries of one cache."""

    def __init__(
        self, entries: Entries, link: StoreLink, clock: Clock, *, wait_seconds: float = DEFAULT_WAIT_SECONDS
    ) -> None:
        """Keep the parts; nothing runs yet.

        Args:
            entries: where leases are taken and results are stored.
            link: the way there.
            clock: measures waits.
            wait_seconds: how old another process's lease may be for a caller to wait for its load.
        """
        self._entries = entries
        self._link = link
        self._clock = clock
        self.wait_seconds = wait_seconds
        self._by_key: dict[str, _Flight] = {}
        self._flights: Flights[Value] = Flights()
        self._refreshing: set[_Flight] = set()

    async def load(self, miss: Miss[Value]) -> Value:
        """Return the value that this caller, or another one at this time, loads.

        Raises:
            Exception: whatever the source raised; nothing is stored then.
        """
        flight = self._flight(miss)
        return await self._flights.join(flight, lambda: self._fly(flight, miss))

    def refresh(self, miss: Miss[Value]) -> None:
        """Load a stale entry again in the background; a failure is logged, and the next reader asks again."""
        flight = self._flight(miss)
        if flight in self._refreshing or len(self._refreshing) >= MAX_REFRESHES:
            return
        self._refreshing.add(flight)
        task = self._flights.start(flight, lambda: self._fly(flight, miss))
        task.add_done_callback(lambda done: self._refreshed(flight, done))

    def forget(self, key: str) -> None:
        """Let the next caller begin a load of its own, because the one under way may return an old value."""
        self._by_key.pop(key, None)

    def forget_all(self) -> None:
        """Let the next caller of every key begin a load of its own."""
        self._by_key.clear()

    async def close(self) -> None:
        """Cancel the loads under way and wait for their end."""
        await self._flights.close()

    async def grant(self, key: str, seen: bytes | None, *, take: bool = False) -> Grant:
        """Ask once to be the one who loads.

        Raises:
            StoreUnavailableError: when the store failed.
        """
        return await self._link.through(lambda: self._entries.lease(key, seen, take=take))

    async def finish(self, key: str, grant: Grant, write: Write | None) -> Written | None:
        """Store what was loaded, or give the lease back; a store that fails loses nothing but the entry.

        Returns:
            What became of it; None when nothing was stored.
        """
        if not grant.token:
            return None
        with suppress(StoreUnavailableError):
            if write is not None:
                return await self._link.through(lambda: self._entries.fill(key, grant.token, write))
            await self._link.through(lambda: self._entries.release(key, grant.token))
        return None

    async def next_poll(self, waited_seconds: float, poll_seconds: float) -> float | None:
        """Wait a little for another process's load.

        Args:
            waited_seconds: the age of its lease.
            poll_seconds: how long to wait before asking again.

        Returns:
            How long to wait the next time; None when the lease is too old to be waited for.
        """
        left_seconds = self.wait_seconds - waited_seconds
        if left_seconds <= 0:
            return None
        await self._clock.sleep(min(poll_seconds, left_seconds))
        return min(poll_seconds * 2, MAX_POLL_SECONDS)

    def _flight(self, miss: Miss[Value]) -> _Flight:
        flight = self._by_key.get(miss.key)
        if flight is None or (flight.mark is not None and flight.mark != miss.state):
            # A mark that is gone from the entry means that it changed after that load began.
            flight = self._by_key[miss.key] = _Flight()
        return flight

    async def _fly(self, flight: _Flight, miss: Miss[Value]) -> Value:
        try:
            try:
                grant = await self._granted(miss)
            except StoreUnavailableError:
                grant = Grant(holder=OUTAGE)
            if isinstance(grant, Found):
                return grant.value
            return await self._load(flight, miss, grant)
        finally:
            if self._by_key.get(miss.key) is flight:
                del self._by_key[miss.key]

    async def _granted(self, miss: Miss[Value]) -> Grant | Found[Value]:
        seen, poll_seconds = miss.seen, FIRST_POLL_SECONDS
        while True:
            grant = await self.grant(miss.key, seen)
            if grant.token:
                return grant
            if grant.text is not None:
                found = await miss.accept(grant.text)
                if found is not None:
                    return found
                seen = grant.text
                continue
            next_seconds = await self.next_poll(grant.age_seconds, poll_seconds)
            if next_seconds is None:
                return grant
            poll_seconds = next_seconds

    async def _load(self, flight: _Flight, miss: Miss[Value], grant: Grant) -> Value:
        try:
            tokens = await miss.join()
            flight.mark = OUTAGE if tokens is None else state_of(grant.token or grant.holder, tokens)
            loaded = await miss.load(tokens)
        except BaseException:
            await self.finish(miss.key, grant, None)
            raise
        written = await self.finish(miss.key, grant, loaded.write)
        if written is None or written.done or written.text is None:
            return loaded.value
        if loaded.write is None or loaded.write.version is None:
            return loaded.value
        newer = await miss.accept(written.text)
        return loaded.value if newer is None else newer.value

    def _refreshed(self, flight: _Flight, task: asyncio.Task[Value]) -> None:
        self._refreshing.discard(flight)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("a stale entry was not refreshed: %s", type(error).__name__)
