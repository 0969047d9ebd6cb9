"""Serves the dashboard over HTTP and WebSocket, by uvicorn."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvicorn

from deal_sdk.client.serving import Served
from deal_sdk.dashboard.application import Dashboard
from deal_sdk.errors import ConfigurationError

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8799
MAX_CONNECTIONS: Final = 1_000
KEEP_ALIVE_SECONDS: Final = 30
SHUTDOWN_SECONDS: Final = 3
MAX_WEBSOCKET_BYTES: Final = 65_536
"""Beyond what a page may say, so that the refusal has a reason of its own up to here."""
_BACKLOG: Final = 512


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The certificate and the key that it is served with."""

    certificate: Path
    key: Path


class _Server(uvicorn.Server):
    """Leaves the process's signals to whoever opened it."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class DashboardServer(Served):
    """Listens for the length of a block."""

    def __init__(
        self,
        dashboard: Dashboard,
        *,
        host: str = DEFAULT_HOST,
        port: int = DEFAULT_PORT,
        tls: TlsFiles | None = None,
    ) -> None:
        """Keep what to serve and where; `start` listens.

        Args:
            dashboard: what is served; it is started and closed with the server.
            host: the address to listen on.
            port: 0 picks a free one.
            tls: serve over TLS.
        """
        self._dashboard = dashboard
        self._host = host
        self.port = port
        self._tls = tls
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Return where it listens."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'http' if self._tls is None else 'https'}://{host}:{self.port}"

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigurationError: when the address cannot be listened on, or the TLS files not be used.
            DatabaseError: when the wallets' record cannot be read.
        """
        listening = self._listen()
        try:
            config = self._config()
            await self._dashboard.start()
        except BaseException:
            listening.close()
            raise
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listening]))

    async def close(self) -> None:
        """Stop listening and end every connection; safe to call twice."""
        server, self._server = self._server, None
        serving, self._serving = self._serving, None
        if server is not None and serving is not None:
            await self._dashboard.close()
            server.should_exit = True
            await serving

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            listening = socket.create_server((self._host, self.port), family=family, backlog=_BACKLOG)
        except (OSError, OverflowError) as error:
            raise ConfigurationError(
                f"cannot listen on {self._host}:{self.port}: {error}", port=self.port
            ) from None
        self.port = listening.getsockname()[1]
        return listening

    def _config(self) -> uvicorn.Config:
        config = uvicorn.Config(
            self._dashboard.application,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="websockets-sansio",
            ws_max_size=MAX_WEBSOCKET_BYTES,
            # Compressing would be done anew for each reader of the same frame.
            ws_per_message_deflate=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            backlog=_BACKLOG,
            ssl_certfile=None if self._tls is None else str(self._tls.certificate),
            ssl_keyfile=None if self._tls is None else str(self._tls.key),
        )
        try:
            config.load()
        except OSError as error:
            raise ConfigurationError(f"the TLS files cannot be used: {error}") from None
        return config


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
