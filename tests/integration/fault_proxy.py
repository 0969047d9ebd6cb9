"""A proxy between the SDK and a chain that misbehaves on command, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal, Self

import aiohttp
import orjson
from aiohttp import web

Fault = Literal["refuse", "slow_down", "garbage", "hang", "lose_request", "lose_reply", "lag", "null"]
LAG_SLOTS = 1_000


class FaultProxy:
    """Forwards JSON-RPC; `fault` applies to bodies for which `applies_to` is true."""

    def __init__(self, target_url: str) -> None:
        self._target_url = target_url
        self._runner: web.AppRunner | None = None
        self._client: aiohttp.ClientSession | None = None
        self.url = ""
        self.retry_after = "0.3"
        self.fault: Fault | None = None
        self.applies_to: Callable[[set[str]], bool] = lambda methods: True
        self._hits: asyncio.Queue[None] = asyncio.Queue()
        self._released = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._client = aiohttp.ClientSession()
        application = web.Application(client_max_size=2**20)
        application.router.add_post("/", self._handle)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._released.set()
        assert self._runner is not None
        assert self._client is not None
        await self._runner.cleanup()
        await self._client.close()

    def break_methods(self, fault: Fault, *methods: str) -> None:
        """Apply a fault to bodies that call one of the methods, or to all when none is named."""
        wanted = set(methods)
        self.fault = fault
        self.applies_to = lambda called: not wanted or bool(wanted & called)

    def heal(self) -> None:
        self.fault = None

    async def was_hit(self, count: int) -> None:
        """Return once the fault applied to so many bodies."""
        for _ in range(count):
            await self._hits.get()

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        fault = self.fault if self.applies_to(_methods(body)) else None
        if fault is not None:
            self._hits.put_nowait(None)
        if fault == "refuse":
            return web.Response(status=503, text="down")
        if fault == "slow_down":
            return web.Response(status=429, headers={"Retry-After": self.retry_after}, text="slow down")
        if fault == "garbage":
            return web.Response(text='{"jsonrpc":"2.0","id":1,"resu')
        if fault == "lose_request":
            return _drop(request)
        if fault == "hang":
            await self._released.wait()
        reply = await self._forward(body)
        if fault in ("lag", "null"):
            return _spoiled(reply, _lagging if fault == "lag" else _without_result)
        return _drop(request) if fault == "lose_reply" else reply

    async def _forward(self, body: bytes) -> web.Response:
        assert self._client is not None
        headers = {"Content-Type": "application/json"}
        async with self._client.post(self._target_url, data=body, headers=headers) as reply:
            return web.Response(status=reply.status, body=await reply.read(), content_type="application/json")


def _methods(body: bytes) -> set[str]:
    parsed = orjson.loads(body)
    return {call["method"] for call in (parsed if isinstance(parsed, list) else [parsed])}


def _drop(request: web.Request) -> web.Response:
    """End the connection without a reply."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()


def _spoiled(reply: web.Response, spoil: Callable[[dict[str, Any]], None]) -> web.Response:
    assert isinstance(reply.body, bytes)
    parsed = orjson.loads(reply.body)
    for answer in parsed if isinstance(parsed, list) else [parsed]:
        spoil(answer)
    return web.Response(body=orjson.dumps(parsed), content_type="application/json")


def _lagging(answer: dict[str, Any]) -> None:
    """Let an answer speak of a slot long past."""
    result = answer.get("result")
    if isinstance(result, dict) and "context" in result:
        result["context"]["slot"] = max(result["context"]["slot"] - LAG_SLOTS, 0)
    elif type(result) is int:
        answer["result"] = max(result - LAG_SLOTS, 0)


def _without_result(answer: dict[str, Any]) -> None:
    """Let an answer be JSON-RPC, and not of the form that its method promises."""
    if "result" in answer:
        answer["result"] = None
