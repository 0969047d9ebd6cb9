"""One node as a client sees it: JSON-RPC over HTTP, and subscriptions over a WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any, Final

import aiohttp
import orjson

CALL_SECONDS: Final = 30.0
WAIT_SECONDS: Final = 90.0
POLL_SECONDS: Final = 0.1
JSON_TYPE: Final = {"content-type": "application/json"}


class Node:
    """Speaks with one node."""

    def __init__(self, session: aiohttp.ClientSession, url: str, websocket_url: str) -> None:
        self._session = session
        self.url = url
        self.websocket_url = websocket_url

    async def exchange(
        self,
        body: bytes | None,
        *,
        verb: str = "POST",
        path: str = "/",
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """Send an HTTP request as it is, and return status, content type and body of the reply."""
        request = self._session.request(
            verb, self.url + path, data=body, headers=headers, skip_auto_headers=["Content-Type"]
        )
        async with request as reply:
            return {
                "status": reply.status,
                "type": reply.headers.get("content-type"),
                "body": _read(await reply.read()),
            }

    async def reply(self, method: str, params: Any) -> Any:
        """Call a method and return the whole reply."""
        request: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": method}
        if params is not None:
            request["params"] = params
        return (await self.exchange(orjson.dumps(request), headers=JSON_TYPE))["body"]

    async def call(self, method: str, *params: Any) -> Any:
        """Call a method that must succeed."""
        reply = await self.reply(method, list(params))
        if "result" not in reply:
            raise AssertionError(f"{self.url} refused {method}: {reply}")
        return reply["result"]

    async def until_found(self, method: str, *params: Any) -> Any:
        """Call a method until its result is not null: a validator writes its history behind the chain."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                found = await self.call(method, *params)
                if found is not None:
                    return found
                await asyncio.sleep(POLL_SECONDS)

    async def wait(self, signatures: Iterable[str], level: str) -> list[dict[str, Any]]:
        """Return the statuses of transactions once all of them reached a commitment."""
        wanted = list(signatures)
        levels = ("processed", "confirmed", "finalized")
        enough = levels[levels.index(level) :]
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                statuses = (await self.call("getSignatureStatuses", wanted))["value"]
                if all(one is not None and one["confirmationStatus"] in enough for one in statuses):
                    return statuses  # type: ignore[no-any-return]
                await asyncio.sleep(POLL_SECONDS)

    def listen(self) -> Listener:
        """Return a WebSocket connection that is not open yet."""
        return Listener(self._session, self.websocket_url)


class Listener:
    """Holds one WebSocket connection with what came over it."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self._socket: aiohttp.ClientWebSocketResponse | None = None

    async def __aenter__(self) -> Listener:
        self._socket = await self._session.ws_connect(self._url)
        return self

    async def __aexit__(self, *failure: object) -> None:
        if self._socket is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._socket.close(), 1)

    async def send(self, message: Any) -> None:
        """Send a message: text as it is, anything else as JSON."""
        assert self._socket is not None
        await self._socket.send_str(message if isinstance(message, str) else orjson.dumps(message).decode())

    async def next(self, seconds: float = CALL_SECONDS) -> Any:
        """Return the next message."""
        assert self._socket is not None
        return _read((await asyncio.wait_for(self._socket.receive(), seconds)).data)

    async def request(self, method: str, params: Any) -> Any:
        """Call a method and return its reply; a notification that comes first is no reply to it."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method}
        await self.send(request if params is None else {**request, "params": params})
        while True:
            reply = await self.next()
            if not isinstance(reply, dict) or "id" in reply:
                return reply


def _read(body: bytes | str | None) -> Any:
    if not body:
        return ""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode() if isinstance(body, bytes) else body
