"""The commands of the wallet monitor on every database: slots, stops, re-watches, limits, the log."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from deal_sdk.clock import ManualClock
from deal_sdk.errors import (
    InvalidInputError,
    InvalidWalletAddressError,
    RpcUnavailableError,
    WalletAlreadyWatchedError,
    WalletNotWatchedError,
    WatchSlotsFullError,
)
from deal_sdk.monitor import UNLIMITED, WatchedWallet
from deal_sdk.records import Database
from deal_sdk.records.watch_tables import watched_transactions, watched_wallets
from tests.contract.conftest import ON_POSTGRES_TOO, fresh_database_url
from tests.contract.watch_world import ALICE, BOB, CAROL, DAVE, WatchWorld, heard


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """SQLite, unless a test asks for the other one."""
    return fresh_database_url(request, tmp_path)


@pytest.fixture
async def world(database: Database, manual_clock: ManualClock) -> AsyncIterator[WatchWorld]:
    world = WatchWorld(database, manual_clock, by_type={"whale": 500})
    yield world
    await world.close()


async def count_to(world: WatchWorld, address: str, count: int, **values: Any) -> None:
    """Write a count as polls would have left it; `test_watch_rounds` counts for real."""
    change = sa.update(watched_wallets).where(watched_wallets.c.address == address)
    async with world.database.transaction() as connection:
        await connection.execute(change.values(transaction_count=count, **values))


async def limit_reached(world: WatchWorld, address: str, count: int = 200) -> None:
    await count_to(world, address, count, state="stopped", stop_reason="limit-reached")


@ON_POSTGRES_TOO
async def test_a_wallet_is_added_with_all_that_callers_see_of_it(world: WatchWorld) -> None:
    added = await world.monitor.add(ALICE, label="The <b>big</b> one", wallet_type="kol", actor="ops")

    assert (added.status, added.status_text, added.badge) == ("active", "Active", "0/200")
    assert (added.next_stop, added.progress_percent, added.level) == (200, 0, "normal")
    assert world.tracked == [ALICE]
    assert await world.monitor.list() == (added,) == (await world.monitor.get(ALICE),)
    (event,) = await world.monitor.events_after(0)
    assert (event.id, event.type, event.data["actor"]) == (1, "wallet:added", "ops")
    assert event.data["wallet"]["label"] == "The <b>big</b> one"
    assert json.dumps([added.to_dict(), event.to_dict()])


async def test_a_malformed_address_is_refused_everywhere(world: WatchWorld) -> None:
    for text in ("", "0x12", "l" * 44, ALICE[:-1] + "0", "a" * 1_000):
        for refused in (world.monitor.add, world.monitor.stop, world.monitor.get, world.monitor.export):
            with pytest.raises(InvalidWalletAddressError):
                await refused(text)


async def test_a_limit_that_is_none_is_refused(world: WatchWorld) -> None:
    wrong: tuple[Any, ...] = (0, -1, True, 10_000_001, "200", 2.5)
    await world.monitor.add(ALICE)
    for limit in wrong:
        with pytest.raises(InvalidInputError):
            await world.monitor.add(BOB, max_transactions=limit)
        with pytest.raises(InvalidInputError):
            await world.monitor.set_limit(ALICE, limit)
        with pytest.raises(InvalidInputError):
            await world.monitor.override(ALICE, extra_transactions=limit, actor="ops", reason="why")


async def test_a_duplicate_is_refused_and_a_stopped_one_as_well(world: WatchWorld) -> None:
    await world.monitor.add(ALICE)
    with pytest.raises(WalletAlreadyWatchedError):
        await world.monitor.add(ALICE)
    await world.monitor.stop(ALICE)
    with pytest.raises(WalletAlreadyWatchedError):
        await world.monitor.add(ALICE)


async def test_a_fourth_wallet_is_refused_and_only_active_ones_fill_the_slots(world: WatchWorld) -> None:
    for wallet in (ALICE, BOB, CAROL):
        await world.monitor.add(wallet)
    with pytest.raises(WatchSlotsFullError):
        await world.monitor.add(DAVE)
    await world.monitor.stop(BOB)
    await world.monitor.add(DAVE)
    with pytest.raises(WatchSlotsFullError):
        await world.monitor.rewatch(BOB)
    assert (await world.monitor.get(BOB)).status_text == "Stopped"


@ON_POSTGRES_TOO
async def test_of_wallets_added_at_once_three_get_in(world: WatchWorld) -> None:
    tries = [world.monitor.add(wallet) for wallet in (ALICE, BOB, CAROL, DAVE)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(result, WatchedWallet) for result in results) == 3
    assert [event.id for event in await world.monitor.events_after(0)] == [1, 2, 3]


async def test_nothing_is_added_while_the_chain_cannot_be_read(world: WatchWorld) -> None:
    world.chain.is_gone = True
    with pytest.raises(RpcUnavailableError):
        await world.monitor.add(ALICE)
    assert (await world.monitor.list(), await world.monitor.events_after(0)) == ((), ())


async def test_a_stop_by_a_person_and_a_re_watch(world: WatchWorld) -> None:
    await world.monitor.add(ALICE)
    await count_to(world, ALICE, 77)
    stopped = await world.monitor.stop(ALICE, actor="ops")
    assert (stopped.status_text, stopped.stop_reason) == ("Stopped", "manual")
    assert await world.monitor.stop(ALICE) == stopped
    again = await world.monitor.rewatch(ALICE)
    assert (again.stop_reason, again.transaction_count, again.next_stop) == (None, 77, 200)
    assert await world.monitor.rewatch(ALICE) == again
    _, _, resumed = await world.monitor.events_after(0)
    assert resumed.data["message"] == "Wallet monitoring re-started successfully"
    assert resumed.data["toast"] == (
        f"Now tracking {ALICE} again. Quota usage continues from previous count."
    )
    assert await world.told() == ["wallet:added", "wallet:stopped", "wallet:resumed"]


@pytest.mark.parametrize(("count", "next_stop"), [(200, 400), (400, 600), (1_000, 1_200)])
async def test_a_re_watch_opens_the_next_window(world: WatchWorld, count: int, next_stop: int) -> None:
    await world.monitor.add(ALICE)
    await limit_reached(world, ALICE, count)
    red = await world.monitor.get(ALICE)
    assert (red.status_text, red.level, red.progress_percent) == ("Limit Reached", "limit", 100)
    green = await world.monitor.rewatch(ALICE)
    assert (green.next_stop, green.level, green.progress_percent) == (next_stop, "normal", 0)
    await count_to(world, ALICE, count + 1)
    assert (await world.monitor.get(ALICE)).badge == f"{count + 1}/200"


async def test_a_wallet_warns_from_nine_tenths_of_its_window(world: WatchWorld) -> None:
    await world.monitor.add(ALICE)
    await count_to(world, ALICE, 179)
    assert (await world.monitor.get(ALICE)).badge == "179/200"
    await count_to(world, ALICE, 180)
    near = await world.monitor.get(ALICE)
    assert (near.badge, near.level, near.progress_percent) == ("\N{WARNING SIGN} 180/200", "warning", 90)


async def test_a_limit_comes_from_the_wallet_its_type_or_the_settings(world: WatchWorld) -> None:
    assert (await world.monitor.add(ALICE, max_transactions=7)).max_transactions == 7
    assert (await world.monitor.add(BOB, wallet_type="whale")).max_transactions == 500
    assert (await world.monitor.add(CAROL, wallet_type="other")).max_transactions == 200
    assert (await world.monitor.set_limit(BOB, 9)).max_transactions == 9
    assert (await world.monitor.set_limit(BOB, None)).max_transactions == 500
    free = await world.monitor.set_limit(CAROL, UNLIMITED)
    assert (free.is_unlimited, free.next_stop, free.badge) == (True, None, "0/unlimited")


async def test_a_lower_limit_stops_a_wallet_that_is_beyond_it(world: WatchWorld) -> None:
    await world.monitor.add(ALICE)
    await count_to(world, ALICE, 150)
    stopped = await world.monitor.set_limit(ALICE, 100)
    assert (stopped.status, stopped.next_stop) == ("limit-reached", 100)
    assert await world.told() == ["wallet:added", "wallet:limit-changed", "wallet:limit-reached"]
    assert (await world.monitor.rewatch(ALICE)).next_stop == 200


async def test_a_higher_limit_moves_the_next_stop(world: WatchWorld) -> None:
    await world.monitor.add(ALICE)
    await count_to(world, ALICE, 450, window_start=400)
    assert (await world.monitor.set_limit(ALICE, 1_000)).next_stop == 1_000


async def test_an_override_grants_more_once_and_is_kept_with_who_and_why(world: WatchWorld) -> None:
    await world.monitor.add(ALICE)
    await limit_reached(world, ALICE)
    granted = await world.monitor.override(ALICE, extra_transactions=50, actor="ops", reason="audit week")
    assert (granted.status, granted.next_stop) == ("active", 250)
    _, overridden, resumed = await world.monitor.events_after(0)
    assert (overridden.type, resumed.type) == ("wallet:overridden", "wallet:resumed")
    assert (overridden.data["actor"], overridden.data["reason"]) == ("ops", "audit week")
    await limit_reached(world, ALICE, 250)
    assert (await world.monitor.rewatch(ALICE)).next_stop == 400


async def test_an_override_needs_an_actor_and_a_reason(world: WatchWorld) -> None:
    await world.monitor.add(ALICE)
    for actor, reason in (("", "why"), ("ops", ""), ("o" * 256, "why"), ("ops", "w" * 1_001)):
        with pytest.raises(InvalidInputError):
            await world.monitor.override(ALICE, extra_transactions=1, actor=actor, reason=reason)


async def test_an_override_into_a_full_set_grants_nothing(world: WatchWorld) -> None:
    await world.monitor.add(ALICE)
    await limit_reached(world, ALICE)
    for wallet in (BOB, CAROL, DAVE):
        await world.monitor.add(wallet)
    with pytest.raises(WatchSlotsFullError):
        await world.monitor.override(ALICE, extra_transactions=5, actor="ops", reason="why")
    assert (await world.monitor.get(ALICE)).granted == 0


async def test_a_stop_is_scheduled_and_taken_back(world: WatchWorld) -> None:
    await world.monitor.add(ALICE)
    later = world.clock.now() + timedelta(hours=1)
    assert (await world.monitor.schedule_stop(ALICE, later)).stop_at == later
    assert (await world.monitor.schedule_stop(ALICE, None)).stop_at is None
    for wrong in (world.clock.now(), later.replace(tzinfo=None)):
        with pytest.raises(InvalidInputError):
            await world.monitor.schedule_stop(ALICE, wrong)
    await world.monitor.stop(ALICE)
    with pytest.raises(InvalidInputError):
        await world.monitor.schedule_stop(ALICE, later)


@ON_POSTGRES_TOO
async def test_a_reset_hands_out_what_was_counted_and_begins_anew(world: WatchWorld) -> None:
    await world.monitor.add(ALICE)
    now = world.clock.now()
    row = {"wallet": ALICE, "slot": 5, "succeeded": True, "state": "counted", "generation": 0, "tries": 0}
    facts = {"seen_at": now, "counted_at": now, "memo": "=cmd()", "direction": "incoming", "amount": 150}
    rows = [{**row, **facts, "signature": f"s{number}", "number": number} for number in (2, 1)]
    async with world.database.transaction() as connection:
        await connection.execute(sa.insert(watched_transactions).values(rows))
    await count_to(world, ALICE, 2)

    exported = list(csv.DictReader(io.StringIO(await world.monitor.export(ALICE, format="csv"))))
    assert [item["number"] for item in exported] == ["1", "2"]
    assert (exported[0]["memo"], exported[0]["amount"]) == ("'=cmd()", "0.0000015")
    reset = await world.monitor.reset(ALICE, actor="ops")
    assert reset.export is not None
    assert [item["signature"] for item in json.loads(reset.export)] == ["s1", "s2"]
    assert (reset.wallet.transaction_count, reset.wallet.is_active) == (0, True)
    assert json.loads(await world.monitor.export(ALICE)) == []
    assert (await world.monitor.reset(ALICE, export_format=None)).export is None


async def test_transactions_are_shown_the_newest_first(world: WatchWorld) -> None:
    await world.monitor.add(ALICE)
    assert await world.monitor.transactions(ALICE) == ()
    wrong: tuple[Any, ...] = ({"limit": 0}, {"before": -1}, {"before": "3"}, {"before": 2**63})
    for arguments in wrong:
        with pytest.raises(InvalidInputError):
            await world.monitor.transactions(ALICE, **arguments)
    for event_id in (-1, True, 2**64):
        with pytest.raises(InvalidInputError):
            await world.monitor.events_after(event_id)


async def test_a_wallet_that_was_never_added_is_no_wallet(world: WatchWorld) -> None:
    for command in (world.monitor.stop, world.monitor.rewatch, world.monitor.reset, world.monitor.get):
        with pytest.raises(WalletNotWatchedError):
            await command(ALICE)


@ON_POSTGRES_TOO
async def test_the_quota_shows_six_hundred_calls_as_six_tenths_of_a_percent(world: WatchWorld) -> None:
    await world.monitor.add(ALICE)
    async with world.database.transaction() as connection:
        await world.quota.add(connection, {ALICE: 400})
        await world.quota.add(connection, {ALICE: 150, BOB: 50, CAROL: 0})
    overview = await world.monitor.quota()
    assert (overview.calls_used, overview.used_percent) == (600, Decimal("0.6"))
    assert overview.calls_by_wallet == {ALICE: 550, BOB: 50}
    assert overview.forecast_calls >= 600
    assert overview.note.startswith("Quota Protection: Each wallet auto-stops after 200 transactions")
    assert (await world.monitor.get(ALICE)).rpc_calls_today == 550
    await world.clock.advance(86_400)
    assert (await world.monitor.quota()).calls_used == 0


async def test_events_are_told_here_after_their_commit(world: WatchWorld) -> None:
    told = await heard(world.events, ["wallet:added"])
    await world.monitor.add(ALICE)
    await world.events.drain()
    assert [event.data["event_id"] for event in told] == [1]


async def test_a_stream_begins_with_what_was_missed_and_goes_on_live(world: WatchWorld) -> None:
    await world.monitor.add(ALICE)
    await world.monitor.stop(ALICE)
    async with world.monitor.subscribe(after_event_id=1) as missed, world.monitor.subscribe() as live:
        assert (await anext(missed)).id == 2
        await world.monitor.rewatch(ALICE)
        assert [(await anext(stream)).id for stream in (missed, live)] == [3, 3]
        assert missed.last_event_id == 3


async def test_a_slow_reader_reads_on_from_the_log(world: WatchWorld) -> None:
    world.feed._recent = type(world.feed._recent)(maxlen=2)
    await world.monitor.add(ALICE)
    async with world.monitor.subscribe(after_event_id=0) as slow, world.monitor.subscribe() as quick:
        for _ in range(4):
            await world.monitor.stop(ALICE)
            await world.monitor.rewatch(ALICE)
        assert [(await anext(quick)).id for _ in range(8)] == list(range(2, 10))
        assert [(await anext(slow)).id for _ in range(9)] == list(range(1, 10))


class LingeringClock:
    """A clock whose sleep, cancelled, takes its time to end."""

    def __init__(self) -> None:
        self.was_cancelled = asyncio.Event()
        self.may_end = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.was_cancelled.set()
            await self.may_end.wait()


async def test_a_feed_that_is_cancelled_as_it_wakes_up_ends(world: WatchWorld) -> None:
    clock: Any = LingeringClock()
    world.feed._clock = clock
    pausing = asyncio.ensure_future(world.feed._pause())
    await asyncio.sleep(0)
    world.feed._news.set()
    await clock.was_cancelled.wait()
    pausing.cancel()
    clock.may_end.set()
    await asyncio.wait([pausing])
    assert pausing.cancelled(), "what cancelled it was forgotten, so the feed would go on"


@ON_POSTGRES_TOO
async def test_a_stream_hears_of_other_processes_and_ends_with_its_feed(world: WatchWorld) -> None:
    other = WatchWorld(world.database, world.clock)
    async with world.monitor.subscribe() as stream:
        waiting = asyncio.ensure_future(anext(stream))
        await other.monitor.add(ALICE)
        await world.clock.advance(1)
        assert (await waiting).type == "wallet:added"
        ending = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        await world.feed.close()
        with pytest.raises(StopAsyncIteration):
            await ending
    with pytest.raises(InvalidInputError):
        async with world.monitor.subscribe(after_event_id=-1):
            pass
    await other.close()
