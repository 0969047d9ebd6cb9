from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import pytest
from aiohttp import web

from deal_localnet import Fault, FaultKind, FaultScript, Localnet, LocalnetConfig
from deal_sdk.chain._errors import parse_retry_after
from deal_sdk.chain.transport import HttpTransport, LocalnetTransport, endpoint_label, open_transport
from deal_sdk.clock import ManualClock
from deal_sdk.errors import (
    ConfigurationError,
    RpcRateLimitedError,
    RpcRefusedError,
    RpcTimeoutError,
    RpcUnavailableError,
)

SECRET = "0123456789abcdef"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serve one handler and return a URL with a secret in every place where providers put one."""
    runners: list[web.AppRunner] = []

    async def start(handler: Handler) -> str:
        application = web.Application()
        application.router.add_post("/{key}", handler)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        return f"http://user:{SECRET}@127.0.0.1:{port}/{SECRET}?api-key={SECRET}"

    yield start
    for runner in runners:
        await runner.cleanup()


async def post(url: str, **options: float) -> bytes:
    transport = HttpTransport(url, clock=ManualClock(), **options)
    try:
        return await transport.post(b"{}")
    finally:
        await transport.close()


class TestHttp:
    async def test_the_body_arrives_and_the_reply_comes_back(self, serve):
        async def echo(request: web.Request) -> web.Response:
            assert request.content_type == "application/json"
            return web.Response(body=b"got " + await request.read())

        assert await post(await serve(echo)) == b"got {}"

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [("7", 7.0), ("Thu, 01 Jan 2026 00:00:30 GMT", 30.0), (None, None), ("x", None)],
    )
    async def test_too_many_requests_says_how_long_to_wait(self, serve, header, seconds):
        async def limited(request: web.Request) -> web.Response:
            return web.Response(status=429, headers={} if header is None else {"Retry-After": header})

        with pytest.raises(RpcRateLimitedError) as caught:
            await post(await serve(limited))
        assert caught.value.retry_after_seconds == seconds

    @pytest.mark.parametrize(
        ("status", "error"),
        [(500, RpcUnavailableError), (503, RpcUnavailableError), (302, RpcUnavailableError),
         (413, RpcRefusedError), (403, RpcRefusedError)],
    )  # fmt: skip
    async def test_other_statuses_are_typed(self, serve, status, error):
        async def reply(request: web.Request) -> web.Response:
            return web.Response(status=status, headers={"Location": "/elsewhere"})

        with pytest.raises(error) as caught:
            await post(await serve(reply))
        assert SECRET not in str(caught.value.to_dict())

    async def test_silence_ends_in_a_timeout(self, serve):
        async def hang(request: web.Request) -> web.Response:
            await asyncio.sleep(30)
            raise AssertionError

        with pytest.raises(RpcTimeoutError) as caught:
            await post(await serve(hang), timeout_seconds=0.1)
        assert SECRET not in str(caught.value.to_dict())

    async def test_a_connection_that_breaks_is_unavailable(self, serve):
        async def drop(request: web.Request) -> web.Response:
            assert request.transport is not None
            request.transport.close()
            return web.Response()

        with pytest.raises(RpcUnavailableError) as caught:
            await post(await serve(drop))
        assert SECRET not in str(caught.value.to_dict())
        assert caught.value.__cause__ is None

    async def test_nobody_listening_is_unavailable_and_tells_no_secret(self):
        with pytest.raises(RpcUnavailableError) as caught:
            await post(f"http://127.0.0.1:1/{SECRET}")
        assert SECRET not in str(caught.value.to_dict())

    @pytest.mark.parametrize("url", ["http://", f"http://host:port/{SECRET}", f"http://[::1/{SECRET}"])
    async def test_what_is_no_url_is_typed(self, url):
        with pytest.raises(RpcUnavailableError) as caught:
            await post(url)
        assert SECRET not in str(caught.value.to_dict())

    async def test_connections_are_bounded_and_kept(self, serve):
        peers, now, most = set(), 0, 0

        async def count(request: web.Request) -> web.Response:
            nonlocal now, most
            now, most = now + 1, max(most, now + 1)
            assert request.transport is not None
            peers.add(request.transport.get_extra_info("peername"))
            await asyncio.sleep(0.01)
            now -= 1
            return web.Response(body=b"ok")

        transport = HttpTransport(await serve(count), clock=ManualClock(), max_connections=3)
        await asyncio.gather(*(transport.post(b"{}") for _ in range(30)))
        assert most == 3
        assert len(peers) == 3
        await transport.close()

    async def test_closed_is_closed(self, serve):
        transport = HttpTransport("http://127.0.0.1:1", clock=ManualClock())
        await transport.close()
        with pytest.raises(RpcUnavailableError, match="closed"):
            await transport.post(b"{}")

    def test_no_repr_tells_a_secret(self):
        transport = HttpTransport(f"https://u:{SECRET}@host/{SECRET}?key={SECRET}", clock=ManualClock())
        assert SECRET not in repr(transport)


@pytest.mark.parametrize(
    ("url", "label"),
    [
        ("https://rpc.example.com/v2/KEY?api-key=KEY", "https://rpc.example.com"),
        ("http://user:KEY@127.0.0.1:8899/", "http://127.0.0.1:8899"),
        ("http://host:KEY/", "invalid-url"),
    ],
)
def test_an_endpoint_is_named_without_its_keys(url, label):
    assert endpoint_label(url) == label


@pytest.mark.parametrize(("text", "seconds"), [("-5", 0.0), ("nan", None), ("1e9", 3600.0), ("inf", 3600.0)])
def test_a_strange_retry_after_stays_bounded(text, seconds):
    assert parse_retry_after(text, datetime(2026, 1, 1, tzinfo=UTC)) == seconds


class TestLocalnet:
    async def test_only_its_owner_closes_it(self):
        async with Localnet(LocalnetConfig()) as localnet:
            transport = LocalnetTransport(localnet, clock=ManualClock())
            await transport.close()
            reply = await transport.post(b'{"jsonrpc":"2.0","id":1,"method":"getHealth"}')
            assert b'"ok"' in reply

    async def test_a_body_that_is_too_large_is_refused_as_over_http(self):
        async with Localnet(LocalnetConfig()) as localnet:
            with pytest.raises(RpcRefusedError) as caught:
                await LocalnetTransport(localnet, clock=ManualClock()).post(b" " * 60_000)
            assert caught.value.rpc_code == 413

    async def test_faults_of_the_chain_are_errors_as_over_http(self):
        body = b'{"jsonrpc":"2.0","id":1,"method":"getHealth"}'
        async with Localnet(LocalnetConfig(auto_advance=False)) as localnet:
            transport = LocalnetTransport(localnet, clock=ManualClock())
            kinds = (FaultKind.LOSE_REPLY, FaultKind.RATE_LIMIT, FaultKind.SERVER_ERROR)
            localnet.endpoint.faults = FaultScript([Fault(kind, seconds=1.5) for kind in kinds])
            with pytest.raises(RpcUnavailableError):
                await transport.post(body)
            with pytest.raises(RpcRateLimitedError) as slowed:
                await transport.post(body)
            assert slowed.value.retry_after_seconds == 1.5
            with pytest.raises(RpcUnavailableError):
                await transport.post(body)
            assert b'"ok"' in await transport.post(body)

    async def test_the_url_names_the_transport(self):
        options = {"clock": ManualClock(), "localnet_slot_seconds": 0.05, "localnet_finality_slots": 4}
        embedded = await open_transport("localnet://", **options)
        assert embedded.endpoint == "localnet"
        await embedded.close()
        http = await open_transport("http://127.0.0.1:8899", **options)
        assert http.endpoint == "http://127.0.0.1:8899"
        await http.close()
        with pytest.raises(ConfigurationError):
            await open_transport("ftp://host", **options)
