"""The localnet as a server: HTTP on one port, WebSocket on the next, as a validator does it."""

import asyncio
import contextlib
import socket
from types import TracebackType
from typing import Final, Self

from aiohttp import WSMsgType, web

from .config import MAX_REQUEST_BODY_BYTES
from .endpoint import JSON_HEADERS, TEXT_HEADERS, ConnectionDropped, Endpoint
from .localnet import Localnet

DEFAULT_RPC_PORT: Final = 8899
PORT_ATTEMPTS: Final = 64
MAX_PENDING_MESSAGES: Final = 100_000
SHUTDOWN_SECONDS: Final = 1.0
WRONG_VERB: Final = b"Used HTTP Method is not allowed. POST or OPTIONS is required\n"
WRONG_TYPE: Final = b"Supplied content type is not allowed. Content-Type: application/json is required\n"
CORS_HEADERS: Final = {
    "access-control-allow-origin": "*",
    "access-control-allow-headers": "content-type, solana-client",
    "access-control-allow-methods": "OPTIONS, POST",
}


class LocalnetServer:
    """Serves a started localnet over TCP.

    Port 0 picks a free pair of neighbours, because clients derive the WebSocket's port from the other.
    """

    def __init__(
        self,
        localnet: Localnet,
        host: str = "127.0.0.1",
        rpc_port: int = DEFAULT_RPC_PORT,
        *,
        endpoint: Endpoint | None = None,
    ) -> None:
        self._localnet = localnet
        self.endpoint = endpoint or localnet.endpoint
        """The door to the chain that it serves; a lag or faults set there are this server's."""
        self._host = host
        self._rpc_port = rpc_port
        self._runner: web.AppRunner | None = None
        self._sockets: set[web.WebSocketResponse] = set()

    @property
    def rpc_url(self) -> str:
        """Return the address for JSON-RPC."""
        return f"http://{self._host}:{self._rpc_port}"

    @property
    def ws_url(self) -> str:
        """Return the address for PubSub."""
        return f"ws://{self._host}:{self._rpc_port + 1}"

    async def start(self) -> None:
        """Bind both ports and serve."""
        rpc, pubsub = _bound_pair(self._host, self._rpc_port)
        self._rpc_port = rpc.getsockname()[1]
        application = web.Application(client_max_size=2 * MAX_REQUEST_BODY_BYTES)
        for verb in ("GET", "POST"):
            application.router.add_route(verb, "/health", self._health)
        # Agave looks at no other path.
        application.router.add_route("*", "/{path:.*}", self._root)
        self._runner = web.AppRunner(
            application,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=SHUTDOWN_SECONDS,
            # solana-py says gzip of a batch that it sends as plain text, and Agave looks at the text alone.
            auto_decompress=False,
        )
        await self._runner.setup()
        for bound in (rpc, pubsub):
            await web.SockSite(self._runner, bound).start()

    async def close(self) -> None:
        """End all connections and free the ports."""
        for connection in list(self._sockets):
            await connection.close()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(body=b"ok")

    async def _root(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("upgrade", "").lower() == "websocket":
            return await self._pubsub(request)
        if request.method == "OPTIONS":
            return web.Response(headers={**JSON_HEADERS, **CORS_HEADERS})
        if request.method != "POST":
            return web.Response(status=405, body=WRONG_VERB, headers=TEXT_HEADERS)
        if request.content_type != "application/json":
            return web.Response(status=415, body=WRONG_TYPE, headers=TEXT_HEADERS)
        return await self._rpc(request)

    async def _rpc(self, request: web.Request) -> web.Response:
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            body = bytes(MAX_REQUEST_BODY_BYTES + 1)
        try:
            status, headers, reply = await self.endpoint.handle_http(body)
        except ConnectionDropped:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        return web.Response(
            status=status, body=reply, headers={**headers, "access-control-allow-origin": "*"}
        )

    async def _pubsub(self, request: web.Request) -> web.WebSocketResponse:
        connection = web.WebSocketResponse()
        await connection.prepare(request)
        self._sockets.add(connection)
        outbox: asyncio.Queue[str] = asyncio.Queue()
        writer = asyncio.create_task(_write(connection, outbox))
        session = self._localnet.open_subscription_session(outbox.put_nowait)
        try:
            async for message in connection:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    await session.receive(message.data)
                if outbox.qsize() > MAX_PENDING_MESSAGES:
                    break
        finally:
            session.close()
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer
            self._sockets.discard(connection)
        return connection


async def _write(connection: web.WebSocketResponse, outbox: asyncio.Queue[str]) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            await connection.send_str(await outbox.get())


def _bound_pair(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    for _ in range(PORT_ATTEMPTS):
        first = _bound(host, port)
        try:
            return first, _bound(host, first.getsockname()[1] + 1)
        except OSError:
            first.close()
            if port:
                raise
    raise OSError(f"no two neighbouring ports are free on {host}")


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound
