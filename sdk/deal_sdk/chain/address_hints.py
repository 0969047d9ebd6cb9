"""Hints by logsSubscribe that an address has news, for as long as it is followed.

A notification is a hint and never evidence: what happened is listed and read by whoever is told. Whatever is
lost here (a frame, a connection, an endpoint without WebSocket) costs time alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Final

from deal_sdk.chain.links import LinkSource
from deal_sdk.chain.subscriptions import HintConnection, Topic
from deal_sdk.clock import Clock
from deal_sdk.metrics import Metrics

ADDRESSES: Final = Topic(
    "logs", lambda address: [{"mentions": [address]}, {"commitment": "finalized"}], tells_once=False
)
"""Tells of every transaction that names an address, once it is final."""


class AddressSubscriptions:
    """Subscribes to a changing set of addresses at every endpoint; the first to tell counts."""

    def __init__(
        self,
        sources: Sequence[LinkSource],
        on_hint: Callable[[str], None],
        *,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        """Prepare; the first address that is followed connects.

        Args:
            sources: one per endpoint; `close` closes them.
            on_hint: called with each address that there is news of.
            clock: spaces pings and reconnections.
            metrics: counts hints and shows the live connections.
        """
        self._sources = tuple(sources)
        self._on_hint = on_hint
        self._wanted: dict[str, None] = {}
        self._connections = [
            HintConnection(source, ADDRESSES, self._wanted, self._hint, clock=clock, metrics=metrics)
            for source in sources
        ]
        self._tasks: list[asyncio.Task[None]] = []
        self._ending: list[asyncio.Task[None]] = []

    def follow(self, addresses: Collection[str]) -> None:
        """Hear of these addresses from now on, and of no others.

        Without any, every connection is closed.
        """
        for address in [*self._wanted]:
            if address not in addresses:
                del self._wanted[address]
                for connection in self._connections:
                    connection.unsubscribe(address)
        for address in addresses:
            if address not in self._wanted:
                self._wanted[address] = None
                for connection in self._connections:
                    connection.subscribe(address)
        if self._wanted and not self._tasks:
            self._tasks = [asyncio.create_task(connection.run()) for connection in self._connections]
        elif not self._wanted:
            self._cancel()

    def covers(self, address: str) -> bool:
        """Return whether any endpoint has promised to tell of an address."""
        return any(connection.covers(address) for connection in self._connections)

    async def close(self) -> None:
        """Disconnect."""
        self._cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)
        for source in self._sources:
            await source.close()

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._ending = [task for task in (*self._ending, *self._tasks) if not task.done()]
        self._tasks = []

    def _hint(self, address: str) -> None:
        if address in self._wanted:
            self._on_hint(address)
