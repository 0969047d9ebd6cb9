import asyncio
from collections.abc import AsyncIterator

import aiohttp
import orjson
import pytest
from aiohttp import ClientSession

from deal_localnet import Localnet, LocalnetConfig, LocalnetServer

REPLY_SECONDS = 10
HEALTH = {"jsonrpc": "2.0", "id": 1, "method": "getHealth"}


@pytest.fixture
async def localnet() -> AsyncIterator[Localnet]:
    async with Localnet(LocalnetConfig(auto_advance=False)) as localnet:
        yield localnet


@pytest.fixture
async def server(localnet: Localnet) -> AsyncIterator[LocalnetServer]:
    async with LocalnetServer(localnet, rpc_port=0) as server:
        yield server


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession(timeout=aiohttp.ClientTimeout(REPLY_SECONDS)) as session:
        yield session


async def test_health_answers_ok(server: LocalnetServer, http: ClientSession) -> None:
    async with http.get(f"{server.rpc_url}/health") as reply:
        assert (reply.status, await reply.text()) == (200, "ok")


async def test_a_post_is_answered(server: LocalnetServer, http: ClientSession) -> None:
    async with http.post(server.rpc_url, json=HEALTH) as reply:
        assert reply.content_type == "application/json"
        assert await reply.json() == {"jsonrpc": "2.0", "result": "ok", "id": 1}


async def test_an_encoding_that_a_client_only_claims_is_overlooked(
    server: LocalnetServer, http: ClientSession
) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    async with http.post(server.rpc_url, data=orjson.dumps(HEALTH), headers=headers) as reply:
        assert (await reply.json())["result"] == "ok"


@pytest.mark.parametrize(
    ("verb", "headers", "status"),
    [("GET", {}, 405), ("PUT", {}, 405), ("POST", {"content-type": "text/plain"}, 415), ("OPTIONS", {}, 200)],
)
async def test_other_requests_are_refused(
    server: LocalnetServer, http: ClientSession, verb: str, headers: dict[str, str], status: int
) -> None:
    async with http.request(verb, server.rpc_url, headers=headers, data=b"{}") as reply:
        assert reply.status == status


@pytest.mark.parametrize("size", [50 * 1024 + 1, 1_000_000])
async def test_a_huge_body_is_refused(server: LocalnetServer, http: ClientSession, size: int) -> None:
    headers = {"content-type": "application/json"}
    async with http.post(server.rpc_url, data=b" " * size, headers=headers) as reply:
        assert reply.status == 413


async def test_the_websocket_listens_on_both_ports(
    localnet: Localnet, server: LocalnetServer, http: ClientSession
) -> None:
    for url in (server.ws_url, server.rpc_url):
        async with http.ws_connect(url) as socket:
            await socket.send_json({"jsonrpc": "2.0", "id": 1, "method": "slotSubscribe"})
            reply = await asyncio.wait_for(socket.receive_json(), REPLY_SECONDS)
            assert reply["id"] == 1
            localnet.advance_slots()
            told = await asyncio.wait_for(socket.receive_json(), REPLY_SECONDS)
            assert told["method"] == "slotNotification"
            assert told["params"]["subscription"] == reply["result"]


async def test_closing_frees_the_ports(localnet: Localnet, http: ClientSession) -> None:
    async with LocalnetServer(localnet, rpc_port=0) as first:
        port = int(first.rpc_url.rsplit(":", 1)[1])
        socket = await http.ws_connect(first.ws_url)
    assert (await socket.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
    async with (
        LocalnetServer(localnet, rpc_port=port) as again,
        http.post(again.rpc_url, json=HEALTH) as reply,
    ):
        assert reply.status == 200
