"""Sends one webhook over HTTP: bounded in time and size, without redirects, to checked addresses alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import aiohttp

from deal_sdk.chain import parse_retry_after
from deal_sdk.clock import Clock
from deal_sdk.webhooks._errors import translated_client_errors
from deal_sdk.webhooks.targets import checked_socket

MAX_REPLY_BYTES: Final = 16_384
MAX_CONNECTIONS: Final = 256
DNS_CACHE_SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class WebhookReply:
    """What an endpoint answered; of its body nothing is kept."""

    status: int
    retry_after_seconds: float | None = None


class WebhookSender(Protocol):
    """Carries one body to one URL."""

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> WebhookReply:
        """Send a body and return the reply's status.

        Raises:
            NoReplyError: when no usable reply came; the request may have arrived.
        """
        ...

    async def close(self) -> None:
        """Release the connections."""
        ...


class HttpSender:
    """Keeps connections to the endpoints' hosts."""

    def __init__(self, *, clock: Clock, timeout_seconds: float, allow_private_networks: bool) -> None:
        """Keep the bounds; the first `post` opens a connection.

        Args:
            clock: counts a Retry-After date against the present.
            timeout_seconds: for a whole request, the look-up of the host's name included.
            allow_private_networks: also connect to addresses that are not public.
        """
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._allow_private_networks = allow_private_networks
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> WebhookReply:
        """Send a body and return the reply's status; see `WebhookSender.post`."""
        with translated_client_errors():
            # A redirect would carry the event to a host that nobody registered.
            async with self._opened().post(url, data=body, headers=headers, allow_redirects=False) as reply:
                # A short reply is read so that its connection can be used again; a long one costs it.
                await reply.content.read(MAX_REPLY_BYTES)
                if not reply.content.at_eof():
                    reply.close()
                retry_after = parse_retry_after(reply.headers.get("Retry-After"), self._clock.now())
                return WebhookReply(reply.status, retry_after)

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=MAX_CONNECTIONS,
                ttl_dns_cache=DNS_CACHE_SECONDS,
                socket_factory=checked_socket(allow_private_networks=self._allow_private_networks),
            )
            # Compressed replies are not unpacked: a few bytes may stand for gigabytes.
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session
