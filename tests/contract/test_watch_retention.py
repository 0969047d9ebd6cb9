"""The log of watched wallets lets go of what is old, and nobody misses anything in silence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa

from deal_sdk.clock import ManualClock
from deal_sdk.errors import InvalidInputError, WatchPositionGoneError
from deal_sdk.monitor import WATCH_INVARIANTS, WatchCleanup
from deal_sdk.records import Database
from deal_sdk.records.watch_tables import watch_events
from tests.contract.watch_world import ALICE, BOB, WatchWorld

DAY_SECONDS = 86_400


@pytest.fixture
async def world(database: Database, manual_clock: ManualClock) -> AsyncIterator[WatchWorld]:
    """A wallet that reached its limit of three ten days ago, after an override, and one added today."""
    world = WatchWorld(database, manual_clock, limit=2)
    await world.lease.register()
    await world.monitor.add(ALICE)
    await world.monitor.override(ALICE, extra_transactions=1, actor="ops", reason="audit")
    for _ in range(4):
        world.chain.land(ALICE)
    await world.poll()
    await world.clock.advance(10 * DAY_SECONDS)
    await world.lease.renew()
    await world.monitor.add(BOB)
    yield world
    await world.close()


async def kept_ids(world: WatchWorld) -> list[int]:
    rows = await world.database.fetch(sa.select(watch_events.c.id).order_by(watch_events.c.id))
    return [row.id for row in rows]


async def broken(database: Database) -> dict[str, Any]:
    found = {name: await database.fetch(query) for name, query in WATCH_INVARIANTS.items()}
    return {name: [tuple(row) for row in rows] for name, rows in found.items() if rows}


async def test_what_is_old_goes_and_the_audit_and_the_counts_stay(
    world: WatchWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deal_sdk.monitor.watch_retention.EVENTS_PER_CHANGE", 2)
    before = await kept_ids(world)
    newest = before[-1]
    transactions = await world.monitor.transactions(ALICE)

    done = await world.monitor.cleanup(kept_days=7)
    assert done == WatchCleanup(events=len(before) - 2, rpc_usage=1)
    assert await kept_ids(world) == [2, newest], "the override, and what is new"
    assert await broken(world.database) == {}
    assert await world.monitor.transactions(ALICE) == transactions
    assert await world.monitor.cleanup(kept_days=7) == WatchCleanup(events=0, rpc_usage=0)

    resumed = await world.monitor.rewatch(ALICE)
    await world.poll()
    assert (await world.monitor.get(ALICE)).transaction_count == resumed.transaction_count + 1
    assert await broken(world.database) == {}


async def test_the_newest_event_stays_however_old_it_is(world: WatchWorld) -> None:
    newest = (await kept_ids(world))[-1]
    await world.clock.advance(100 * DAY_SECONDS)
    await world.monitor.cleanup()
    assert await kept_ids(world) == [2, newest]
    assert await world.monitor.events_after(newest) == ()
    assert await broken(world.database) == {}


async def test_a_position_that_is_gone_is_refused_and_says_where_to_go_on(world: WatchWorld) -> None:
    newest = (await kept_ids(world))[-1]
    await world.monitor.cleanup(kept_days=7)
    # The override is kept, and hides nothing: the reader is refused after it.
    assert [event.id for event in await world.monitor.events_after(1, limit=1)] == [2]
    for position in (0, 2, newest - 2):
        with pytest.raises(WatchPositionGoneError) as refused:
            await world.monitor.events_after(position)
        assert refused.value.facts == {"event_id": position, "kept_after": newest - 1}
        async with world.monitor.subscribe(after_event_id=position) as stream:
            with pytest.raises(WatchPositionGoneError):
                await anext(stream)
    async with world.monitor.subscribe(after_event_id=newest - 1) as stream:
        assert (await anext(stream)).id == newest


async def test_a_feed_that_slept_through_a_cleanup_goes_on_and_tells_its_readers(world: WatchWorld) -> None:
    newest = (await kept_ids(world))[-1]
    await world.monitor.cleanup(kept_days=7)
    async with world.monitor.subscribe(after_event_id=3) as stream:
        world.feed._latest_id = 3  # as it was when it fell asleep; its first look is yet to come
        with pytest.raises(WatchPositionGoneError) as refused:
            await anext(stream)
        assert refused.value.facts == {"event_id": 3, "kept_after": newest - 1}
        async with world.monitor.subscribe() as live:
            await world.monitor.stop(BOB)
            assert (await anext(live)).id == newest + 1


@pytest.mark.parametrize("days", [6, 0, -1, 36_501, 7.5, True, "7"])
async def test_a_number_of_days_that_is_none_is_refused(world: WatchWorld, days: Any) -> None:
    before = await kept_ids(world)
    with pytest.raises(InvalidInputError):
        await world.monitor.cleanup(days)
    assert await kept_ids(world) == before


async def test_the_rules_see_an_event_that_should_have_gone_or_stayed(world: WatchWorld) -> None:
    await world.monitor.cleanup(kept_days=7)
    async with world.database.transaction() as connection:
        await connection.execute(
            sa.update(watch_events).where(watch_events.c.id == 2).values(type="wallet:added")
        )
    assert list(await broken(world.database)) == ["watch_events_have_no_gaps"]
