"""The live stream over real sockets: who may open it, resuming, bad frames, many and slow readers."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import Any

import aiohttp
import pytest
from solders.keypair import Keypair

from deal_sdk import Deal
from deal_sdk.clock import SystemClock
from deal_sdk.dashboard import LiveHub, socket
from tests.integration.conftest import MakePerson
from tests.integration.dashboard.conftest import Site, Visitor, serve

READERS = 200
WAIT_SECONDS = 20


class Stream:
    """Reads a connection's events one by one."""

    def __init__(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        self.connection = connection
        self.waiting: list[dict[str, Any]] = []

    async def frame(self) -> dict[str, Any]:
        return dict(await self.connection.receive_json(timeout=WAIT_SECONDS))

    async def until(self, event_type: str) -> dict[str, Any]:
        while True:
            while self.waiting:
                event = self.waiting.pop(0)
                if event["type"] == event_type:
                    return event
            self.waiting += (await self.frame()).get("events", [])

    async def end(self) -> tuple[int | None, str]:
        while True:
            message = await self.connection.receive(timeout=WAIT_SECONDS)
            if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED):
                return self.connection.close_code, str(message.extra or "")


async def test_only_a_session_of_the_same_origin_opens_it(site: Site) -> None:
    async with site.visit("viewer") as visitor:
        for options in ({"origin": "http://evil.example"}, {"origin": None}):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await visitor.live(**options)
            assert refused.value.status == 403
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await visitor.live(headers={"host": "rebound.example"}, origin="http://rebound.example")
    async with site.visit(None) as stranger:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await stranger.live()
        assert refused.value.status == 401


async def test_a_disconnect_loses_nothing(site: Site, make_person: MakePerson) -> None:
    person = await make_person("5")
    async with site.visit() as visitor:
        async with visitor.live() as connection:
            stream = Stream(connection)
            hello = await stream.frame()
            assert (hello["type"], hello["resync"]) == ("hello", None)
            address = str(Keypair().pubkey())
            await visitor.post("/wallets", {"address": address})
            added = await stream.until("wallet:added")
            assert added["data"]["wallet"]["address"] == address
        await visitor.post(f"/wallets/{address}/stop")
        payment = await site.deal.tokens.transfer(person.user.id, "treasury", "1")
        async with visitor.live(after=added["id"]) as connection:
            stream = Stream(connection)
            assert (await stream.frame())["resync"] is None
            stopped = await stream.until("wallet:stopped")
            assert stopped["data"]["wallet"]["status_text"] == "Stopped"
        async with visitor.live(after=added["id"]) as connection:
            stream = Stream(connection)
            await stream.frame()
            told = await stream.until("payment.confirmed")
            assert told["data"]["payment"]["id"] == str(payment.id)
            assert told["data"]["payment"]["amount"] == "1"
        before_the_restart = "0000-7-" + added["id"].rpartition("-")[2]
        async with visitor.live(after=before_the_restart) as connection:
            stream = Stream(connection)
            hello = await stream.frame()
            assert hello["resync"] == "server_restarted"
            missed = (await stream.frame())["events"]
            assert [(event["type"], event["id"]) for event in missed] == [
                ("wallet:stopped", hello["position"])
            ]


async def test_an_event_that_cannot_be_shown_hides_no_other(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    async with site.visit() as visitor, visitor.live() as connection:
        site.deal.events.publish("payment.odd", text="not a payment")
        site.deal.events.publish("odd", number=2**70)
        site.deal.events.publish("sound", n=1)
        assert (await Stream(connection).until("sound"))["data"] == {"n": 1}
    assert "an event of type payment.odd cannot be shown" in caplog.text


async def test_frames_that_are_none_end_the_connection_with_a_reason(site: Site) -> None:
    async with site.visit() as visitor:
        for frame, code, reason in [
            ("x" * 2_000, 1009, "frame_too_large"),
            ("{", 1007, "malformed_frame"),
            ('{"type":"order"}', 1008, "unknown_frame"),
            (b"\x00", 1003, "binary_frame"),
        ]:
            async with visitor.live() as connection:
                await (
                    connection.send_bytes(frame) if isinstance(frame, bytes) else connection.send_str(frame)
                )
                assert await Stream(connection).end() == (code, reason)
        async with visitor.live() as connection:
            await connection.send_str("x" * 100_000)
            assert (await Stream(connection).end())[0] == 1009
        async with visitor.live() as connection:
            stream = Stream(connection)
            await stream.frame()
            await connection.send_str('{"type":"ping"}')
            assert await stream.frame() == {"type": "pong"}
    await readers_are(site.dashboard.hub, 0)


async def test_a_revoked_token_sees_nothing_more(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "SESSION_CHECK_SECONDS", 0.05)
    async with site.visit("viewer") as visitor, visitor.live() as connection:
        await site.dashboard.access.revoke("viewer-0")
        assert await Stream(connection).end() == (4401, "not_signed_in")


async def test_two_hundred_pages_are_live_and_one_too_many_is_told_so(deal: Deal) -> None:
    hub = LiveHub(deal.clock, max_readers=READERS)
    async with serve(deal, hub=hub) as site, site.visit() as visitor, AsyncExitStack() as stack:
        streams = [Stream(await stack.enter_async_context(visitor.live())) for _ in range(READERS)]
        async with visitor.live() as connection:
            assert await Stream(connection).end() == (1013, "too_many_connections")
        deal.events.publish("thing", n=1)
        found = await asyncio.gather(*(stream.until("thing") for stream in streams))
        assert {event["id"] for event in found} == {str(hub.position)}


async def test_a_slow_reader_is_dropped_and_delays_nobody(
    deal: Deal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "SEND_TIMEOUT_SECONDS", 0.2)
    hub = LiveHub(SystemClock(), queue_frames=4, flush_seconds=0.001)
    async with serve(deal, hub=hub) as site, site.visit() as visitor, visitor.live() as quick:
        slow = await open_and_never_read(visitor)
        try:
            stream = Stream(quick)
            await readers_are(hub, 2)
            for number in range(200):
                deal.events.publish("big", n=number, text="x" * 100_000)
                while (await stream.until("big"))["data"]["n"] != number:
                    pass
                if hub.readers == 1:
                    break
            # The last frame that it would not take is given up after the timeout, not at once.
            await readers_are(hub, 1)
        finally:
            slow.close()
            with suppress(ConnectionError):
                await slow.wait_closed()


async def open_and_never_read(visitor: Visitor) -> asyncio.StreamWriter:
    host, port = visitor.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port), limit=1)
    cookies = "; ".join(f"{cookie.key}={cookie.value}" for cookie in visitor.http.cookie_jar)
    lines = [
        "GET /api/v1/live HTTP/1.1",
        f"Host: {host}:{port}",
        f"Origin: {visitor.url}",
        f"Cookie: {cookies}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    await writer.drain()
    return writer


async def readers_are(hub: LiveHub, number: int) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while hub.readers != number:  # noqa: ASYNC110  the hub tells nobody who comes and goes
            await asyncio.sleep(0.01)
