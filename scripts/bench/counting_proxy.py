"""A proxy between an engine and its chain that counts what really goes over the wire.

It knows by itself how many transactions are pending: sent through it and not yet reported as final. So the
engine's own counters are not asked whether the engine asks too often.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, Self

import aiohttp
import orjson
from aiohttp import WSMsgType, web

from scripts.bench.chains import HOST, Endpoint
from tests.servers import free_port_block

STATUS_METHOD: Final = "getSignatureStatuses"
STATUSES_PER_CALL: Final = 256
MAX_BODY_BYTES: Final = 1024 * 1024


class CountingProxy:
    """Forwards JSON-RPC and PubSub unchanged, and counts status calls against pending transactions."""

    def __init__(self, endpoint: Endpoint, *, sweep_seconds: float) -> None:
        """Stand before an endpoint; nothing is opened yet.

        Args:
            endpoint: where requests are forwarded.
            sweep_seconds: how often an engine sweeps over what is pending.
        """
        self._endpoint = endpoint
        self._sweep_seconds = sweep_seconds
        self._port = free_port_block(2)
        self._pending: set[str] = set()
        self._census: asyncio.Task[None] | None = None
        self.reset()

    @property
    def rpc_url(self) -> str:
        """Return where it listens; PubSub is on the next port, as a validator has it."""
        return f"http://{HOST}:{self._port}"

    @property
    def pending_count(self) -> int:
        """Return how many transactions were sent through here and are not final as far as was told."""
        return len(self._pending)

    def reset(self) -> None:
        """Begin to count anew."""
        self.requests = 0
        self.calls: Counter[str] = Counter()
        self.allowed_calls = self.most_pending = 0

    @property
    def status_calls(self) -> int:
        """Return how many status calls there were."""
        return self.calls[STATUS_METHOD]

    async def __aenter__(self) -> Self:
        """Listen on both ports."""
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        application.router.add_post("/", self._forward)
        application.router.add_get("/", self._relay)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        for port in (self._port, self._port + 1):
            await web.TCPSite(self._runner, HOST, port).start()
        self._census = asyncio.create_task(self._count_pending())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        assert self._census is not None
        self._census.cancel()
        await asyncio.gather(self._census, return_exceptions=True)
        await self._runner.cleanup()
        await self._session.close()

    async def _count_pending(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_seconds)
            self.most_pending = max(self.most_pending, len(self._pending))
            self.allowed_calls += math.ceil(len(self._pending) / STATUSES_PER_CALL)

    async def _forward(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {"Content-Type": "application/json"}
        async with self._session.post(self._endpoint.rpc_url, data=body, headers=headers) as reply:
            answer = await reply.read()
        self.requests += 1
        if reply.status == 200:
            self.observe(orjson.loads(body), orjson.loads(answer))
        return web.Response(status=reply.status, body=answer, content_type="application/json")

    def observe(self, requests: Any, replies: Any) -> None:
        """Take in what went over the wire: one call with its reply, or a batch of either."""
        by_id = {reply.get("id"): reply for reply in (replies if isinstance(replies, list) else [replies])}
        for request in requests if isinstance(requests, list) else [requests]:
            reply = by_id.get(request.get("id"), {})
            self.calls[request["method"]] += 1
            if request["method"] == "sendTransaction" and "result" in reply:
                self._pending.add(reply["result"])
            elif request["method"] == STATUS_METHOD:
                self._take_out_final(request, reply)

    def _take_out_final(self, request: Mapping[str, Any], reply: Mapping[str, Any]) -> None:
        statuses = reply.get("result", {}).get("value", ())
        for signature, status in zip(request["params"][0], statuses, strict=False):
            if status is not None and status["confirmationStatus"] == "finalized":
                self._pending.discard(signature)

    async def _relay(self, request: web.Request) -> web.WebSocketResponse:
        inner = web.WebSocketResponse()
        await inner.prepare(request)
        async with self._session.ws_connect(self._endpoint.websocket_url) as outer:
            ways = [asyncio.create_task(_copy(inner, outer)), asyncio.create_task(_copy(outer, inner))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        return inner


_Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def _copy(source: _Socket, target: _Socket) -> None:
    async for message in source:
        if message.type is WSMsgType.TEXT:
            await target.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await target.send_bytes(message.data)
