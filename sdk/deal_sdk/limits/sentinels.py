"""A master that sentinels watch and replace.

Owns the question who is master now. Asked at the start, when the master cannot be reached or does not
answer, and when it turns out to be a replica. The answer counts only when the server itself says that it
is a master, because a sentinel may not know of a failover yet (redis.io, "Guidelines for Redis clients").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing

from deal_sdk.errors import StoreUnavailableError
from deal_sdk.limits._errors import Address, NotRunError, Reason
from deal_sdk.limits.lanes import Lane
from deal_sdk.limits.lineages import OF_SERVER, LineageQuestion, is_master
from deal_sdk.limits.servers import SharedLookUp


class SentinelServers:
    """The master of one name, as sentinels tell."""

    def __init__(
        self, sentinels: Sequence[Lane], master_name: str, make_lane: Callable[[Address], Lane]
    ) -> None:
        """Keep the parts; nobody is asked yet.

        Args:
            sentinels: the ways to them.
            master_name: which of their masters.
            make_lane: makes the way to a server.
        """
        self._sentinels = tuple(sentinels)
        self._master_name = master_name
        self._make_lane = make_lane
        self._master: Lane | None = None
        self._address: Address | None = None
        self._shared = SharedLookUp(self._find_master)

    def lane_for(self, key: str | None) -> Lane | None:
        """Return the way to the master, or None when sentinels must be asked first."""
        return self._master

    @property
    def failure(self) -> StoreUnavailableError | None:
        """Return why nobody could tell where a key is, when the latest look-up found out."""
        return self._shared.failure

    @property
    def lineage(self) -> LineageQuestion:
        """Return what tells a master from its successor."""
        return OF_SERVER

    def lanes(self) -> list[Lane]:
        """Return the way to the master, if it is known."""
        return [] if self._master is None else [self._master]

    async def look_up(self) -> None:
        """Ask the sentinels who is master; returns quietly when nobody can tell."""
        await self._shared.done()

    async def follow(self, refusal: NotRunError, lane: Lane) -> Lane | None:
        """Ask who is master, unless the one that refused only needs time."""
        if refusal.reason is not Reason.WAIT:
            await lane.drop()
            await self.look_up()
        return None

    def suspect(self, lane: Lane) -> None:
        """Ask who is master, while callers go on with the one that is known."""
        self._shared.begin()

    async def close(self) -> None:
        """Close all connections."""
        lanes = [*self._sentinels, *([self._master] if self._master is not None else [])]
        self._master = None
        await self._shared.close(lanes)

    async def _find_master(self) -> None:
        seen: set[Address] = set()
        question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._master_name)
        async with aclosing(self._shared.ask(self._sentinels, question)) as told:
            async for _, answer in told:
                address = _address_of(answer)
                if address is None or address in seen:
                    continue
                seen.add(address)
                if await self._is_master(address):
                    return

    async def _is_master(self, address: Address) -> bool:
        known = self._master if address == self._address else None
        lane = known or self._make_lane(address)
        try:
            roles = [role async for _, role in self._shared.ask([lane], ("ROLE",))]
            if not roles or not is_master(roles[0]):
                return False
            self._turn_to(address, lane)
            return True
        finally:
            # A look-up that is stopped must not leave a connection open that nobody knows of.
            if lane is not known and lane is not self._master:
                self._shared.retire(lane)

    def _turn_to(self, address: Address, lane: Lane) -> None:
        former, self._master, self._address = self._master, lane, address
        if former is not None and former is not lane:
            self._shared.retire(former)


def _address_of(answer: object) -> Address | None:
    if not isinstance(answer, list | tuple) or len(answer) != 2:
        return None
    host, port = answer
    return Address(host.decode() if isinstance(host, bytes) else str(host), int(port))
