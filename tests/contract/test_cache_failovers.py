"""Entries of the process's own tier while servers change places: what is not told of is not kept.

Each failover is made by hand, step by step, so that what a loaded machine shows once in a while happens
every time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest

from deal_sdk.cache import CachePolicy
from deal_sdk.cache.changes import HEARTBEAT_SECONDS
from deal_sdk.clock import ManualClock
from deal_sdk.errors import StoreUnavailableError
from deal_sdk.limits import open_store
from tests.contract.cache_world import Process, sees, serves_itself, until
from tests.contract.switched_redis import FakeSentinel, SwitchedPort
from tests.servers import RedisCluster, RedisServer, free_port
from tests.servers.processes import LOCAL_ADDRESS, wait_until

pytestmark = pytest.mark.redis

LONG = CachePolicy(local_entries=10, local_ttl_seconds=36_000.0)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def successor(redis_factory: Callable[..., RedisServer]) -> RedisServer:
    return redis_factory()


@asynccontextmanager
async def process_on(url: str, clock: ManualClock) -> AsyncIterator[Process]:
    async with open_store(url, timeout_seconds=5.0) as store:
        process = Process(store, clock, LONG)
        yield process
        await process.cache.close()


async def holds(process: Process, key: str, value: str) -> bool:
    """Let its listener go on, and say whether it serves that value by itself."""
    await process.clock.advance(HEARTBEAT_SECONDS)
    return await serves_itself(process, key) and await process.cache.get(key) == value


def follow(server: RedisServer, master_port: int) -> None:
    with server.client() as client:
        client.execute_command("REPLICAOF", LOCAL_ADDRESS, master_port)


def is_in_step(server: RedisServer) -> bool:
    with server.client() as client:
        return "connected" in client.execute_command("ROLE")[3:4]


async def test_a_master_that_became_a_replica_is_left_while_its_connections_live(
    redis_server: RedisServer, successor: RedisServer, clock: ManualClock
) -> None:
    async with process_on(redis_server.url, clock) as mine, process_on(successor.url, clock) as other:
        await mine.cache.set("key", "old")
        await until(lambda: holds(mine, "key", "old"))
        await other.cache.set("key", "new")
        with successor.client() as client:
            client.config_set("repl-diskless-sync-delay", 0)
        # It is synchronized as a whole, which nobody who listens to it is told of.
        follow(redis_server, successor.port)
        wait_until(partial(is_in_step, redis_server), "it did not follow", 10)
        assert await mine.cache.get("key") == "old"
        await clock.advance(HEARTBEAT_SECONDS)
        await until(lambda: sees(mine, "key", "new"))
        for _ in range(3):
            await clock.advance(HEARTBEAT_SECONDS)
            assert not await serves_itself(mine, "key")
        with redis_server.client() as client:
            client.execute_command("REPLICAOF", "NO", "ONE")
        await until(lambda: holds(mine, "key", "new"))


async def test_what_another_server_tells_is_not_enough(
    redis_server: RedisServer, successor: RedisServer, clock: ManualClock
) -> None:
    async with (
        SwitchedPort(redis_server.port) as port,
        process_on(f"redis://{LOCAL_ADDRESS}:{port.port}", clock) as mine,
        process_on(successor.url, clock) as other,
    ):
        await mine.cache.set("key", "old")
        await until(lambda: holds(mine, "key", "old"))
        await other.cache.set("key", "new")
        # The name stands for another server now; the feed alone is still with the first, as a master.
        port.target = successor.port
        with redis_server.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal")
        await clock.advance(HEARTBEAT_SECONDS)
        await until(lambda: sees(mine, "key", "new"))
        await until(lambda: holds(mine, "key", "new"))
        await other.cache.set("key", "newer")
        await until(lambda: sees(mine, "key", "newer"))


async def test_a_feed_is_not_opened_where_not_everything_is_told(
    redis_server: RedisServer, clock: ManualClock
) -> None:
    follow(redis_server, free_port())
    async with open_store(redis_server.url, timeout_seconds=5.0) as store:
        with pytest.raises(StoreUnavailableError) as raised:
            async with store.feed("channel"):
                pass
        assert raised.value.facts["reason"] == "replaced"
        with redis_server.client() as client:
            client.execute_command("REPLICAOF", "NO", "ONE")
        async with store.feed("channel") as feed:
            await feed.confirm()


async def test_a_server_that_forbids_the_question_is_trusted(
    redis_server: RedisServer, clock: ManualClock
) -> None:
    with redis_server.client() as client:
        client.acl_setuser(
            "careful",
            enabled=True,
            passwords=["+word"],
            commands=["+@all", "-info"],
            keys=["*"],
            channels=["*"],
        )
    url = redis_server.url.replace("redis://", "redis://careful:word@")
    async with process_on(url, clock) as mine:
        await mine.cache.set("key", "value")
        await until(lambda: holds(mine, "key", "value"))


async def test_a_master_that_sentinels_replaced_is_not_read_as_a_replica(
    redis_factory: Callable[..., RedisServer],
) -> None:
    master, successor = redis_factory(), redis_factory()
    async with (
        FakeSentinel(master.port) as sentinel,
        open_store(sentinel.url, timeout_seconds=5.0) as store,
    ):
        await store.command("SET", "key", "old")
        with successor.client() as client:
            client.set("key", "new")
        # As a sentinel does it: the former master is told, and loses its connections.
        follow(master, free_port())
        with master.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal")
        # This sentinel does not know yet.
        with pytest.raises(StoreUnavailableError) as raised:
            await store.command("GET", "key")
        assert raised.value.facts["answer"] == "ReadOnlyError"
        sentinel.master_port = successor.port
        assert await store.command("GET", "key") == b"new"


async def test_a_failover_anywhere_in_a_cluster_empties_it(
    redis_cluster: RedisCluster, clock: ManualClock
) -> None:
    async with process_on(redis_cluster.url, clock) as mine:
        await mine.cache.set("key", "value")
        await until(lambda: holds(mine, "key", "value"))
        # What a failover does to the epoch, without one.
        for node in redis_cluster.masters:
            with node.client() as client:
                client.execute_command("CLUSTER", "BUMPEPOCH")

        async def is_empty() -> bool:
            await clock.advance(HEARTBEAT_SECONDS)
            await asyncio.sleep(0.001)
            return mine.cache.local_entries == 0

        await until(is_empty)
        await until(lambda: holds(mine, "key", "value"))
