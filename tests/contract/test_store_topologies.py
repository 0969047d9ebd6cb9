"""The store on Sentinel, Cluster and TLS, while real servers die, freeze, forget and change places."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import pytest
from pydantic import SecretStr

from deal_sdk.cache import CacheManager, CachePolicy
from deal_sdk.clock import SystemClock
from deal_sdk.errors import ConfigurationError, StoreUnavailableError
from deal_sdk.limits import (
    Gate,
    KeySpace,
    PurchaseRecords,
    PurchaseRule,
    Store,
    StoreAccess,
    TokenPurchaseTracker,
    open_store,
)
from deal_sdk.metrics import Metrics
from deal_sdk.records import Database
from tests.contract.cache_world import until
from tests.servers import RedisCluster, RedisSentinels, RedisServer, TlsFiles, free_port, make_tls_files
from tests.servers.tls_files import KEY_PASSWORD

pytestmark = pytest.mark.redis

TIMEOUT_SECONDS: Final = 0.5
RETURN_SECONDS: Final = 60.0
PATIENT_TIMEOUT_SECONDS: Final = 5.0
"""Where everything is answered, or refused at once."""
MANY: Final = 1_000_000
KEYS: Final = tuple(f"key-{number}" for number in range(120))


def purchase(user: str, maximum: int = MANY) -> PurchaseRule:
    return PurchaseRule(user, "MINT", maximum)


def gate_over(store: Store) -> Gate:
    return Gate(store, clock=SystemClock(), metrics=Metrics())


class Accountant:
    """Reserves for one user again and again, and knows what must and what may have been counted."""

    def __init__(self, gate: Gate, user: str) -> None:
        self._gate = gate
        self.user = user
        self.allowed = 0
        self.unknown = 0

    async def reserve(self) -> None:
        number = self.allowed + self.unknown
        try:
            decision = await self._gate.reserve(f"{self.user}-{number}", [purchase(self.user)])
        except StoreUnavailableError:
            self.unknown += 1
        else:
            assert decision.allowed
            self.allowed += 1

    async def work_until(self, end: asyncio.Event) -> None:
        while not end.is_set():
            await self.reserve()
            # A store that refuses at once would leave nobody else a turn.
            await asyncio.sleep(0)

    async def check(self) -> None:
        (state,) = await self._gate.peek([purchase(self.user)])
        assert self.allowed <= state.current <= self.allowed + self.unknown


@asynccontextmanager
async def recorded_purchases(store: Store) -> AsyncIterator[TokenPurchaseTracker]:
    clock = SystemClock()
    database = await Database.open("sqlite+aiosqlite://", clock=clock)
    records = PurchaseRecords(database)
    gate = Gate(store, clock=clock, metrics=Metrics(), history=records)
    yield TokenPurchaseTracker(gate, store, records, clock=clock)
    await database.close()


async def eventually_works(store: Store) -> None:
    deadline = time.monotonic() + RETURN_SECONDS
    while time.monotonic() < deadline:
        with suppress(StoreUnavailableError):
            await store.command("SET", "back", "1")
            return
    raise AssertionError("the store did not come back")


class TestCluster:
    @pytest.fixture
    async def store(self, redis_cluster: RedisCluster) -> AsyncIterator[Store]:
        async with open_store(redis_cluster.url, timeout_seconds=TIMEOUT_SECONDS) as store:
            yield store

    async def test_commands_of_one_moment_take_one_trip_to_each_server(
        self, store: Store, redis_cluster: RedisCluster
    ) -> None:
        await store.ping()
        before = [reads_of(node) for node in redis_cluster.masters]
        assert await asyncio.gather(*(store.command("SET", key, key) for key in KEYS)) == [True] * len(KEYS)
        after = [reads_of(node) for node in redis_cluster.masters]
        # Some 40 commands for each server; the nodes' own talk and the connection that asks are counted too.
        assert all(later - earlier < 20 for earlier, later in zip(before, after, strict=True))
        assert await asyncio.gather(*(store.command("GET", key) for key in KEYS)) == [
            key.encode() for key in KEYS
        ]

    async def test_keys_of_two_slots_in_one_command_are_refused(self, store: Store) -> None:
        with pytest.raises(StoreUnavailableError) as raised:
            await store.command("MGET", "{a}", "{b}")
        assert raised.value.facts["answer"] == "ClusterCrossSlotError"

    async def test_a_cancelled_call_leaves_no_reply_for_the_next(self, store: Store) -> None:
        await asyncio.gather(*(store.command("SET", key, f"value of {key}") for key in KEYS))
        for steps in range(8):
            calls = [asyncio.create_task(store.command("GET", key)) for key in KEYS]
            for _ in range(steps):
                await asyncio.sleep(0)
            for call in calls[::2]:
                call.cancel()
            for key, reply in zip(KEYS, await asyncio.gather(*calls, return_exceptions=True), strict=True):
                assert isinstance(reply, asyncio.CancelledError) or reply == f"value of {key}".encode()

    async def test_scripts_come_back_after_a_flush_on_every_server(self, store: Store) -> None:
        gate = gate_over(store)
        users = [f"user-{number}" for number in range(12)]
        for _ in range(2):
            await store.command_everywhere("SCRIPT", "FLUSH")
            decisions = await asyncio.gather(*(gate.take([purchase(user)]) for user in users))
            assert all(decision.allowed for decision in decisions)
        for user in users:
            assert (await gate.peek([purchase(user)]))[0].current == 2

    async def test_counters_that_were_lost_are_counted_again(self, store: Store) -> None:
        users = [f"user-{number}" for number in range(6)]
        async with recorded_purchases(store) as tracker:
            for user in users:
                assert (await tracker.increment_and_validate_purchase(user, "MINT", 2)).success
            await store.command_everywhere("FLUSHALL")
            counts = [
                (await tracker.can_user_purchase_token(user, "MINT", 2)).current_count for user in users
            ]
            assert counts == [1] * len(users)
            again = [await tracker.increment_and_validate_purchase(users[0], "MINT", 2) for _ in range(2)]
            assert [increment.success for increment in again] == [True, False]

    async def test_a_slot_on_its_way_is_followed_by_ask_and_then_for_good(
        self, store: Store, redis_cluster: RedisCluster
    ) -> None:
        gate, user = gate_over(store), "traveller"
        key = gate.keys.rates(user)
        slot, source = redis_cluster.slot_of(key), redis_cluster.owner_of(key)
        target = next(node for node in redis_cluster.masters if node is not source)
        assert (await gate.take([purchase(user)])).allowed
        move_slot(source, target, slot, "begin")
        # Its keys are still here, so these do not run there: neither is anything counted twice.
        assert (await gate.peek([purchase(user)]))[0].current == 1
        move_slot(source, target, slot, "keys")
        assert (await gate.take([purchase(user)])).allowed
        move_slot(source, target, slot, "end")
        assert (await gate.take([purchase(user)])).allowed
        assert (await gate.peek([purchase(user)]))[0].current == 3
        move_slot(target, source, slot, "all")

    async def test_a_cluster_without_the_slot_says_so(
        self, store: Store, redis_cluster: RedisCluster
    ) -> None:
        await store.ping()
        owner = redis_cluster.owner_of("{user}")
        slot = redis_cluster.slot_of("{user}")
        with owner.client() as client:
            client.execute_command("CLUSTER DELSLOTS", slot)
        try:
            with pytest.raises(StoreUnavailableError) as raised:
                await gate_over(store).reserve("payment", [purchase("user")])
            assert raised.value.retryable
        finally:
            with owner.client() as client:
                client.execute_command("CLUSTER ADDSLOTS", slot)

    async def test_a_node_alone_is_no_store(self, redis_cluster: RedisCluster) -> None:
        node = redis_cluster.masters[0]
        elsewhere = next(key for key in KEYS if redis_cluster.owner_of(key) is not node)
        async with open_store(node.url) as store:
            with pytest.raises(StoreUnavailableError) as raised:
                await store.command("GET", elsewhere)
        assert raised.value.facts["answer"] == "MovedError"


class TestClusterFaults:
    @pytest.fixture
    def cluster(self) -> Iterator[RedisCluster]:
        cluster = RedisCluster(replicas=1)
        cluster.start()
        yield cluster
        cluster.remove()

    async def test_through_failover_freeze_and_death(self, cluster: RedisCluster) -> None:
        first = cluster.masters[0]
        users = [f"user-{number}" for number in range(30)]
        async with open_store(cluster.url, timeout_seconds=2 * TIMEOUT_SECONDS) as store:
            gate = gate_over(store)
            workers = [Accountant(gate, user) for user in users]
            await self._work_while(workers, cluster.fail_over)
            assert all(worker.allowed for worker in workers)
            for worker in workers:
                await worker.check()

            # The new master freezes: its users get typed errors in time, all others go on.
            frozen = cluster.replicas[0]
            theirs = {user for user in users if cluster.owner_of(gate.keys.rates(user)) is frozen}
            assert theirs
            assert theirs != set(users)
            # However slow this machine is, nobody takes its place before the test wants it.
            cluster.allow_failover(first, allowed=False)
            before = {worker.user: worker.unknown for worker in workers}
            frozen.pause()
            await asyncio.gather(*(worker.reserve() for worker in workers))
            assert {worker.user for worker in workers if worker.unknown > before[worker.user]} == theirs
            frozen.resume()
            await eventually_works_for(gate, sorted(theirs)[0])
            for worker in workers:
                await worker.check()

            # It dies for good with writes that its replica has not got, and the replica takes its place.
            async with recorded_purchases(store) as tracker:
                user = sorted(theirs)[0]
                first.pause()
                for _ in range(3):
                    assert (await tracker.increment_and_validate_purchase(user, "NEW", 5)).success
                frozen.kill()
                first.resume()
                cluster.allow_failover(first, allowed=True)
                await eventually_works_for(gate, user)
                assert cluster.owner_of(gate.keys.rates(user)) is first
                assert (await tracker.can_user_purchase_token(user, "NEW", 5)).current_count == 3
                assert (await tracker.increment_and_validate_purchase(user, "NEW", 5)).new_count == 4
            assert len(await store.command_everywhere("PING")) == 3

    @staticmethod
    async def _work_while(workers: list[Accountant], what: object) -> None:
        end = asyncio.Event()
        tasks = [asyncio.create_task(worker.work_until(end)) for worker in workers]
        assert callable(what)
        try:
            await asyncio.to_thread(what)
        finally:
            # Also where it failed: the workers would never end.
            end.set()
            await asyncio.gather(*tasks)
        await asyncio.gather(*(worker.reserve() for worker in workers))


@asynccontextmanager
async def two_caches(store: Store, url: str) -> AsyncIterator[tuple[CacheManager, CacheManager]]:
    """The caches of two processes that keep entries for themselves, for longer than any test takes."""
    policy = CachePolicy(local_entries=10, local_ttl_seconds=3_600.0)
    async with open_store(url, timeout_seconds=PATIENT_TIMEOUT_SECONDS) as other:
        caches = [
            CacheManager(each, "profiles", policy=policy, clock=SystemClock(), metrics=Metrics())
            for each in (store, other)
        ]
        yield caches[0], caches[1]
        for cache in caches:
            await cache.close()


async def changes_are_heard(writer: CacheManager, reader: CacheManager, value: str) -> None:
    """What one process writes ends what the other holds, soon."""

    async def is_heard() -> bool:
        # Written again only where the store itself has lost it: a failover keeps what the replica had.
        found = await writer.find("key")
        if found is None or found.value != value:
            await writer.set("key", value)
        return await reader.get("key") == value

    await until(is_heard)


class TestSentinel:
    async def test_through_a_failover_and_the_death_of_the_master(
        self, redis_sentinels: RedisSentinels
    ) -> None:
        async with (
            open_store(redis_sentinels.url, timeout_seconds=PATIENT_TIMEOUT_SECONDS) as store,
            two_caches(store, redis_sentinels.url) as (writer, reader),
        ):
            await changes_are_heard(writer, reader, "before")
            worker = Accountant(gate_over(store), "user")
            await worker.reserve()
            with redis_sentinels.master.client() as client:
                assert client.wait(1, 5_000) == 1
            await asyncio.to_thread(redis_sentinels.fail_over)
            # The former master lives on as a replica: it is left, and the new one learns the scripts.
            await worker.reserve()
            assert (worker.allowed, worker.unknown) == (2, 0)
            assert await counted(redis_sentinels.replica, worker) == 2
            await changes_are_heard(writer, reader, "after the failover")

            with redis_sentinels.replica.client() as client:
                assert client.wait(1, 5_000) == 1
            async with recorded_purchases(store) as tracker:
                # These are acknowledged and never reach the replica: the record knows of them.
                redis_sentinels.master.pause()
                for _ in range(3):
                    assert (await tracker.increment_and_validate_purchase("user", "NEW", 5)).success
                redis_sentinels.notice_deaths()
                redis_sentinels.replica.kill()
                redis_sentinels.master.resume()
                # A typed error, or the new master's answer where it came quickly.
                await worker.reserve()
                await asyncio.to_thread(redis_sentinels.wait_for, redis_sentinels.master)
                await eventually_works(store)
                await worker.reserve()
                assert worker.allowed >= 3
                await worker.check()
                assert await counted(redis_sentinels.master, worker) >= 3
                assert (await tracker.can_user_purchase_token("user", "NEW", 5)).current_count == 3
                assert (await tracker.increment_and_validate_purchase("user", "NEW", 5)).new_count == 4
            await changes_are_heard(writer, reader, "after the death")

    async def test_a_look_up_ends_with_the_store(self, redis_server: RedisServer) -> None:
        url = redis_server.url.replace("redis://", "redis+sentinel://").replace("/0", "/nobody")
        store = open_store(url)
        call = asyncio.create_task(store.command("GET", "key"))
        redis_server.pause()
        await asyncio.sleep(0)
        await store.close()
        with pytest.raises(StoreUnavailableError):
            await call

    async def test_a_server_that_is_no_sentinel_says_so(self, redis_server: RedisServer) -> None:
        url = redis_server.url.replace("redis://", "redis+sentinel://").replace("/0", "/nobody")
        async with open_store(url, timeout_seconds=TIMEOUT_SECONDS) as store:
            with pytest.raises(StoreUnavailableError) as raised:
                await store.ping()
        assert raised.value.facts["reason"] == "refused"


class TestOneServer:
    async def test_a_replica_refuses_and_counts_nothing(self, redis_server: RedisServer) -> None:
        with redis_server.client() as client:
            client.execute_command("REPLICAOF", "127.0.0.1", free_port())
        async with open_store(redis_server.url, timeout_seconds=TIMEOUT_SECONDS) as store:
            with pytest.raises(StoreUnavailableError) as raised:
                await gate_over(store).take([purchase("user")])
            assert raised.value.facts["answer"] == "ReadOnlyError"
            with redis_server.client() as client:
                client.execute_command("REPLICAOF", "NO", "ONE")
            assert (await gate_over(store).peek([purchase("user")]))[0].current == 0

    async def test_a_server_that_a_script_blocks_is_waited_for(self, redis_server: RedisServer) -> None:
        with redis_server.client() as client:
            client.config_set("busy-reply-threshold", 1)
        async with open_store(redis_server.url, timeout_seconds=2 * TIMEOUT_SECONDS) as store:
            await store.ping()
            slow = asyncio.create_task(store.command("EVAL", "while true do end", 0))
            await asyncio.sleep(0.02)
            blocked = asyncio.create_task(store.command("SET", "key", "1"))
            await asyncio.sleep(0.02)
            with redis_server.client() as client:
                client.script_kill()
            assert await blocked is True
            with pytest.raises(StoreUnavailableError):
                await slow

    async def test_what_was_not_answered_is_counted_once_at_most(self, redis_server: RedisServer) -> None:
        async with open_store(redis_server.url, timeout_seconds=TIMEOUT_SECONDS) as store:
            gate = gate_over(store)
            await gate.take([purchase("user")])
            redis_server.pause()
            with pytest.raises(StoreUnavailableError):
                await gate.take([purchase("user")])
            redis_server.resume()
            assert (await gate.peek([purchase("user")]))[0].current in (1, 2)

    async def test_an_idle_connection_that_the_server_closed_is_no_failure(
        self, redis_server: RedisServer
    ) -> None:
        async with open_store(redis_server.url, timeout_seconds=TIMEOUT_SECONDS) as store:
            await store.command("SET", "key", "1")
            redis_server.restart()
            assert await store.command("GET", "key") is None

    async def test_users_and_passwords_come_from_the_settings(self, redis_server: RedisServer) -> None:
        with redis_server.client() as client:
            client.acl_setuser("payer", enabled=True, passwords=["+right"], commands=["+@all"], keys=["*"])
        right = StoreAccess(username="payer", password=SecretStr("right"))
        wrong = StoreAccess(username="payer", password=SecretStr("wrong-secret"))
        async with open_store(redis_server.url, access=right) as store:
            assert (await store.command("ACL", "WHOAMI")) in (b"payer", "payer")
        async with open_store(redis_server.url, access=wrong) as store:
            with pytest.raises(StoreUnavailableError) as raised:
                await store.ping()
        assert raised.value.facts["reason"] == "authentication"
        url = redis_server.url.replace("redis://", "redis+cluster://payer:wrong-secret@")
        async with open_store(url, timeout_seconds=TIMEOUT_SECONDS) as other:
            with pytest.raises(StoreUnavailableError) as raised:
                await other.ping()
        assert raised.value.facts["reason"] == "authentication"
        assert "secret" not in f"{other!r} {raised.value!r} {raised.value.to_dict()}"
        assert "secret" not in f"{wrong!r} {store!r} {raised.value!r} {raised.value.to_dict()}"


@pytest.fixture(scope="module")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return make_tls_files(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def tls_server(tls_files: TlsFiles) -> Iterator[tuple[RedisServer, int]]:
    """A cluster of one, which asks clients for certificates."""
    port, bus_port = free_port(), free_port()
    options = ["--tls-port", str(port), "--tls-cert-file", str(tls_files.server_certificate)]
    options += ["--tls-key-file", str(tls_files.server_key), "--tls-ca-cert-file", str(tls_files.ca)]
    options += ["--tls-cluster", "yes", "--cluster-enabled", "yes", "--cluster-port", str(bus_port)]
    server = RedisServer(options=options)
    server.start()
    with server.client() as client:
        client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16_383)
    yield server, port
    server.remove()


class TestTls:
    @staticmethod
    def access(tls_files: TlsFiles, **changes: object) -> StoreAccess:
        given: dict[str, object] = {
            "tls_ca_file": str(tls_files.ca),
            "tls_certificate_file": str(tls_files.client_certificate),
            "tls_key_file": str(tls_files.client_key),
            "tls_key_password": SecretStr(KEY_PASSWORD),
        }
        return StoreAccess(**{**given, **changes})  # type: ignore[arg-type]

    @pytest.mark.parametrize("scheme", ["rediss", "rediss+cluster"])
    async def test_with_certificates_of_both_sides(
        self, tls_files: TlsFiles, tls_server: tuple[RedisServer, int], scheme: str
    ) -> None:
        async with open_store(
            f"{scheme}://127.0.0.1:{tls_server[1]}", access=self.access(tls_files)
        ) as store:
            await store.ping()

    async def test_a_server_of_another_authority_is_not_trusted(
        self, tls_files: TlsFiles, tls_server: tuple[RedisServer, int]
    ) -> None:
        access = self.access(tls_files, tls_ca_file=None)
        async with open_store(f"rediss://127.0.0.1:{tls_server[1]}", access=access) as store:
            with pytest.raises(StoreUnavailableError) as raised:
                await store.ping()
        assert raised.value.facts["reason"] == "tls"

    async def test_a_certificate_for_another_host_is_refused_unless_allowed(
        self, tls_files: TlsFiles, tls_server: tuple[RedisServer, int]
    ) -> None:
        url = f"rediss://localhost:{tls_server[1]}"
        async with open_store(url, access=self.access(tls_files)) as store:
            with pytest.raises(StoreUnavailableError):
                await store.ping()
        async with open_store(url, access=self.access(tls_files, tls_check_hostname=False)) as store:
            await store.ping()

    def test_files_that_cannot_be_used_are_named_at_once(self, tls_files: TlsFiles, tmp_path: Path) -> None:
        for change in (
            {"tls_ca_file": str(tmp_path / "missing.pem")},
            {"tls_key_password": SecretStr("wrong-secret")},
            {"tls_key_file": str(tls_files.server_key)},
        ):
            with pytest.raises(ConfigurationError) as raised:
                open_store("rediss://127.0.0.1", access=self.access(tls_files, **change))
            assert "secret" not in str(raised.value)


async def counted(server: RedisServer, worker: Accountant) -> int:
    key = KeySpace().purchase_count(worker.user, "MINT")
    with server.client() as client:
        return int(client.get(key) or 0)


async def eventually_works_for(gate: Gate, user: str) -> None:
    deadline = time.monotonic() + RETURN_SECONDS
    while time.monotonic() < deadline:
        with suppress(StoreUnavailableError):
            await gate.take([PurchaseRule(user, "PROBE", MANY)])
            return
    raise AssertionError("the cluster did not fail over")


def reads_of(node: RedisServer) -> int:
    with node.client() as client:
        return int(client.info("stats")["total_reads_processed"])


def move_slot(source: RedisServer, target: RedisServer, slot: int, step: str) -> None:
    with source.client() as old, target.client() as new:
        source_id, target_id = (client.execute_command("CLUSTER MYID") for client in (old, new))
        if step in ("begin", "all"):
            new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", source_id)
            old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", target_id)
        if step in ("keys", "all"):
            keys = old.execute_command("CLUSTER GETKEYSINSLOT", slot, 100)
            old.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", *keys)
        if step in ("end", "all"):
            new.execute_command("CLUSTER SETSLOT", slot, "NODE", target_id)
            old.execute_command("CLUSTER SETSLOT", slot, "NODE", target_id)
