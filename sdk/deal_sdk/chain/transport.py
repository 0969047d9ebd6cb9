"""How request bodies reach a validator: over HTTP, or in process for the embedded chain.

Owns connections, their bound and their timeout. Never reads a body's meaning and never retries:
whether a request may be repeated is for its owner to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

import aiohttp

from deal_sdk.chain._errors import HTTP_OK, translate_http_status, translated_transport_errors
from deal_sdk.chain.allowance.build import embedded_programs
from deal_sdk.clock import Clock
from deal_sdk.errors import ConfigurationError, RpcUnavailableError
from deal_sdk.settings import EMBEDDED_CHAIN_URL

if TYPE_CHECKING:
    from deal_localnet import Localnet

DEFAULT_TIMEOUT_SECONDS: Final = 10.0
DEFAULT_MAX_CONNECTIONS: Final = 32
LOCALNET_ENDPOINT: Final = "localnet"
_JSON_HEADERS: Final = {"Content-Type": "application/json"}
_KEEPALIVE_SECONDS: Final = 60.0


class Transport(Protocol):
    """Carries one request body to an endpoint and brings the reply's body back."""

    @property
    def endpoint(self) -> str:
        """Return the endpoint's name for logs and metrics, without credentials or API keys."""
        ...

    async def post(self, body: bytes) -> bytes:
        """Send a JSON-RPC body and return the reply's.

        Raises:
            RpcUnavailableError: (or RpcTimeoutError, RpcRateLimitedError) when no usable reply came;
                the request may have been carried out.
            RpcRefusedError: when the endpoint refused the request itself.
        """
        ...

    async def close(self) -> None:
        """Release the connections."""
        ...


def endpoint_label(url: str) -> str:
    """Name an endpoint by scheme, host and port alone, because providers put API keys in the rest."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        return "invalid-url"
    return f"{parts.scheme}://{parts.hostname or ''}{port}"


class HttpTransport:
    """Keeps a bounded pool of live connections to one RPC endpoint."""

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        max_connections: int = DEFAULT_MAX_CONNECTIONS,
        name: str | None = None,
    ) -> None:
        """Keep the endpoint; the first `post` opens a connection.

        Args:
            url: http:// or https://; credentials and API keys in it never reach a log.
            clock: counts a Retry-After date against the present.
            timeout_seconds: for a whole request, from waiting for a connection to the reply's last byte.
            max_connections: the most connections at once; further requests wait for one.
            name: what logs and metrics call it; by default its scheme, host and port.
        """
        self._url = url
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._max_connections = max_connections
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self.endpoint = name or endpoint_label(url)

    @property
    def url(self) -> str:
        """Return the URL with whatever secrets it holds, to derive another address from it."""
        return self._url

    def __repr__(self) -> str:
        """Show the endpoint without its secrets."""
        return f"HttpTransport({self.endpoint!r})"

    async def post(self, body: bytes) -> bytes:
        """Send a body over a kept connection and return the reply's; see `Transport.post`."""
        with translated_transport_errors(self.endpoint):
            # A redirect would carry a signed transaction to a host that nobody chose.
            async with self._open_session().post(
                self._url, data=body, headers=_JSON_HEADERS, allow_redirects=False
            ) as reply:
                if reply.status == HTTP_OK:
                    return await reply.read()
                raise translate_http_status(
                    reply.status, reply.headers.get("Retry-After"), self.endpoint, self._clock.now()
                )

    async def close(self) -> None:
        """Close every connection; later posts are refused."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    def _open_session(self) -> aiohttp.ClientSession:
        if self._closed:
            raise RpcUnavailableError(f"the connection to {self.endpoint} is closed", endpoint=self.endpoint)
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=self._max_connections, keepalive_timeout=_KEEPALIVE_SECONDS
            )
            self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout)
        return self._session


class LocalnetTransport:
    """Hands bodies to an embedded validator in this process, without a socket."""

    def __init__(self, localnet: Localnet, *, clock: Clock, owned: bool = False) -> None:
        """Wrap a started localnet.

        Args:
            localnet: the embedded validator.
            clock: as every transport has it.
            owned: whether `close` also closes the localnet; whoever opened it closes it.
        """
        self.localnet = localnet
        self._clock = clock
        self._owned = owned
        self.endpoint = LOCALNET_ENDPOINT

    @classmethod
    async def start(cls, *, clock: Clock, slot_seconds: float, finality_slots: int) -> LocalnetTransport:
        """Start an embedded validator that lives as long as this transport.

        Args:
            clock: as every transport has it.
            slot_seconds: how long a slot takes.
            finality_slots: how many slots make a transaction final.
        """
        from deal_localnet import Localnet, LocalnetConfig

        config = LocalnetConfig(
            slot_seconds=slot_seconds, finality_slots=finality_slots, programs=embedded_programs()
        )
        localnet = Localnet(config)
        await localnet.start()
        return cls(localnet, clock=clock, owned=True)

    async def post(self, body: bytes) -> bytes:
        """Let the embedded validator answer a body; see `Transport.post`."""
        with translated_transport_errors(self.endpoint):
            status, headers, reply = await self.localnet.handle_http(body)
        if status != HTTP_OK:
            raise translate_http_status(status, headers.get("retry-after"), self.endpoint, self._clock.now())
        return reply

    async def close(self) -> None:
        """Close the embedded validator when this transport started it."""
        if self._owned:
            await self.localnet.close()


async def open_transport(
    url: str,
    *,
    clock: Clock,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    max_connections: int = DEFAULT_MAX_CONNECTIONS,
    localnet_slot_seconds: float,
    localnet_finality_slots: int,
) -> Transport:
    """Open the transport that a URL names: `localnet://` starts an embedded validator, http(s) connects.

    Args:
        url: `localnet://`, http:// or https://.
        clock: for Retry-After dates.
        timeout_seconds: for a whole HTTP request.
        max_connections: the most HTTP connections at once.
        localnet_slot_seconds: how long an embedded validator's slot takes.
        localnet_finality_slots: after how many slots it counts a transaction as final.

    Raises:
        ConfigurationError: for another scheme.
    """
    if url.startswith(EMBEDDED_CHAIN_URL):
        return await LocalnetTransport.start(
            clock=clock, slot_seconds=localnet_slot_seconds, finality_slots=localnet_finality_slots
        )
    if url.startswith(("http://", "https://")):
        return HttpTransport(
            url, clock=clock, timeout_seconds=timeout_seconds, max_connections=max_connections
        )
    raise ConfigurationError("an RPC URL begins with localnet://, http:// or https://")
