"""Wallets that are watched on one database, over a chain whose listings the test writes by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from solders.keypair import Keypair
from solders.pubkey import Pubkey

from deal_sdk.chain import associated_token_address
from deal_sdk.chain.addresses import CLASSIC_TOKEN_PROGRAM
from deal_sdk.clock import ManualClock
from deal_sdk.errors import RpcUnavailableError
from deal_sdk.events import Event, EventBus
from deal_sdk.monitor import (
    QuotaBook,
    WalletMonitor,
    WatchCursor,
    WatchFeed,
    WatchLimits,
    WatchLog,
    WatchPolicy,
    WatchStore,
)
from deal_sdk.records import Database


def address(name: str) -> str:
    return str(Keypair.from_seed(hashlib.sha256(name.encode()).digest()).pubkey())


MINT = Pubkey.from_string(address("mint"))
ALICE, BOB, CAROL, DAVE = (address(name) for name in ("alice", "bob", "carol", "dave"))


def token_account_of(owner: Pubkey) -> Pubkey:
    return associated_token_address(owner, MINT, CLASSIC_TOKEN_PROGRAM)


class WatchWorld:
    """A monitor over one database, with what it told others."""

    def __init__(
        self,
        database: Database,
        clock: ManualClock,
        *,
        limit: int = 200,
        by_type: Mapping[str, int] | None = None,
        max_wallets: int = 3,
        daily_quota: int = 100_000,
    ) -> None:
        self.database, self.clock = database, clock
        self.events = EventBus(clock)
        self.policy = WatchPolicy(max_wallets, WatchLimits(limit, by_type))
        self.store = WatchStore(database, self.policy)
        self.log = WatchLog(database, self.events)
        self.feed = WatchFeed(self.log, clock=clock, interval_seconds=1)
        self.quota = QuotaBook(database, self.policy, daily_quota=daily_quota)
        self.tracked: list[str] = []
        self.chain_is_gone = False
        self.monitor = WalletMonitor(
            self.store,
            self.log,
            self.feed,
            self.quota,
            clock=clock,
            find_start=self._find_start,
            track=self._track,
        )

    async def close(self) -> None:
        await self.feed.close()
        await self.events.close()

    async def told(self, after: int = 0) -> list[str]:
        return [event.type for event in await self.monitor.events_after(after)]

    async def _find_start(self, wallet: str) -> tuple[WatchCursor, ...]:
        if self.chain_is_gone:
            raise RpcUnavailableError("gone")
        token_account = str(token_account_of(Pubkey.from_string(wallet)))
        return WatchCursor(wallet, wallet), WatchCursor(wallet, token_account)

    async def _track(self, owner_address: str, user_id: None, *, connection: Any) -> None:
        self.tracked.append(owner_address)


async def heard(bus: EventBus, types: Sequence[str]) -> list[Event]:
    """Collect the events of some types from now on."""
    found: list[Event] = []

    async def hear(event: Event) -> None:
        found.append(event)

    for event_type in types:
        bus.subscribe(event_type, hear)
    return found
