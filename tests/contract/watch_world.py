"""Wallets that are watched on one database, over a chain whose listings the test writes by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from solders.keypair import Keypair
from solders.pubkey import Pubkey

from deal_sdk.chain import LandedReads, Rpc, associated_token_address
from deal_sdk.chain.addresses import CLASSIC_TOKEN_PROGRAM
from deal_sdk.clock import ManualClock
from deal_sdk.events import Event, EventBus
from deal_sdk.metrics import Metrics
from deal_sdk.monitor import (
    AddressListing,
    Counter,
    ListingStore,
    PollResult,
    QuotaBook,
    WalletMonitor,
    WatchBounds,
    WatchedBuy,
    WatchFeed,
    WatchLimits,
    WatchLog,
    WatchParts,
    WatchPolicy,
    WatchRounds,
    WatchStore,
)
from deal_sdk.monitor.watch_listing import Listing
from deal_sdk.payments import Leases
from deal_sdk.records import Database
from tests.contract.scripted_chain import ScriptedChain


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
        per_poll: int = 5,
        chain: ScriptedChain | None = None,
        pages: Mapping[str, int] | None = None,
    ) -> None:
        self.database, self.clock = database, clock
        self.events = EventBus(clock)
        self.policy = WatchPolicy(max_wallets, WatchLimits(limit, by_type))
        self.store = WatchStore(database, self.policy)
        self.log = WatchLog(database, self.events)
        self.feed = WatchFeed(self.log, clock=clock, interval_seconds=1)
        self.quota = QuotaBook(database, self.policy, daily_quota=daily_quota)
        self.tracked: list[str] = []
        self.marked: list[str] = []
        self.buys: list[WatchedBuy] = []
        self.chain = chain or ScriptedChain()
        self.reads = LandedReads(self.chain)
        self.lease = Leases(database, lease_seconds=15)
        self.metrics = Metrics()
        self.listing = AddressListing(
            cast(Rpc, self.chain), token_account_of=token_account_of, **(pages or {})
        )
        self.listings = ListingStore(database, self.quota)
        parts = WatchParts(
            database=database,
            store=self.store,
            log=self.log,
            listing=self.listing,
            listings=self.listings,
            counter=Counter(self.store, self.log, self.quota, owner=self.lease.owner),
            lease=self.lease,
            history=self,
            handle_buys=self._handle_buys,
            metrics=self.metrics,
            mint=str(MINT),
        )
        self.rounds = WatchRounds(parts, WatchBounds(transactions_per_poll=per_poll))
        self.monitor = WalletMonitor(
            self.store,
            self.log,
            self.feed,
            self.quota,
            clock=clock,
            find_start=self.listing.start,
            track=self._track,
            poll=self.rounds.run_once,
        )

    async def close(self) -> None:
        await self.feed.close()
        await self.events.close()

    async def poll(self, times: int = 1) -> None:
        """Let as many polls pass, a minute before each."""
        for _ in range(times):
            await self.clock.advance(60)
            await self.lease.renew()
            await self.rounds.run_once()

    async def store_listed(self, wallet: str, listings: Sequence[Listing]) -> None:
        """Keep what a poll found, as a round does."""
        await self.listings.store([PollResult(wallet, tuple(listings), len(listings))], self.lease.owner)

    async def count(self, address: str) -> int:
        return (await self.monitor.get(address)).transaction_count

    def mark(self, token_accounts: Iterable[str], signature: str, slot: int) -> None:
        self.marked += token_accounts

    async def _handle_buys(self, buys: Sequence[WatchedBuy]) -> None:
        self.buys += buys

    async def told(self, after: int = 0) -> list[str]:
        return [event.type for event in await self.monitor.events_after(after)]

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
