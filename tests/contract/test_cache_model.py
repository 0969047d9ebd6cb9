"""The cache against a plain model: any order of reads, loads, changes and time, from two processes.

The model knows every value that the source had and when it changed; the cache may answer with nothing, and
never with what was changed before the read began.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from deal_sdk.cache import CachePolicy, Versioned
from deal_sdk.clock import ManualClock
from deal_sdk.limits import open_store
from tests.contract.cache_world import Process

KEYS = st.sampled_from(("a", "b"))
PLACES = st.integers(0, 1)
TAGS = {"a": ["both", "one"], "b": ["both"]}
TTL_SECONDS = 10.0


class Load:
    """A load under way: what it will answer, and the changes that were known when it began."""

    def __init__(self, key: str, place: int, answer: asyncio.Event, task: asyncio.Task[Any]) -> None:
        self.key, self.place, self.answer, self.task = key, place, answer, task


class CacheMachine(RuleBasedStateMachine):
    """Plays; each step runs to its end, and what is under way stays so."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.source = {"a": 0, "b": 0}
        """What is true now; it only grows, so that an older value is a stale one."""
        self.loads: list[Load] = []
        self.run(self.open())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    async def open(self) -> None:
        self.store = open_store("memory://", test_clock=self.clock)
        policy = CachePolicy(stale_seconds=5, lease_seconds=30, wait_seconds=1)
        self.places = [Process(self.store, self.clock, policy) for _ in range(2)]

    def teardown(self) -> None:
        async def close() -> None:
            for load in self.loads:
                load.answer.set()
            await asyncio.gather(*(self.settle(load) for load in self.loads))
            for place in self.places:
                await place.cache.close()
            await self.store.close()

        self.run(close())
        self.loop.close()

    async def settle(self, load: Load) -> Any:
        return await self.places[load.place].soon(load.task, step_seconds=0.05)

    def reader(self, key: str) -> Callable[[], Coroutine[Any, Any, int]]:
        async def read() -> int:
            return self.source[key]

        return read

    @rule(key=KEYS, place=PLACES)
    def read(self, key: str, place: int) -> None:
        hit = self.run(self.places[place].cache.find(key))
        if hit is not None:
            # Whatever is in the cache is what the source says now: every change is told to the cache.
            assert hit.value == self.source[key]
            assert hit.age_seconds < TTL_SECONDS

    def is_loading(self, key: str, place: int) -> bool:
        """Say whether a load that only `end_slow_load` ends would be joined."""
        return any(load.key == key and load.place == place for load in self.loads)

    @rule(key=KEYS, place=PLACES)
    def load(self, key: str, place: int) -> None:
        if self.is_loading(key, place):
            return
        cache = self.places[place].cache

        async def play() -> Any:
            work = cache.get_or_load(key, self.reader(key), ttl_seconds=TTL_SECONDS, tags=TAGS[key])
            return await self.places[place].soon(asyncio.create_task(work), step_seconds=0.05)

        assert self.run(play()) == self.source[key]

    @rule(key=KEYS, place=PLACES)
    def begin_slow_load(self, key: str, place: int) -> None:
        if self.is_loading(key, place):
            return
        answer, reading = asyncio.Event(), asyncio.Event()

        async def slow() -> int:
            value = self.source[key]
            reading.set()
            await answer.wait()
            return value

        async def begin() -> None:
            cache = self.places[place].cache
            work = cache.get_or_load(key, slow, ttl_seconds=TTL_SECONDS, tags=TAGS[key])
            task = asyncio.create_task(work)
            for _ in range(200):
                if reading.is_set() or task.done():
                    break
                await self.clock.advance(0.01)
            self.loads.append(Load(key, place, answer, task))

        self.run(begin())

    @precondition(lambda self: bool(self.loads))
    @rule(data=st.data())
    def end_slow_load(self, data: st.DataObject) -> None:
        load = self.loads.pop(data.draw(st.integers(0, len(self.loads) - 1)))
        load.answer.set()
        assert self.run(self.settle(load)) <= self.source[load.key]

    @rule(key=KEYS, place=PLACES)
    def change_and_delete(self, key: str, place: int) -> None:
        self.source[key] += 1
        assert self.run(self.places[place].cache.delete(key))

    @rule(key=KEYS, place=PLACES)
    def change_and_set(self, key: str, place: int) -> None:
        self.source[key] += 1
        cache = self.places[place].cache
        assert self.run(cache.set(key, self.source[key], ttl_seconds=TTL_SECONDS, tags=TAGS[key]))

    @rule(key=KEYS, place=PLACES)
    def change_and_end_its_tag(self, key: str, place: int) -> None:
        self.source[key] += 1
        assert self.run(self.places[place].cache.invalidate_tags(TAGS[key][-1]))

    @rule(place=PLACES)
    def load_many(self, place: int) -> None:
        async def read(keys: Any) -> dict[str, int]:
            return {key: self.source[key] for key in keys}

        async def play() -> Any:
            work = self.places[place].cache.get_or_load_many(
                ["a", "b"], read, ttl_seconds=TTL_SECONDS, tags_of=lambda key: TAGS[key]
            )
            return await self.places[place].soon(asyncio.create_task(work), step_seconds=0.05)

        assert self.run(play()) == self.source

    @rule(seconds=st.sampled_from((0.5, 4.0, 9.0, 10.0, 16.0)))
    def let_time_pass(self, seconds: float) -> None:
        self.run(self.clock.advance(seconds))

    @invariant()
    def no_entry_is_without_an_end(self) -> None:
        async def ends() -> list[int]:
            keys = await self.store.command("KEYS", "*")
            return [await self.store.command("PTTL", key) for key in keys]

        assert all(left > 0 for left in self.run(ends()))


TestCacheAgainstItsModel = CacheMachine.TestCase
TestCacheAgainstItsModel.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


class VersionMachine(RuleBasedStateMachine):
    """Versions alone: whatever the order, the newest that was stored or announced rules."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.newest = 0
        self.cached: int | None = None
        self.store = open_store("memory://", test_clock=self.clock)
        self.process = Process(self.store, self.clock)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.run(self.process.cache.close())
        self.run(self.store.close())
        self.loop.close()

    @rule(version=st.integers(0, 12) | st.integers(2**53 - 1, 2**53 + 1))
    def put(self, version: int) -> None:
        done = self.run(self.process.cache.set("key", str(version), version=version))
        assert done == (version >= self.newest)
        if done:
            self.newest, self.cached = version, version

    @rule(version=st.integers(0, 12) | st.integers(2**53 - 1, 2**53 + 1))
    def load(self, version: int) -> None:
        async def read() -> Versioned:
            return Versioned(str(version), version)

        value = self.run(self.process.cache.get_or_load("key", read))
        if self.cached is None and version >= self.newest:
            self.newest, self.cached = version, version
        assert value == str(version if self.cached is None else self.cached)

    @rule()
    def delete(self) -> None:
        assert self.run(self.process.cache.delete("key"))
        self.cached = None

    @invariant()
    def the_newest_is_served(self) -> None:
        expected = None if self.cached is None else str(self.cached)
        assert self.run(self.process.cache.get("key")) == expected


TestVersionsAgainstTheirModel = VersionMachine.TestCase
TestVersionsAgainstTheirModel.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
