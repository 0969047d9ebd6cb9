"""Polling on every database: nothing skipped, nothing counted twice, and a stop exactly at the limit.

The scenarios of a watched wallet's life have one test each, by name.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from solders.pubkey import Pubkey

from deal_sdk.chain.replies import TokenHolding
from deal_sdk.clock import ManualClock
from deal_sdk.errors import DatabaseUnavailableError
from deal_sdk.monitor import UNLIMITED
from deal_sdk.records import Database
from deal_sdk.records.watch_tables import watched_transactions
from tests.contract.scripted_chain import ScriptedChain
from tests.contract.test_watched_wallets import ON_POSTGRES_TOO, database_url  # noqa: F401
from tests.contract.watch_world import ALICE, BOB, CAROL, DAVE, MINT, WatchWorld, token_account_of

ALICES_TOKENS = str(token_account_of(Pubkey.from_string(ALICE)))
OTHER_MINT = str(Pubkey.from_string(DAVE))

MakeWorld = Callable[..., Any]


@pytest.fixture
async def make_world(database: Database, manual_clock: ManualClock) -> AsyncIterator[MakeWorld]:
    """Make processes that share one database and one chain."""
    worlds: list[WatchWorld] = []
    chain = ScriptedChain()

    async def make(**options: Any) -> WatchWorld:
        world = WatchWorld(database, manual_clock, chain=chain, **options)
        await world.lease.register()
        worlds.append(world)
        return world

    yield make
    for world in worlds:
        await world.close()


async def numbers(world: WatchWorld, wallet: str) -> list[tuple[int, str]]:
    counted = await world.monitor.transactions(wallet, limit=1_000)
    return [(item.number, item.signature) for item in reversed(counted)]


async def test_a_wallet_counts_what_it_does_from_when_it_was_added(make_world: MakeWorld) -> None:
    world = await make_world()
    world.chain.land(ALICE)
    await world.monitor.add(ALICE)
    await world.poll()
    assert await world.count(ALICE) == 0
    first, second = world.chain.land(ALICE), world.chain.land(ALICE, failed=True)
    world.chain.land(BOB)
    await world.poll()
    assert await numbers(world, ALICE) == [(1, first), (2, second)]
    assert await world.told() == ["wallet:added", "wallet:transaction", "wallet:transaction"]
    assert world.chain.reads == 1, "a failed transaction moved nothing and needs no call"


async def test_a_poll_counts_at_most_five(make_world: MakeWorld) -> None:
    world = await make_world()
    await world.monitor.add(ALICE)
    landed = [world.chain.land(ALICE) for _ in range(12)]
    seen = []
    for _ in range(4):
        await world.poll()
        seen.append(await world.count(ALICE))
    assert seen == [5, 10, 12, 12]
    assert [signature for _, signature in await numbers(world, ALICE)] == landed


async def test_it_polls_every_sixty_seconds_and_not_before(make_world: MakeWorld) -> None:
    world = await make_world()
    await world.monitor.add(ALICE)
    await world.poll()
    before = world.chain.listings
    for _ in range(59):
        await world.clock.advance(1)
        await world.rounds.run_once()
    assert world.chain.listings == before
    await world.clock.advance(1)
    await world.rounds.run_once()
    assert world.chain.listings == before + 2, "its address and its token account"


@ON_POSTGRES_TOO
async def test_stops_exactly_at_the_limit_while_others_go_on(make_world: MakeWorld) -> None:
    world = await make_world(limit=8)
    await world.monitor.add(ALICE)
    await world.monitor.add(BOB)
    for _ in range(12):
        world.chain.land(ALICE)
    world.chain.land(BOB)
    await world.poll(4)
    alice, bob = await world.monitor.list()
    assert (alice.status, alice.stop_reason, alice.transaction_count) == ("limit-reached", "limit-reached", 8)
    assert (alice.badge, alice.progress_percent) == ("\N{WARNING SIGN} 8/8", 100)
    assert (bob.status, bob.transaction_count) == ("active", 1)
    assert alice.pending_transactions == 4
    (event,) = [item for item in await world.monitor.events_after(0) if item.type == "wallet:limit-reached"]
    assert {name: event.data[name] for name in ("address", "transactionCount", "maxTransactions")} == {
        "address": ALICE,
        "transactionCount": 8,
        "maxTransactions": 8,
    }
    assert event.data["message"] == "Wallet monitoring automatically stopped - 8 transaction limit reached"
    assert event.data["timestamp"] == event.timestamp.isoformat()


async def test_stops_at_200_and_shows_201_of_200_after_a_re_watch(make_world: MakeWorld) -> None:
    world = await make_world(per_poll=1_000)
    await world.monitor.add(ALICE)
    for _ in range(201):
        world.chain.land(ALICE)
    await world.poll(3)
    stopped = await world.monitor.get(ALICE)
    assert (stopped.transaction_count, stopped.status_text) == (200, "Limit Reached")
    assert stopped.pending_transactions == 1, "what arrived beyond the limit waits, uncounted"
    await world.monitor.rewatch(ALICE)
    await world.poll()
    again = await world.monitor.get(ALICE)
    assert (again.badge, again.next_stop, again.status_text) == ("201/200", 400, "Active")


async def test_stops_again_at_each_multiple_of_the_limit(make_world: MakeWorld) -> None:
    world = await make_world(limit=4)
    await world.monitor.add(ALICE)
    stops = []
    for _ in range(3):
        for _ in range(6):
            world.chain.land(ALICE)
        await world.poll(3)
        stops.append(await world.count(ALICE))
        await world.monitor.rewatch(ALICE)
    assert stops == [4, 8, 12]


async def test_warns_once_at_nine_tenths(make_world: MakeWorld) -> None:
    world = await make_world(limit=10)
    await world.monitor.add(ALICE)
    for _ in range(10):
        world.chain.land(ALICE)
    await world.poll(3)
    warnings = [item for item in await world.monitor.events_after(0) if item.type == "wallet:approaching"]
    assert [item.data["transactionCount"] for item in warnings] == [9]
    assert warnings[0].data["wallet"]["level"] == "warning"
    assert (await world.told())[-2:] == ["wallet:transaction", "wallet:limit-reached"]


async def test_99999_never_stops(make_world: MakeWorld) -> None:
    world = await make_world(per_poll=1_000)
    await world.monitor.add(ALICE, max_transactions=UNLIMITED)
    for _ in range(450):
        world.chain.land(ALICE)
    await world.poll()
    assert (await world.count(ALICE), (await world.monitor.get(ALICE)).status) == (450, "active")


@ON_POSTGRES_TOO
async def test_a_thousand_between_two_polls_are_all_counted_once(make_world: MakeWorld) -> None:
    world = await make_world(per_poll=5_000, pages={"page_size": 100, "pages_per_poll": 3})
    await world.monitor.add(ALICE, max_transactions=UNLIMITED)
    landed = [world.chain.land(ALICE) for _ in range(1_000)]
    await world.poll(3)
    assert await world.count(ALICE) == 0, "the walk back has not arrived yet"
    more = world.chain.land(ALICE, slot=2_000)
    await world.poll()
    assert await numbers(world, ALICE) == list(enumerate(landed, 1))
    await world.poll()
    assert (await numbers(world, ALICE))[-1] == (1_001, more)


async def test_one_that_names_wallet_and_token_account_counts_once(make_world: MakeWorld) -> None:
    world = await make_world()
    await world.monitor.add(ALICE)
    for names in ((ALICE, ALICES_TOKENS), (ALICES_TOKENS,)):
        world.chain.land(*names)
    await world.poll()
    assert await world.count(ALICE) == 2


async def test_an_endpoint_that_is_behind_neither_skips_nor_repeats(make_world: MakeWorld) -> None:
    world = await make_world()
    await world.monitor.add(ALICE)
    for _ in range(4):
        world.chain.land(ALICE)
    await world.poll()
    world.chain.shows_up_to_slot = 2
    world.chain.land(ALICE)
    await world.poll(2)
    assert await world.count(ALICE) == 4
    world.chain.shows_up_to_slot = None
    await world.poll()
    assert await world.count(ALICE) == 5


async def test_an_endpoint_that_is_gone_for_minutes_costs_time_alone(make_world: MakeWorld) -> None:
    world = await make_world()
    await world.monitor.add(ALICE)
    world.chain.is_gone = True
    world.chain.land(ALICE)
    await world.poll(5)
    gone = await world.monitor.get(ALICE)
    assert (gone.transaction_count, gone.last_error) == (0, "the endpoint does not answer")
    assert gone.rpc_calls_today == 10, "a call that failed may have been counted by the provider"
    world.chain.is_gone = False
    await world.poll()
    back = await world.monitor.get(ALICE)
    assert (back.transaction_count, back.last_error) == (1, None)


async def test_one_that_cannot_be_shown_waits_and_is_counted_in_the_end(make_world: MakeWorld) -> None:
    world = await make_world()
    await world.monitor.add(ALICE)
    world.chain.hidden = {world.chain.land(ALICE)}
    shown = world.chain.land(ALICE)
    await world.poll()
    assert await numbers(world, ALICE) == [(1, shown)]
    await world.poll(8)
    assert await world.count(ALICE) == 1
    await world.poll()
    (late, _) = await world.monitor.transactions(ALICE)
    assert (late.number, late.direction) == (2, None)


async def test_polling_ends_with_the_last_active_wallet_and_begins_with_a_re_watch(
    make_world: MakeWorld,
) -> None:
    world = await make_world()
    await world.monitor.add(ALICE)
    await world.poll()
    await world.monitor.stop(ALICE)
    before = world.chain.listings
    world.chain.land(ALICE)
    await world.poll(3)
    assert world.chain.listings == before
    await world.monitor.rewatch(ALICE)
    await world.rounds.run_once()
    assert await world.count(ALICE) == 1, "what happened meanwhile is listed as well"


async def test_a_scheduled_stop_comes_at_its_time(make_world: MakeWorld) -> None:
    world = await make_world()
    await world.monitor.add(ALICE)
    await world.monitor.schedule_stop(ALICE, world.clock.now() + timedelta(seconds=90))
    await world.poll()
    assert (await world.monitor.get(ALICE)).is_active
    await world.poll()
    stopped = await world.monitor.get(ALICE)
    assert (stopped.status, stopped.stop_reason, stopped.stop_at) == ("stopped", "scheduled", None)


async def test_a_hint_polls_a_wallet_before_its_time_but_not_at_every_one(make_world: MakeWorld) -> None:
    world = await make_world()
    await world.monitor.add(ALICE)
    await world.poll()
    assert world.rounds.held == {ALICE, ALICES_TOKENS}
    world.chain.land(ALICES_TOKENS)
    world.rounds.hint(ALICES_TOKENS)
    await world.clock.advance(1)
    await world.rounds.run_once()
    assert await world.count(ALICE) == 0
    await world.clock.advance(4)
    await world.rounds.run_once()
    assert await world.count(ALICE) == 1


@ON_POSTGRES_TOO
async def test_each_wallet_is_polled_by_one_process_and_taken_over_from_a_dead_one(
    make_world: MakeWorld,
) -> None:
    first, second = await make_world(), await make_world()
    await first.monitor.add(ALICE)
    for _ in range(3):
        first.chain.land(ALICE)
    await first.poll()
    before = first.chain.listings
    await second.rounds.run_once()
    assert (second.rounds.held, first.chain.listings) == (frozenset(), before)
    await first.lease.release()
    first.chain.land(ALICE)
    await second.poll()
    assert second.rounds.held == {ALICE, ALICES_TOKENS}
    assert await second.count(ALICE) == 4
    await first.rounds.run_once()
    assert (first.rounds.held, await first.count(ALICE)) == (frozenset(), 4)


async def test_a_process_that_lost_its_wallet_meanwhile_counts_nothing(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await make_world(), await make_world()
    await first.monitor.add(ALICE)
    first.chain.land(ALICE)
    read = first.reads.get

    async def slow(signature: str) -> Any:
        await first.lease.release()
        await second.poll()
        return await read(signature)

    monkeypatch.setattr(first.reads, "get", slow)
    await first.poll()
    assert await first.count(ALICE) == 1
    assert (await first.told()).count("wallet:transaction") == 1


@pytest.mark.parametrize("lost", ["listing", "count"])
async def test_a_commit_that_fails_is_made_up_for_by_the_next_poll(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    world = await make_world()
    await world.monitor.add(ALICE)
    world.chain.land(ALICE)

    async def fail(*_: Any) -> None:
        raise DatabaseUnavailableError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(world.quota, "add", fail)
        if lost == "count":
            kept = type(world.quota).add
            calls = iter([kept.__get__(world.quota), fail])

            async def second_fails(*arguments: Any) -> None:
                await next(calls)(*arguments)

            patch.setattr(world.quota, "add", second_fails)
        with pytest.raises((DatabaseUnavailableError, RuntimeError)):
            await world.poll()
    assert await world.count(ALICE) == 0
    await world.poll()
    assert await world.count(ALICE) == 1


async def test_what_a_wallet_gets_and_gives_is_decoded(make_world: MakeWorld) -> None:
    world = await make_world()
    await world.monitor.add(ALICE)

    def holdings(alice: int, bob: int) -> dict[str, TokenHolding]:
        return {
            ALICES_TOKENS: TokenHolding(ALICE, str(MINT), alice),
            "bobs": TokenHolding(BOB, str(MINT), bob),
        }

    world.chain.land(
        ALICES_TOKENS, before=holdings(0, 500), after=holdings(150, 350), memos=("<b>rent</b>", "x")
    )
    world.chain.land(ALICE, before=holdings(150, 350), after=holdings(100, 400))
    await world.poll()
    given, got = await world.monitor.transactions(ALICE)
    assert (got.direction, got.amount, got.counterparty) == ("incoming", "0.0000015", BOB)
    assert got.memo == "<b>rent</b> | x"
    assert (given.direction, given.amount_base_units, given.memo) == ("outgoing", 50, None)
    assert world.marked == [ALICES_TOKENS] * 2, "the balance history reads them as well"
    assert world.metrics.watched_wallet_transactions._value.get() == 2


async def test_a_swap_is_told_as_a_buy_and_an_airdrop_is_not(make_world: MakeWorld) -> None:
    world = await make_world()
    await world.monitor.add(ALICE)
    paid = {ALICES_TOKENS: TokenHolding(ALICE, str(MINT), 10)}
    bought = {"new": TokenHolding(ALICE, OTHER_MINT, 7)}
    swap = world.chain.land(ALICE, before=paid, after=bought)
    world.chain.land(ALICE, after=bought)
    await world.poll()
    assert [(buy.signature, buy.kol_wallet, buy.token_mint) for buy in world.buys] == [
        (swap, ALICE, OTHER_MINT)
    ]


async def test_a_reset_counts_nothing_again(make_world: MakeWorld) -> None:
    world = await make_world(limit=3)
    await world.monitor.add(ALICE)
    for _ in range(3):
        world.chain.land(ALICE)
    await world.poll()
    assert (await world.monitor.get(ALICE)).status == "limit-reached"
    await world.monitor.reset(ALICE)
    await world.monitor.rewatch(ALICE)
    later = world.chain.land(ALICE)
    await world.poll()
    assert await numbers(world, ALICE) == [(1, later)]
    rows = await world.database.fetch(sa.select(sa.func.count()).select_from(watched_transactions))
    assert rows[0][0] == 4, "what was counted before stays, so that it is known"


async def test_the_calls_of_each_wallet_are_counted(make_world: MakeWorld) -> None:
    world = await make_world()
    for wallet in (ALICE, BOB, CAROL):
        await world.monitor.add(wallet)
    world.chain.land(ALICE)
    world.chain.land(ALICE, BOB)
    await world.poll()
    overview = await world.monitor.quota()
    assert overview.calls_used == 3 * 2 + 2
    assert sum(overview.calls_by_wallet.values()) == overview.calls_used
