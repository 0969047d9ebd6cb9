"""Recorded lookup tables on every database: one change at a time, and what each is to hold."""

from __future__ import annotations

import asyncio

import pytest
from solders.pubkey import Pubkey

from deal_sdk.chain import SignedTransaction
from deal_sdk.chain.lookup_tables import table_address
from deal_sdk.clock import ManualClock
from deal_sdk.payments.batches.table_store import TableStore
from deal_sdk.records import Database

pytestmark = pytest.mark.slow

AUTHORITY = Pubkey.new_unique()
HELD = [[Pubkey.new_unique() for _ in range(3)] for _ in range(3)]
FIRST, SECOND = (SignedTransaction(name, name.encode(), 250, 100) for name in ("first", "second"))


@pytest.fixture
def store(database: Database, manual_clock: ManualClock) -> TableStore:
    return TableStore(database, manual_clock, AUTHORITY)


async def test_every_table_has_a_slot_of_its_own(store: TableStore) -> None:
    assert await store.plan(HELD[:1], [77, 76]) == [table_address(AUTHORITY, 77)]
    assert await store.plan(HELD[1:], [77, 76]) == [table_address(AUTHORITY, 76)], "no slot for the last"
    recorded = await store.all("filling")
    assert [(one.recent_slot, list(one.addresses)) for one in recorded] == [(77, HELD[0]), (76, HELD[1])]
    assert await store.all("ready", "closing", "closed") == []


async def test_one_change_is_under_way_at_a_time(store: TableStore) -> None:
    (address,) = await store.plan(HELD[:1], [77])
    begun = await asyncio.gather(*(store.begin(address, "filling", one) for one in (FIRST, SECOND)))
    assert sorted(begun) == [False, True]
    winner, loser = (FIRST, SECOND) if begun[0] else (SECOND, FIRST)
    assert await store.begin(address, "filling", winner), "an unanswered commit is made again"
    assert (await store.get(address)).pending == winner
    await store.move(address, "filling", "ready")
    assert (await store.get(address)).state == "filling", "not while something is under way"
    await store.end(address, loser.signature, 300)
    assert (await store.get(address)).pending == winner
    await store.end(address, winner.signature, 200)
    ended = await store.get(address)
    assert (ended.pending, ended.landed_slot) == (None, 200)
    assert not await store.begin(address, "closing", loser)
    await store.move(address, "filling", "ready", holds=2)
    kept = await store.get(address)
    assert (kept.state, list(kept.addresses)) == ("ready", HELD[0][:2])
