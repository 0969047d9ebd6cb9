"""Links over real sockets: refused, closed, silent, pinged, and their addresses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import WSMsgType, web

from deal_localnet import Localnet, LocalnetConfig
from deal_sdk.chain import HttpTransport, LocalnetTransport
from deal_sdk.chain.links import MAX_FRAME_BYTES, LocalnetLinks, WebSocketLinks, links_of, websocket_url
from deal_sdk.clock import SystemClock
from deal_sdk.errors import RpcRefusedError, RpcUnavailableError
from tests.unit.chain.scripted import ScriptedNode

SECRET = "api-key-that-nobody-may-see"
PATIENCE_SECONDS = 10


@asynccontextmanager
async def served(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_get("/", handler)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    yield f"ws://127.0.0.1:{runner.addresses[0][1]}/?key={SECRET}"
    await runner.cleanup()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[WebSocketLinks]:
    links = WebSocketLinks(url)
    yield links
    await links.close()


async def echo(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT and message.data == "end":
            break
        if message.type is WSMsgType.TEXT and message.data == "flood":
            await socket.send_str("x" * (MAX_FRAME_BYTES + 1))
        elif message.type is WSMsgType.TEXT and message.data == "ping":
            await socket.ping()
        elif message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
    return socket


@pytest.mark.parametrize(
    ("rpc_url", "expected"),
    [
        ("http://127.0.0.1:8899", "ws://127.0.0.1:8900"),
        ("https://rpc.example", "wss://rpc.example"),
        ("https://rpc.example/v2/key?api=1", "wss://rpc.example/v2/key?api=1"),
        ("http://user:word@rpc.example:80/x", "ws://user:word@rpc.example:81/x"),
        ("http://[::1]:8899", "ws://[::1]:8900"),
    ],
)
def test_the_address_is_derived_as_solana_clients_do(rpc_url: str, expected: str) -> None:
    assert websocket_url(rpc_url) == expected


async def test_messages_and_signs_of_life() -> None:
    async with served(echo) as url, opened(url) as links, asyncio.timeout(PATIENCE_SECONDS):
        link = await links.open()
        await link.send("hello")
        assert await link.receive() == "hello"
        await link.ping()
        assert await link.receive() is None
        await link.send("ping")
        assert await link.receive() is None
        await link.close()


@pytest.mark.parametrize("word", ["end", "flood"])
async def test_an_end_by_the_other_side_is_one_error(word: str) -> None:
    async with served(echo) as url, opened(url) as links, asyncio.timeout(PATIENCE_SECONDS):
        link = await links.open()
        await link.send(word)
        with pytest.raises(RpcUnavailableError):
            await link.receive()
        await link.close()
        with pytest.raises(RpcUnavailableError) as caught:
            await link.send("more")
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("status", [404, 405, 426])
async def test_an_endpoint_without_websocket_refuses(status: int) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    async with served(refuse) as url, opened(url) as links, asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(RpcRefusedError) as caught:
            await links.open()
        assert caught.value.rpc_code == status
        assert SECRET not in str(caught.value) + repr(links)


async def test_a_server_error_and_a_closed_port_are_passing_troubles() -> None:
    async def fail(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503)

    async with served(fail) as url, opened(url) as links, asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(RpcUnavailableError):
            await links.open()
    async with opened(url) as links, asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(RpcUnavailableError):
            await links.open()


async def test_a_silent_socket_gives_no_sign_of_life() -> None:
    done = asyncio.Event()

    async def mute(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        await done.wait()
        return socket

    async with served(mute) as url, opened(url) as links, asyncio.timeout(PATIENCE_SECONDS):
        link = await links.open()
        await link.ping()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await link.receive()
        done.set()
        await link.close()


async def test_each_transport_has_its_links_or_none() -> None:
    clock = SystemClock()
    http = HttpTransport(f"https://rpc.example:10/?key={SECRET}", clock=clock)
    derived, given = links_of(http, None), links_of(http, "wss://other.example/")
    assert (derived and derived.endpoint, given and given.endpoint) == (
        "wss://rpc.example:11",
        "wss://other.example",
    )
    assert links_of(ScriptedNode(), "wss://other.example") is None
    async with Localnet(LocalnetConfig(auto_advance=False)) as chain:
        links = links_of(LocalnetTransport(chain, clock=clock), None)
        assert isinstance(links, LocalnetLinks)
        link = await links.open()
        await link.ping()
        assert await link.receive() is None
        await link.send("garbage")
        assert b"error" in str(await link.receive()).encode()
        await link.close()
