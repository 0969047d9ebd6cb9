"""A Redis Cluster: which of its servers holds a key.

Owns the map from slots to servers: read at the start, corrected by every MOVED, and read again when a
server is gone. Each server has a pipeline of its own, so that commands of one moment take one round trip
to each server, and one that does not answer holds up nobody else's commands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any, Final

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from deal_sdk.errors import StoreUnavailableError
from deal_sdk.limits._errors import Address, NotRunError, Reason
from deal_sdk.limits.lanes import Lane
from deal_sdk.limits.lineages import OF_CLUSTER, LineageQuestion
from deal_sdk.limits.servers import SharedLookUp

_MAX_ASKED: Final = 8
"""How many servers are asked for the map at once."""


class ClusterServers:
    """The masters of a cluster, by slot."""

    def __init__(self, seeds: Sequence[Address], make_lane: Callable[[Address], Lane]) -> None:
        """Keep the seeds; nobody is asked yet.

        Args:
            seeds: servers of the cluster, any of which tells of all.
            make_lane: makes the way to a server.
        """
        self._seeds = tuple(seeds)
        self._make_lane = make_lane
        self._lanes: dict[Address, Lane] = {}
        self._owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._shared = SharedLookUp(self._read_map)

    def lane_for(self, key: str | None) -> Lane | None:
        """Return the way to the server that holds a key's slot, or None when nobody is known to."""
        if key is None:
            owner = next((address for address in self._owners if address is not None), None)
        else:
            owner = self._owners[key_slot(key.encode())]
        return None if owner is None else self._lane(owner)

    @property
    def failure(self) -> StoreUnavailableError | None:
        """Return why nobody could tell where a key is, when the latest look-up found out."""
        return self._shared.failure

    @property
    def lineage(self) -> LineageQuestion:
        """Return what counts the failovers of all nodes."""
        return OF_CLUSTER

    def lanes(self) -> list[Lane]:
        """Return the ways to all masters that are known."""
        return [self._lane(address) for address in dict.fromkeys(self._owners) if address is not None]

    async def look_up(self) -> None:
        """Read the map of slots; returns quietly when nobody can tell."""
        await self._shared.done()

    async def follow(self, refusal: NotRunError, lane: Lane) -> Lane | None:
        """Correct the map, or return the server to ask this once."""
        if refusal.address is not None:
            # A server that does not know its own name leaves it out; it then means itself.
            address = Address(refusal.address.host or self._address_of(lane).host, refusal.address.port)
            if refusal.reason is Reason.ASK:
                return self._lane(address)
            self._owners[refusal.slot] = address
            # One slot that moved is seldom the only one.
            self._shared.begin()
        elif refusal.reason is not Reason.WAIT:
            await lane.drop()
            await self.look_up()
        return None

    def suspect(self, lane: Lane) -> None:
        """Read the map again, while callers go on with the one that is known."""
        self._shared.begin()

    async def close(self) -> None:
        """Close all connections."""
        lanes = list(self._lanes.values())
        self._lanes.clear()
        await self._shared.close(lanes)

    def _lane(self, address: Address) -> Lane:
        lane = self._lanes.get(address)
        if lane is None:
            lane = self._lanes[address] = self._make_lane(address)
        return lane

    def _address_of(self, lane: Lane) -> Address:
        return next((address for address, known in self._lanes.items() if known is lane), self._seeds[0])

    async def _read_map(self) -> None:
        known = [address for address in dict.fromkeys(self._owners) if address is not None]
        asked = [self._lane(address) for address in dict.fromkeys([*known, *self._seeds])][:_MAX_ASKED]
        async with aclosing(self._shared.ask(asked, ("CLUSTER", "SLOTS"))) as told:
            async for lane, ranges in told:
                if ranges:
                    self._take(ranges, self._address_of(lane).host)
                    return

    def _take(self, ranges: Sequence[Any], asked_host: str) -> None:
        owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, master, *_ in ranges:
            host = master[0].decode() if master[0] else ""
            # "?" and nothing both stand for a name that the server does not know.
            address = Address(asked_host if host in ("", "?") else host, int(master[1]))
            owners[first : last + 1] = [address] * (last + 1 - first)
        self._owners = owners
        wanted = {*owners, *self._seeds}
        for address in [address for address in self._lanes if address not in wanted]:
            self._shared.retire(self._lanes.pop(address))
