"""Links over which an endpoint tells news by itself: a WebSocket, or the embedded chain in process.

Owns connections, frames and signs of life. Never reads a frame's meaning and never connects again:
that is for `subscriptions`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from deal_sdk.chain._errors import translated_transport_errors
from deal_sdk.chain.transport import HttpTransport, LocalnetTransport, Transport, endpoint_label
from deal_sdk.errors import RpcUnavailableError

OPEN_TIMEOUT_SECONDS: Final = 10.0
CLOSE_TIMEOUT_SECONDS: Final = 1.0
MAX_FRAME_BYTES: Final = 64 * 1024
"""What is subscribed to is told in a few hundred bytes; whoever sends more is cut off."""

Frame = str | bytes | None
"""A message, or None for a sign of life that says nothing."""


class Link(Protocol):
    """One open connection; every method raises RpcUnavailableError once it is broken."""

    async def send(self, text: str) -> None:
        """Send a message."""
        ...

    async def ping(self) -> None:
        """Ask for a sign of life, which `receive` returns."""
        ...

    async def receive(self) -> Frame:
        """Return the next message or sign of life."""
        ...

    async def close(self) -> None:
        """End the connection."""
        ...


class LinkSource(Protocol):
    """Opens links to one endpoint."""

    @property
    def endpoint(self) -> str:
        """Return the endpoint's name for logs and metrics, without credentials or API keys."""
        ...

    async def open(self) -> Link:
        """Connect.

        Raises:
            RpcRefusedError: when the endpoint answers and takes no such connection.
            RpcUnavailableError: when it cannot be reached.
        """
        ...

    async def close(self) -> None:
        """Release what links share."""
        ...


class WebSocketLinks:
    """Opens WebSockets to one URL."""

    def __init__(self, url: str) -> None:
        """Keep the URL, whose secrets never reach a log; `open` connects."""
        self._url = url
        self._session: aiohttp.ClientSession | None = None
        self.endpoint = endpoint_label(url)

    def __repr__(self) -> str:
        """Show the endpoint without its secrets."""
        return f"WebSocketLinks({self.endpoint!r})"

    async def open(self) -> Link:
        """Connect; see `LinkSource.open`."""
        if self._session is None:
            self._session = aiohttp.ClientSession()
        with translated_transport_errors(self.endpoint):
            async with asyncio.timeout(OPEN_TIMEOUT_SECONDS):
                socket = await self._session.ws_connect(
                    self._url,
                    autoping=False,
                    max_msg_size=MAX_FRAME_BYTES,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT_SECONDS),
                )
        return _WebSocketLink(socket, self.endpoint)

    async def close(self) -> None:
        """Close what is still open."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


class _WebSocketLink:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse, endpoint: str) -> None:
        self._socket = socket
        self._endpoint = endpoint

    async def send(self, text: str) -> None:
        with translated_transport_errors(self._endpoint):
            await self._socket.send_str(text)

    async def ping(self) -> None:
        with translated_transport_errors(self._endpoint):
            await self._socket.ping()

    async def receive(self) -> Frame:
        with translated_transport_errors(self._endpoint):
            message = await self._socket.receive()
            if message.type is aiohttp.WSMsgType.PING:
                await self._socket.pong(message.data)
        if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            frame: str | bytes = message.data
            return frame
        if message.type in (aiohttp.WSMsgType.PING, aiohttp.WSMsgType.PONG):
            return None
        raise RpcUnavailableError(f"{self._endpoint} closed the WebSocket", endpoint=self._endpoint)

    async def close(self) -> None:
        with translated_transport_errors(self._endpoint):
            await self._socket.close()


class Session(Protocol):
    """What a WebSocket connection is to a validator in this process."""

    async def receive(self, text: str | bytes) -> None:
        """Take what a client sends."""
        ...

    def close(self) -> None:
        """End all subscriptions."""
        ...


class SessionHost(Protocol):
    """An embedded validator."""

    def open_subscription_session(self, send: Callable[[str], None]) -> Session:
        """Open a session whose messages go to `send`."""
        ...


class LocalnetLinks:
    """Opens subscription sessions of an embedded validator in this process."""

    def __init__(self, localnet: SessionHost, endpoint: str) -> None:
        """Wrap a started localnet."""
        self._localnet = localnet
        self.endpoint = endpoint

    async def open(self) -> Link:
        """Open a session, which always succeeds."""
        return _LocalnetLink(self._localnet)

    async def close(self) -> None:
        """Leave the localnet to its owner."""


class _LocalnetLink:
    def __init__(self, localnet: SessionHost) -> None:
        self._frames: asyncio.Queue[Frame] = asyncio.Queue()
        self._session = localnet.open_subscription_session(self._frames.put_nowait)

    async def send(self, text: str) -> None:
        await self._session.receive(text)

    async def ping(self) -> None:
        self._frames.put_nowait(None)

    async def receive(self) -> Frame:
        return await self._frames.get()

    async def close(self) -> None:
        self._session.close()


def websocket_url(rpc_url: str) -> str:
    """Derive the WebSocket's URL as Solana's clients do: an explicit port is followed by the WebSocket's.

    A URL without a port serves both under the same name (https://solana.com/docs/rpc/websocket).
    """
    parts = urlsplit(rpc_url)
    scheme = "wss" if parts.scheme == "https" else "ws"
    location = parts.netloc
    if parts.port is not None:
        location = f"{location.rpartition(':')[0]}:{parts.port + 1}"
    return urlunsplit((scheme, location, parts.path, parts.query, ""))


def links_of(transport: Transport, ws_url: str | None) -> LinkSource | None:
    """Return how an endpoint's news are had, or None where there is no way.

    Args:
        transport: of the endpoint's JSON-RPC.
        ws_url: its WebSocket, where it is not the one that convention derives.
    """
    if isinstance(transport, LocalnetTransport):
        return LocalnetLinks(transport.localnet, transport.endpoint)
    if isinstance(transport, HttpTransport):
        return WebSocketLinks(ws_url or websocket_url(transport.url))
    return None
