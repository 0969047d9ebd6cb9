"""Sentinel and Cluster over TLS, with users and passwords: limits and the cache's feed work as without."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final

import pytest
from pydantic import SecretStr

from deal_sdk.clock import SystemClock
from deal_sdk.errors import StoreUnavailableError
from deal_sdk.limits import Gate, PurchaseRule, RateRule, Reservation, Settled, Store, StoreAccess, open_store
from deal_sdk.metrics import Metrics
from tests.servers import RedisServer, TlsFiles, free_port, make_tls_files
from tests.servers.processes import wait_until
from tests.servers.tls_files import KEY_PASSWORD

pytestmark = pytest.mark.redis

HALF: Final = 8_192
MASTER_NAME: Final = "deal"


@pytest.fixture(scope="module")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return make_tls_files(tmp_path_factory.mktemp("tls"))


def tls_options(files: TlsFiles, port: int) -> list[str]:
    options = ["--tls-port", str(port), "--tls-cert-file", str(files.server_certificate)]
    options += ["--tls-key-file", str(files.server_key), "--tls-ca-cert-file", str(files.ca)]
    return options


def access_with(files: TlsFiles, **more: Any) -> StoreAccess:
    return StoreAccess(
        tls_ca_file=str(files.ca),
        tls_certificate_file=str(files.client_certificate),
        tls_key_file=str(files.client_key),
        tls_key_password=SecretStr(KEY_PASSWORD),
        **more,
    )


@pytest.fixture
def servers() -> Iterator[ExitStack]:
    with ExitStack() as servers:
        yield servers


def started(servers: ExitStack, server: RedisServer) -> RedisServer:
    servers.callback(server.remove)
    server.start()
    return server


async def use_limits(store: Store, users: int) -> None:
    gate = Gate(store, clock=SystemClock(), metrics=Metrics())
    for number in range(users):
        user = f"user-{number}"
        rules = [PurchaseRule(user, "MINT", 1), RateRule(user, "op", "Gift", 9, 9)]
        assert (await gate.reserve(f"payment-{number}", rules)).allowed
        assert not (await gate.reserve(f"again-{number}", rules)).allowed
        assert await gate.cancel(Reservation(f"payment-{number}", user)) is Settled.CANCELLED
        assert (await gate.take(rules)).allowed


async def hear(store: Store) -> None:
    async with asyncio.timeout(10), store.feed("channel") as feed:
        await store.command("PUBLISH", "channel", "changed")
        assert (await feed.next()).data == b"changed"
        await feed.ping()
        assert (await feed.next()).is_pong


async def test_a_cluster_over_tls(tls_files: TlsFiles, servers: ExitStack) -> None:
    ports, nodes = [free_port(), free_port()], []
    bus_ports = [free_port(), free_port()]
    for port, bus_port in zip(ports, bus_ports, strict=True):
        options = [*tls_options(tls_files, port), "--tls-cluster", "yes", "--cluster-enabled", "yes"]
        nodes.append(started(servers, RedisServer(options=[*options, "--cluster-port", str(bus_port)])))
    with nodes[0].client() as first, nodes[1].client() as second:
        first.execute_command("CLUSTER ADDSLOTSRANGE", 0, HALF - 1)
        second.execute_command("CLUSTER ADDSLOTSRANGE", HALF, 2 * HALF - 1)
        second.execute_command("CLUSTER SET-CONFIG-EPOCH", 2)
        first.execute_command("CLUSTER MEET", "127.0.0.1", ports[1], bus_ports[1])

        def is_whole() -> bool:
            infos = [client.execute_command("CLUSTER INFO") for client in (first, second)]
            slots = {info["cluster_slots_ok"] for info in infos}
            return slots == {str(2 * HALF)} and all(info["cluster_state"] == "ok" for info in infos)

        wait_until(is_whole, "the cluster did not form", 30.0)
    # The other node is found by its TLS port, which only the cluster tells.
    url = f"rediss+cluster://127.0.0.1:{ports[0]}"
    async with open_store(url, access=access_with(tls_files), timeout_seconds=5.0) as store:
        await use_limits(store, 8)
        assert len(await store.command_everywhere("PING")) == 2
    for node in nodes:
        with node.client() as client:
            assert client.dbsize() > 0


async def test_sentinel_over_tls_with_users_and_passwords(tls_files: TlsFiles, servers: ExitStack) -> None:
    master_port, sentinel_port = free_port(), free_port()
    master = started(servers, RedisServer(options=tls_options(tls_files, master_port)))
    lines = [f"sentinel monitor {MASTER_NAME} 127.0.0.1 {master_port} 1", "tls-replication yes"]
    options = tls_options(tls_files, sentinel_port)
    configuration = "\n".join(lines) + "\n"
    watcher = started(servers, RedisServer(options=options, sentinel_configuration=configuration))
    for server, name, password in ((master, "payer", "master-secret"), (watcher, "asker", "sentinel-secret")):
        with server.client() as client:
            client.acl_setuser(
                name, enabled=True, passwords=[f"+{password}"], commands=["+@all"], keys=["*"], channels=["*"]
            )
            client.acl_setuser("default", enabled=False)
    url = f"rediss+sentinel://127.0.0.1:{sentinel_port}/{MASTER_NAME}"
    users = {"username": "payer", "sentinel_username": "asker"}
    right = {"password": SecretStr("master-secret"), "sentinel_password": SecretStr("sentinel-secret")}
    async with open_store(url, access=access_with(tls_files, **users, **right)) as store:
        await use_limits(store, 2)
        await hear(store)
    for wrong in ("password", "sentinel_password"):
        access = access_with(tls_files, **users, **{**right, wrong: SecretStr("wrong-secret")})
        async with open_store(url, access=access) as store:
            with pytest.raises(StoreUnavailableError) as raised:
                await store.ping()
        assert raised.value.facts["reason"] == "authentication"
        assert "secret" not in f"{store!r} {raised.value!r} {raised.value.to_dict()}"
