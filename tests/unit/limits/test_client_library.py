"""What the store relies on of redis-py beside its documented commands, by name."""

from __future__ import annotations

import asyncio
import inspect

import pytest
import redis.asyncio
import redis.exceptions as redis_errors
from redis.asyncio.client import PubSub

from deal_sdk.errors import ConfigurationError
from deal_sdk.limits import open_store
from deal_sdk.limits._errors import error_reply


async def test_a_connection_keeps_its_stream_where_it_is_taken_from() -> None:
    async def agree(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"+OK\r\n" * 8)
        await reader.read()
        writer.close()
        gone.set()

    gone = asyncio.Event()
    server = await asyncio.start_server(agree, "127.0.0.1", 0)
    connection = redis.asyncio.Connection(port=server.sockets[0].getsockname()[1])
    assert connection._writer is None
    await connection.connect()
    transport = connection._writer.transport
    assert isinstance(transport, asyncio.WriteTransport)
    transport.set_protocol(asyncio.Protocol())
    await connection.disconnect(nowait=True)
    await gone.wait()
    server.close()


async def test_a_pool_makes_connections_that_belong_to_their_maker() -> None:
    pool = redis.asyncio.ConnectionPool(port=1)
    first, second = pool.make_connection(), pool.make_connection()
    assert first is not second
    assert not first.is_connected
    await first.disconnect(nowait=True)
    await pool.aclose()


def test_a_subscription_can_ask_before_it_subscribes() -> None:
    assert {"execute_command", "parse_response", "subscribe", "get_message", "ping", "aclose"} <= set(
        dir(PubSub)
    )
    assert inspect.signature(PubSub.parse_response).parameters["block"].default is True


def test_another_client_library_is_refused_when_a_store_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        """A connection that keeps its stream to itself."""

    monkeypatch.setattr(redis.asyncio, "Connection", Other)
    for url in ("redis://host", "redis+cluster://host", "redis+sentinel://host/deal"):
        with pytest.raises(ConfigurationError, match="requirements"):
            open_store(url)


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("ASK 42 127.0.0.1:7001", redis_errors.AskError, "42 127.0.0.1:7001"),
        ("CLUSTERDOWN The cluster is down", redis_errors.ClusterDownError, "The cluster is down"),
        ("CROSSSLOT Keys differ", redis_errors.ClusterCrossSlotError, "Keys differ"),
        ("LOADING Redis is loading", redis_errors.BusyLoadingError, "Redis is loading"),
        ("MASTERDOWN Link with MASTER is down", redis_errors.MasterDownError, "Link with MASTER is down"),
        ("MOVED 42 127.0.0.1:7001", redis_errors.MovedError, "42 127.0.0.1:7001"),
        ("NOAUTH Authentication required.", redis_errors.AuthenticationError, "Authentication required."),
        ("NOPERM no permissions", redis_errors.NoPermissionError, "no permissions"),
        ("NOSCRIPT No matching script.", redis_errors.NoScriptError, "No matching script."),
        ("OOM command not allowed", redis_errors.OutOfMemoryError, "command not allowed"),
        ("READONLY You can't write", redis_errors.ReadOnlyError, "You can't write"),
        ("TRYAGAIN Multiple keys", redis_errors.TryAgainError, "Multiple keys"),
        ("WRONGPASS invalid", redis_errors.AuthenticationError, "invalid"),
        ("BUSY Redis is busy", redis_errors.ResponseError, "BUSY Redis is busy"),
        ("ERR value is not an integer", redis_errors.ResponseError, "ERR value is not an integer"),
        ("", redis_errors.ResponseError, ""),
    ],
)
def test_error_replies_become_the_librarys_exceptions(text: str, kind: type[Exception], said: str) -> None:
    error = error_reply(text)
    assert type(error) is kind
    assert str(error) == said
