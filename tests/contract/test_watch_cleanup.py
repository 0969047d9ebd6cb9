"""Counted transactions are cleaned up, and none is skipped or counted a second time for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa
from solders.pubkey import Pubkey

from deal_sdk.clock import ManualClock
from deal_sdk.errors import DatabaseUnavailableError, InvalidInputError
from deal_sdk.monitor import WATCH_INVARIANTS, watch_cleanup
from deal_sdk.records import Database
from deal_sdk.records.watch_tables import watched_transactions
from tests.contract.watch_world import ALICE, BOB, WatchWorld, token_account_of

DAY_SECONDS = 86_400
TOKENS = str(token_account_of(Pubkey.from_string(ALICE)))


@pytest.fixture
async def world(database: Database, manual_clock: ManualClock) -> AsyncIterator[WatchWorld]:
    """A wallet that counted five transactions at its address and none at its token account."""
    world = WatchWorld(database, manual_clock, limit=50)
    await world.lease.register()
    await world.monitor.add(ALICE)
    for _ in range(5):
        world.chain.land(ALICE)
    await world.poll()
    yield world
    await world.close()


async def days_later(world: WatchWorld, days: int = 10) -> None:
    await world.clock.advance(days * DAY_SECONDS)
    await world.lease.renew()


async def clean(world: WatchWorld) -> int:
    """Clean up what is older than a week, and insist that the rules hold."""
    deleted = (await world.monitor.cleanup(transactions_kept_days=7)).transactions
    found = {name: await world.database.fetch(query) for name, query in WATCH_INVARIANTS.items()}
    assert {name: rows for name, rows in found.items() if rows} == {}
    return deleted


async def numbers(world: WatchWorld) -> list[int]:
    return [transaction.number for transaction in await world.monitor.transactions(ALICE)]


async def test_the_oldest_go_and_the_count_goes_on(
    world: WatchWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_cleanup, "TRANSACTIONS_PER_CHANGE", 2)
    assert await clean(world) == 0, "nothing is old"
    await days_later(world)
    await world.poll()
    assert await clean(world) == 4, "the token account was listed since and had nothing; one marks the place"
    wallet = await world.monitor.get(ALICE)
    assert (wallet.transaction_count, wallet.deleted_number, await numbers(world)) == (5, 4, [5])
    assert await clean(world) == 0

    for name in (ALICE, TOKENS, ALICE):
        world.chain.land(name)
    await world.poll()
    assert await numbers(world) == [8, 7, 6, 5]
    await days_later(world)
    await world.poll()
    assert await clean(world) == 3
    assert (await world.count(ALICE), await numbers(world)) == (8, [8])


async def test_they_are_kept_unless_their_days_are_given(world: WatchWorld) -> None:
    await days_later(world, 400)
    await world.poll()
    assert (await world.monitor.cleanup()).transactions == 0
    assert await numbers(world) == [5, 4, 3, 2, 1]


async def test_an_endpoint_that_lists_all_again_adds_nothing(world: WatchWorld) -> None:
    await days_later(world)
    world.chain.land(ALICE)
    await world.poll()
    assert await clean(world) == 4
    # It does not know what the cursor names, and so lists whatever it has.
    world.chain.shows_up_to_slot = 5
    await world.poll(2)
    assert (await world.count(ALICE), await numbers(world)) == (6, [6, 5])
    world.chain.shows_up_to_slot = None
    world.chain.land(ALICE)
    await world.poll()
    assert await world.count(ALICE) == 7


async def test_what_happened_while_it_was_stopped_is_counted_after_a_re_watch(world: WatchWorld) -> None:
    await world.monitor.stop(ALICE)
    world.chain.land(TOKENS)
    await days_later(world)
    assert await clean(world) == 0, "nobody looked at the token account since"
    await world.monitor.rewatch(ALICE)
    await world.poll()
    assert await numbers(world) == [6, 5, 4, 3, 2, 1]
    assert await clean(world) == 4
    await world.poll(2)
    assert await world.count(ALICE) == 6


async def test_an_address_that_fails_for_days_keeps_the_rows_of_the_other(
    world: WatchWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.chain.land(TOKENS)
    world.chain.failing = {TOKENS}
    world.chain.land(ALICE)
    await days_later(world)
    await world.poll()
    assert await world.count(ALICE) == 6
    await days_later(world)
    await world.poll()
    assert await clean(world) == 0
    world.chain.failing = set()
    await world.poll()
    assert await world.count(ALICE) == 7


async def test_one_that_waits_to_be_counted_keeps_what_is_newer(world: WatchWorld) -> None:
    await world.monitor.set_limit(ALICE, 7)
    for _ in range(4):
        world.chain.land(ALICE)
    await world.poll()
    assert (await world.monitor.get(ALICE)).status == "limit-reached"
    await days_later(world)
    await world.monitor.rewatch(ALICE)
    await world.monitor.stop(ALICE)
    assert await clean(world) == 0
    await world.monitor.rewatch(ALICE)
    await world.poll()
    assert await clean(world) == 6
    assert await numbers(world) == [9, 8, 7]


async def test_a_reset_count_loses_the_rows_of_those_before_it(world: WatchWorld) -> None:
    await days_later(world)
    await world.poll()
    assert await clean(world) == 4
    begun = (await world.monitor.reset(ALICE)).wallet
    assert (begun.transaction_count, begun.deleted_number) == (0, 0)
    for _ in range(3):
        world.chain.land(ALICE)
    await world.poll()
    await days_later(world)
    await world.poll()
    assert await clean(world) == 3, "the last of the count before, and two of this one"
    assert (await world.count(ALICE), await numbers(world)) == (3, [3])


async def test_another_process_goes_on_where_the_count_was(
    world: WatchWorld, database: Database, manual_clock: ManualClock
) -> None:
    await days_later(world)
    await world.poll()
    assert await clean(world) == 4
    await world.lease.release()
    other = WatchWorld(database, manual_clock, limit=50, chain=world.chain)
    await other.lease.register()
    world.chain.land(ALICE)
    await other.poll(2)
    assert (await other.count(ALICE), await numbers(other)) == (6, [6, 5])
    await other.close()


async def test_a_cleanup_that_breaks_off_is_carried_on(
    world: WatchWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_cleanup, "TRANSACTIONS_PER_CHANGE", 2)
    await days_later(world)
    await world.poll()
    kept, calls = world.log.change, iter(range(100))

    async def change(work: Any) -> Any:
        if next(calls) == 3:
            raise DatabaseUnavailableError("gone")
        return await kept(work)

    monkeypatch.setattr(world.log, "change", change)
    with pytest.raises(DatabaseUnavailableError):
        await world.monitor.cleanup(transactions_kept_days=7)
    assert await numbers(world) == [5, 4, 3]
    assert await clean(world) == 2
    await world.poll()
    assert await world.count(ALICE) == 5


async def test_a_poll_that_began_before_a_cleanup_brings_nothing_back(world: WatchWorld) -> None:
    await days_later(world)
    await world.poll()
    cursors = (await world.listings.cursors([ALICE]))[ALICE]
    listed = [await world.listing.list_new(cursor) for cursor in cursors]
    assert await clean(world) == 4
    await world.store_listed(ALICE, listed)
    assert all(cursor.slot >= 5 for cursor in (await world.listings.cursors([ALICE]))[ALICE])
    await world.poll()
    column = watched_transactions.c
    states = await world.database.fetch(sa.select(column.state).where(column.wallet == ALICE))
    assert [row.state for row in states] == ["counted"]


async def test_of_two_wallets_each_keeps_its_own(world: WatchWorld) -> None:
    await world.monitor.add(BOB)
    for _ in range(2):
        world.chain.land(BOB)
    await world.poll()
    await world.monitor.stop(BOB)
    await days_later(world)
    await world.poll()
    assert await clean(world) == 4
    assert len(await world.monitor.transactions(BOB)) == 2


@pytest.mark.parametrize("days", [6, 0, -1, 36_501, 7.5, True, "7"])
async def test_a_number_of_days_that_is_none_is_refused(world: WatchWorld, days: Any) -> None:
    with pytest.raises(InvalidInputError) as refused:
        await world.monitor.cleanup(transactions_kept_days=days)
    assert refused.value.facts["field"] == "transactions_kept_days"
