"""solana-py's AsyncClient over this package's transports; imported only when somebody wants one.

Owns the adapter between solana-py's provider and a `Transport`, and is the only module that knows
solana-py's insides.
"""

from __future__ import annotations

import logging
from typing import Any

from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Commitment
from solana.rpc.core import _ClientCore
from solana.rpc.providers.async_base import AsyncBaseProvider
from solana.rpc.providers.core import T, _parse_raw
from solders.rpc.requests import Body

from deal_sdk.chain.transport import Transport


class TransportProvider(AsyncBaseProvider):
    """Carries solana-py's requests through a transport, which it does not close."""

    logger = logging.getLogger(__name__)

    def __init__(self, transport: Transport) -> None:
        """Wrap a transport; its endpoint's name stands in for the URL, so that no log shows a key."""
        self._transport = transport
        self.endpoint_uri = transport.endpoint

    async def make_request(self, body: Body, parser: type[T]) -> T:
        """Send one request and read its reply by solana-py's rules."""
        reply = await self._transport.post(body.to_json().encode())
        return _parse_raw(reply.decode(), parser)

    async def __aenter__(self) -> TransportProvider:
        """Return itself: the transport is open already."""
        return self

    async def close(self) -> None:
        """Leave the transport open for whoever opened it."""


class TransportClient(AsyncClient):
    """An AsyncClient that shares a transport instead of opening an HTTP client of its own."""

    def __init__(self, transport: Transport, commitment: str) -> None:
        """Prepare a client that reads at a commitment by default."""
        # AsyncClient's own constructor would open an HTTP client that nobody uses.
        _ClientCore.__init__(self, Commitment(commitment))
        self._provider: Any = TransportProvider(transport)
