"""Whole histories of watched wallets from seeds: whatever breaks between, each transaction counts once."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta

import pytest
import sqlalchemy as sa
from solders.pubkey import Pubkey

from deal_sdk.clock import ManualClock
from deal_sdk.errors import DatabaseUnavailableError, TokenError
from deal_sdk.monitor import WATCH_INVARIANTS
from deal_sdk.monitor.watch_cleanup import delete_transactions
from deal_sdk.records import Database
from deal_sdk.records.watch_tables import watch_events, watched_transactions
from tests.contract.scripted_chain import ScriptedChain
from tests.contract.watch_world import ALICE, BOB, WatchWorld, token_account_of

STEPS = 60
MAX_POLLS_TO_THE_END = 60
LIMIT = 13
SEEDS = [0, 1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 40))]


@pytest.fixture
def database_url() -> str:
    """One database; what both do differently has tests of its own."""
    return "sqlite+aiosqlite://"


class History:
    """Two processes and one chain, driven by a seed."""

    def __init__(self, database: Database, clock: ManualClock, seed: int) -> None:
        self.random = random.Random(seed)
        self.chain = ScriptedChain()
        self.database = database
        pages = {"page_size": self.random.choice((3, 7, 1_000)), "pages_per_poll": self.random.choice((1, 4))}
        self.worlds = [
            WatchWorld(database, clock, limit=LIMIT, chain=self.chain, pages=pages) for _ in range(2)
        ]
        self.landed: dict[str, set[str]] = {ALICE: set(), BOB: set()}
        self.landed_before_cleanup = 0
        self.deleted = 0

    async def open(self) -> None:
        for _ in range(4):
            self.chain.land(ALICE, BOB)
        for world in self.worlds:
            await world.lease.register()
        for wallet in self.landed:
            await self.worlds[0].monitor.add(wallet)

    async def step(self) -> None:
        common = (self._land, self._land, self._land, self._fault, self._command, self._poll)
        act = self.random.choice((*common, *common, self._clean_up))
        await act()
        await self._poll()

    async def end(self) -> None:
        """Heal everything and poll until nothing waits."""
        self.chain.is_gone, self.chain.shows_up_to_slot, self.chain.hidden = False, None, set()
        for _ in range(MAX_POLLS_TO_THE_END):
            for wallet in self.landed:
                await self.worlds[0].monitor.rewatch(wallet)
            for world in self.worlds:
                await world.poll()
            wallets = await self.worlds[0].monitor.list()
            if not any(wallet.pending_transactions for wallet in wallets):
                return
        raise AssertionError("transactions wait for ever")

    async def _land(self) -> None:
        for _ in range(self.random.choice((1, 2, 9))):
            wallet = self.random.choice((ALICE, BOB))
            tokens = str(token_account_of(Pubkey.from_string(wallet)))
            names = self.random.choice(((wallet,), (tokens,), (wallet, tokens), (ALICE, BOB)))
            last = self.chain.history[-1].transaction.slot
            slot = last + self.random.choice((0, 1, 5))
            signature = self.chain.land(*names, slot=slot, failed=self.random.random() < 0.2)
            for each in (ALICE, BOB) if names == (ALICE, BOB) else (wallet,):
                self.landed[each].add(signature)

    async def _fault(self) -> None:
        self.chain.is_gone = self.random.random() < 0.3
        # No endpoint that answers is a week behind.
        recent = self.chain.history[self.landed_before_cleanup :][-6:]
        slots = [item.transaction.slot for item in recent]
        self.chain.shows_up_to_slot = self.random.choice((None, None, *slots))
        newest = [item.transaction.signature for item in self.chain.history[-8:]]
        self.chain.hidden = set(self.random.sample(newest, self.random.randint(0, 3)))

    async def _clean_up(self) -> None:
        """Let ten days pass, with a poll or without, and clean up what is a week old."""
        world = self.random.choice(self.worlds)
        self.chain.shows_up_to_slot = None
        await world.clock.advance(10 * 86_400)
        self.landed_before_cleanup = len(self.chain.history)
        await self._poll()
        before = self.database.clock.now() - timedelta(days=7)
        self.deleted += await delete_transactions(world.log, before)

    async def _command(self) -> None:
        monitor, wallet = self.random.choice(self.worlds).monitor, self.random.choice((ALICE, BOB))
        command = self.random.choice(
            (monitor.stop, monitor.rewatch, monitor.rewatch, monitor.reset, self.worlds[0].lease.release)
        )
        await (command() if command == self.worlds[0].lease.release else command(wallet))  # type: ignore[call-arg]

    async def _poll(self) -> None:
        world = self.random.choice(self.worlds)
        calls = iter(range(100))
        dies_at = self.random.choice((0, 1, 99))
        kept = world.quota.add

        async def add(*arguments: object) -> None:
            if next(calls) == dies_at:
                raise DatabaseUnavailableError("the commit was lost")
            await kept(*arguments)  # type: ignore[arg-type]

        world.quota.add = add  # type: ignore[method-assign]
        with suppress(TokenError):
            await world.poll()
        world.quota.add = kept  # type: ignore[method-assign]


@pytest.fixture
async def make_history(database: Database, manual_clock: ManualClock) -> AsyncIterator[list[History]]:
    histories: list[History] = []
    yield histories
    for history in histories:
        for world in history.worlds:
            await world.close()


@pytest.mark.parametrize("seed", SEEDS)
async def test_each_transaction_counts_once(
    database: Database, manual_clock: ManualClock, make_history: list[History], seed: int
) -> None:
    history = History(database, manual_clock, seed)
    make_history.append(history)
    await history.open()
    for _ in range(STEPS):
        await history.step()
    await history.end()

    states = await database.fetch(sa.select(watched_transactions.c.state))
    assert {row.state for row in states} == {"counted"}
    assert len(states) + history.deleted == sum(map(len, history.landed.values()))
    event = watch_events.c
    told = await database.fetch(
        sa.select(event.address, event.data).where(event.type == "wallet:transaction")
    )
    counted: dict[str, list[str]] = {ALICE: [], BOB: []}
    for row in told:
        counted[row.address].append(row.data["signature"])
    for wallet, expected in history.landed.items():
        assert sorted(counted[wallet]) == sorted(expected)
    for name, query in WATCH_INVARIANTS.items():
        assert await database.fetch(query) == [], name
