"""The servers that other tests rely on: started, faulted, healed and isolated for real."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
import redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.servers import PostgresServer, RedisServer, ServerProcess


@pytest.mark.parametrize("_turn", [1, 2])
def test_redis_is_empty_at_each_start(redis_server: RedisServer, _turn: int) -> None:
    with redis_server.client() as client:
        assert client.dbsize() == 0
        client.set("left", "over")


def test_redis_restarts_on_its_port_without_its_data(redis_server: RedisServer) -> None:
    url = redis_server.url
    with redis_server.client() as client:
        client.set("key", "value")
    redis_server.kill()
    with redis_server.client() as client, pytest.raises(redis.ConnectionError):
        client.ping()
    redis_server.start()
    assert redis_server.url == url
    with redis_server.client() as client:
        assert client.get("key") is None


def test_a_paused_redis_answers_nothing_until_resumed(redis_server: RedisServer) -> None:
    redis_server.pause()
    with socket.create_connection(("127.0.0.1", redis_server.port), timeout=0.2) as connection:
        connection.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            connection.recv(16)
    redis_server.resume()
    with redis_server.client() as client:
        assert client.ping()


@pytest.mark.parametrize("damage", ["kill", "pause"])
def test_damage_is_healed_for_the_next_test(redis_server: RedisServer, damage: str) -> None:
    getattr(redis_server, damage)()


def test_a_redis_that_keeps_data_has_it_after_a_crash(redis_factory: Callable[..., RedisServer]) -> None:
    server = redis_factory(keep_data=True)
    with server.client() as client:
        client.set("key", "value")
    server.restart()
    with server.client() as client:
        assert client.get("key") == "value"


@pytest.mark.parametrize("_turn", [1, 2])
async def test_each_test_has_an_empty_database(postgres_url: str, _turn: int) -> None:
    engine = create_async_engine(postgres_url)
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE only_here (id int)"))
    await engine.dispose()


@pytest.mark.parametrize("damage", ["stop", "crash"])
async def test_postgres_keeps_committed_rows(
    postgres_server: PostgresServer, postgres_url: str, damage: str
) -> None:
    engine = create_async_engine(postgres_url)
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE kept (id int)"))
    await engine.dispose()
    getattr(postgres_server, damage)()
    assert not postgres_server.running
    postgres_server.start()
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM kept"))).scalar() == 0
    await engine.dispose()


def test_a_server_that_exits_at_its_start_says_why() -> None:
    process = ServerProcess("broken")
    try:
        with pytest.raises(RuntimeError, match="no such flag"):
            process.start(["sh", "-c", "echo no such flag; exit 3"], lambda: False)
        assert not process.running
    finally:
        process.remove()


def test_a_server_that_never_answers_is_ended_at_the_deadline() -> None:
    process = ServerProcess("silent")
    try:
        with pytest.raises(RuntimeError, match="did not answer"):
            process.start(["sleep", "60"], lambda: False, timeout_seconds=0.2)
        assert not process.running
    finally:
        process.remove()
