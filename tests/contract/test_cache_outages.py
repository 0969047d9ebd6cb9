"""What a cache answers while a real Redis is gone or frozen, and what it still knows when it is back."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from deal_sdk.cache import BalanceManager, CacheManager, CachePolicy
from deal_sdk.clock import ManualClock, SystemClock
from deal_sdk.limits import Store, open_store
from deal_sdk.metrics import Metrics
from tests.contract.cache_world import Process, Source, until
from tests.contract.test_cache_balances import ACCOUNT, Chain
from tests.servers import RedisServer

pytestmark = pytest.mark.redis

TIMEOUT_SECONDS: Final = 0.3
BROKEN = pytest.mark.parametrize("how", ["killed", "paused"])


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[Store]:
    async with open_store(redis_server.url, timeout_seconds=TIMEOUT_SECONDS) as store:
        yield store


@pytest.fixture
async def process(store: Store) -> AsyncIterator[Process]:
    process = Process(store, ManualClock())
    yield process
    await process.cache.close()


def break_server(server: RedisServer, how: str) -> None:
    server.kill() if how == "killed" else server.pause()


def mend_server(server: RedisServer, how: str) -> None:
    server.start() if how == "killed" else server.resume()


@BROKEN
class TestWithoutStore:
    async def test_callers_see_the_sources_value_and_one_line_is_logged(
        self, process: Process, redis_server: RedisServer, how: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        break_server(redis_server, how)
        source = Source("value")
        with caplog.at_level(logging.INFO):
            for number in range(30):
                assert await process.cache.get_or_load(f"key-{number}", source.read) == "value"
                assert await process.cache.get(f"key-{number}", "default") == "default"
        assert source.reads == 30
        assert len(caplog.records) == 1
        assert "the cache profiles reads its source until it is back" in caplog.text
        assert process.requests("error") == 60

    async def test_after_three_failures_nobody_waits_for_the_store(
        self, process: Process, redis_server: RedisServer, how: str
    ) -> None:
        break_server(redis_server, how)
        started = time.monotonic()
        for _ in range(100):
            await process.cache.get_or_load("key", Source("value").read)
        # Three waits at most, where the store does not even refuse; a hundred would take three times as long.
        assert time.monotonic() - started < 30 * TIMEOUT_SECONDS

    async def test_those_who_ask_at_once_still_load_once(
        self, process: Process, redis_server: RedisServer, how: str
    ) -> None:
        break_server(redis_server, how)
        source = Source("value")
        source.answered.clear()
        asking = asyncio.gather(*(process.cache.get_or_load("key", source.read) for _ in range(50)))

        async def all_were_told() -> bool:
            return process.requests("error") == 50

        # The store's failure reaches them one by one; all of them have joined before the source answers.
        await until(all_were_told)
        source.answered.set()
        assert set(await asking) == {"value"}
        assert source.reads == 1

    async def test_batches_and_balances_go_on(
        self, process: Process, store: Store, redis_server: RedisServer, how: str
    ) -> None:
        break_server(redis_server, how)
        chain = Chain()
        balances = BalanceManager(
            store,
            reader=chain,
            resolver=chain,
            reservations=chain,
            clock=ManualClock(),
            metrics=Metrics(),
        )

        async def read(keys: Any) -> dict[str, int]:
            return dict.fromkeys(keys, 1)

        assert await process.cache.get_or_load_many(["a", "b"], read, tags_of=lambda key: ["tag"]) == {
            "a": 1,
            "b": 1,
        }
        assert not await process.cache.set_many({"a": 1})
        assert (await balances.get_or_load_many([ACCOUNT]))[ACCOUNT].slot == 100
        await balances.close()


async def test_what_changed_meanwhile_is_not_served_when_it_is_back(
    process: Process, redis_server: RedisServer
) -> None:
    cache = process.cache
    for key in ("deleted", "written", "tagged", "untouched"):
        await cache.set(key, "old", tags=[key])
    # A server that comes back with its data, as after a broken network.
    redis_server.pause()
    assert not await cache.delete("deleted")
    assert not await cache.set("written", "new")
    assert not await cache.invalidate_tags("tagged")
    redis_server.resume()
    await process.clock.advance(5)
    assert await cache.get_many(["deleted", "written", "tagged", "untouched"]) == {"untouched": "old"}


async def test_others_do_not_see_it_either_once_the_store_was_told(
    process: Process, redis_server: RedisServer
) -> None:
    await process.cache.set("key", "old")
    redis_server.pause()
    assert not await process.cache.delete("key")
    redis_server.resume()
    async with open_store(redis_server.url) as store:
        other = Process(store, process.clock)

        async def is_gone() -> bool:
            # The one who owes it tries again by itself; nobody reads there.
            await process.clock.advance(1)
            return not await other.has("key")

        await until(is_gone)
        await other.cache.close()


async def test_a_balance_that_could_not_be_invalidated_is_not_shown_afterwards(
    store: Store, redis_server: RedisServer
) -> None:
    chain, clock = Chain(), ManualClock()
    balances = BalanceManager(
        store, reader=chain, resolver=chain, reservations=chain, clock=clock, metrics=Metrics()
    )
    await balances.put(ACCOUNT, 1, 90)
    redis_server.pause()
    assert not await balances.invalidate(ACCOUNT, slot=95)
    redis_server.resume()
    await clock.advance(5)
    assert await balances.get(ACCOUNT) is None
    await balances.put(ACCOUNT, 1, 94)
    assert await balances.get(ACCOUNT) is None
    await balances.close()


@BROKEN
async def test_a_lost_feed_empties_the_tier_until_it_is_back(
    store: Store, redis_server: RedisServer, how: str
) -> None:
    clock = ManualClock()
    policy = CachePolicy(local_entries=10, local_ttl_seconds=600)
    mine, source = Process(store, clock, policy), Source("new")

    async def is_local() -> bool:
        await clock.advance(0.5)
        await mine.cache.get("key")
        before = mine.requests("hit")
        return await mine.cache.get("key") is not None and mine.requests("hit") == before

    await mine.cache.set("key", "old")
    await until(is_local)
    break_server(redis_server, how)
    # The bound for a connection that is lost without a sign.
    await clock.advance(3.0)
    assert await mine.cache.get_or_load("key", source.read) == "new"
    assert source.reads == 1
    mend_server(redis_server, how)
    await clock.advance(5)
    await mine.cache.set("key", "again")
    await until(is_local)
    await mine.cache.close()


RACER: Final = """
import asyncio, sys
from deal_sdk.cache import CacheManager
from deal_sdk.limits import open_store

async def main():
    async with open_store(sys.argv[1], timeout_seconds=20) as store:
        cache = CacheManager(store, "race")
        async def read():
            print("reading", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            return "old"
        print(await cache.get_or_load("key", read), flush=True)
        await cache.close()

asyncio.run(main())
"""


def start_racer(url: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "sdk")}
    return subprocess.Popen(
        [sys.executable, "-c", RACER, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def hear(racer: subprocess.Popen[str]) -> str:
    assert racer.stdout is not None
    return racer.stdout.readline().strip()


async def test_the_stale_set_race_between_real_processes(redis_server: RedisServer) -> None:
    racer = start_racer(redis_server.url)
    try:
        assert await asyncio.to_thread(hear, racer) == "reading"
        async with open_store(redis_server.url, timeout_seconds=20) as store:
            cache = CacheManager(store, "race", clock=SystemClock())
            await cache.set("key", "written")
            await cache.delete("key")
            assert await asyncio.to_thread(racer.communicate, "go\n", 20) == ("old\n", None)
            assert await cache.get("key") is None
            await cache.close()
    finally:
        racer.kill()
