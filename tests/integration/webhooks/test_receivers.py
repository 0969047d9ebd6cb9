"""Real receivers over HTTP: good ones, slow ones, broken ones, and ones that lead elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from deal_sdk.clock import SystemClock
from deal_sdk.webhooks import HttpSender, NoReplyError, WebhookReply

pytestmark = pytest.mark.slow

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[str]]
BODY = b'{"id":"1"}'
HEADERS = {"Content-Type": "application/json", "Deal-Event-Id": "1"}


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start receivers, each with one handler, and return its URL."""
    servers: list[TestServer] = []

    async def start(handler: Handler) -> str:
        application = web.Application()
        application.router.add_route("*", "/{tail:.*}", handler)
        server = TestServer(application)
        await server.start_server()
        servers.append(server)
        return str(server.make_url("/hook"))

    yield start
    for server in servers:
        await server.close()


@pytest.fixture
async def sender() -> AsyncIterator[HttpSender]:
    opened = HttpSender(clock=SystemClock(), timeout_seconds=10.0, allow_private_networks=True)
    yield opened
    await opened.close()


async def test_a_body_arrives_as_it_was_given(serve: Serve, sender: HttpSender) -> None:
    seen: list[tuple[str, bytes, str]] = []

    async def receive(request: web.Request) -> web.Response:
        seen.append((request.method, await request.read(), request.headers["Deal-Event-Id"]))
        return web.Response(status=204)

    assert await sender.post(await serve(receive), BODY, HEADERS) == WebhookReply(204)
    assert seen == [("POST", BODY, "1")]


async def test_a_redirect_is_not_followed(serve: Serve, sender: HttpSender) -> None:
    visits: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        visits.append(request.path)
        return web.Response()

    target = await serve(elsewhere)

    async def redirect(request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": target})

    assert (await sender.post(await serve(redirect), BODY, HEADERS)).status == 307
    assert visits == []


async def test_retry_after_is_read_in_both_forms(serve: Serve, sender: HttpSender) -> None:
    wishes = iter(["7", format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True), "soon"])

    async def busy(request: web.Request) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": next(wishes)})

    url = await serve(busy)
    replies = [await sender.post(url, BODY, HEADERS) for _ in range(3)]
    assert replies[0] == WebhookReply(429, 7.0)
    assert 50 < (replies[1].retry_after_seconds or 0) <= 60
    assert replies[2] == WebhookReply(429)


async def test_a_slow_receiver_is_given_up(serve: Serve) -> None:
    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    sender = HttpSender(clock=SystemClock(), timeout_seconds=0.1, allow_private_networks=True)
    with pytest.raises(NoReplyError, match="no reply in time"):
        await sender.post(await serve(slow), BODY, HEADERS)
    await sender.close()


async def test_a_receiver_that_drips_is_given_up_too(serve: Serve) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse()
        await reply.prepare(request)
        for _ in range(1_000):
            await reply.write(b".")
            await asyncio.sleep(0.02)
        return reply

    sender = HttpSender(clock=SystemClock(), timeout_seconds=10.0, allow_private_networks=True)
    reply = await sender.post(await serve(drip), BODY, HEADERS)
    assert reply.status == 200, "the status came in time, and nothing else matters"
    await sender.close()


async def test_an_endless_reply_is_cut_off(serve: Serve, sender: HttpSender) -> None:
    written = 0

    async def flood(request: web.Request) -> web.StreamResponse:
        nonlocal written
        reply = web.StreamResponse()
        await reply.prepare(request)
        try:
            for _ in range(10_000):
                await reply.write(b"x" * 65_536)
                written += 65_536
        except ConnectionError:
            pass
        return reply

    assert (await sender.post(await serve(flood), BODY, HEADERS)).status == 200
    assert written < 64 * 1024 * 1024


async def test_a_receiver_that_hangs_up_and_one_that_is_not_there(serve: Serve, sender: HttpSender) -> None:
    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    with pytest.raises(NoReplyError, match="the connection failed"):
        await sender.post(await serve(hang_up), BODY, HEADERS)
    with pytest.raises(NoReplyError, match="the connection failed") as caught:
        await sender.post("http://127.0.0.1:1/secret-token", BODY, HEADERS)
    assert "secret-token" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_private_network_is_no_target_by_address_or_by_name(serve: Serve, host: str) -> None:
    visits: list[str] = []

    async def receive(request: web.Request) -> web.Response:
        visits.append(request.path)
        return web.Response()

    url = (await serve(receive)).replace("127.0.0.1", host)
    sender = HttpSender(clock=SystemClock(), timeout_seconds=10.0, allow_private_networks=False)
    with pytest.raises(NoReplyError, match="a private network is no target"):
        await sender.post(url, BODY, HEADERS)
    assert visits == []
    await sender.close()
