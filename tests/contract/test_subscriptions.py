"""Subscriptions on every database: each buy once, at most as often as allowed, whatever breaks between."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from solders.keypair import Keypair
from solders.signature import Signature

from deal_sdk.clock import ManualClock
from deal_sdk.errors import (
    InvalidInputError,
    InvalidWalletAddressError,
    PurchaseNotMadeError,
    SubscriptionNotFoundError,
)
from deal_sdk.events import EventBus
from deal_sdk.limits import Gate, PurchaseRecords, PurchaseRule, Store, open_store
from deal_sdk.metrics import Metrics
from deal_sdk.monitor import (
    PurchaseCounter,
    PurchaseOrder,
    PurchaseRuns,
    PurchaseStore,
    RunBounds,
    Subscription,
    SubscriptionRouter,
    SubscriptionStore,
    WatchedBuy,
)
from deal_sdk.monitor.purchase_store import MIN_KEPT_SECONDS
from deal_sdk.records import Database
from deal_sdk.records.purchase_tables import token_purchases

PAYLOAD = Path(__file__).parents[1] / "unit" / "monitor" / "payloads" / "routed_buy.json"
CONFIG = {"take_profit_percentage": 50, "stop_loss_percentage": "12.5", "note": "open to more"}
BOUNDS = RunBounds(max_in_flight=4, timeout_seconds=5, max_age_seconds=120, close_seconds=0.01)


def address(name: str) -> str:
    return str(Keypair.from_seed(hashlib.sha256(name.encode()).digest()).pubkey())


KOL, MINT = address("kol"), address("token mint")


def buy(number: int = 0, *, wallet: str = KOL, mint: str = MINT, instruction_index: int = 0) -> WatchedBuy:
    signature = str(Signature.from_bytes(hashlib.sha512(str(number).encode()).digest()))
    return WatchedBuy(signature, wallet, mint, instruction_index)


class Executor:
    """Buys, or does what it is told to."""

    def __init__(self, act: Callable[[PurchaseOrder], Awaitable[str | None]] | None = None) -> None:
        self.orders: list[PurchaseOrder] = []
        self.begun: asyncio.Queue[PurchaseOrder] = asyncio.Queue()
        self._act = act

    async def __call__(self, order: PurchaseOrder) -> str | None:
        self.orders.append(order)
        self.begun.put_nowait(order)
        return f"payment-{len(self.orders)}" if self._act is None else await self._act(order)


class Process:
    """One process that shares database and store with others."""

    def __init__(self, database: Database, store: Store, clock: ManualClock, bounds: RunBounds) -> None:
        self.metrics, self.events = Metrics(), EventBus(clock)
        records = PurchaseRecords(database)
        self.gate = Gate(store, clock=clock, metrics=self.metrics, history=records)
        self.purchases = PurchaseStore(database)
        self.runs = PurchaseRuns(
            self.purchases,
            PurchaseCounter(self.gate, records),
            clock=clock,
            events=self.events,
            metrics=self.metrics,
            bounds=bounds,
        )
        self.router = SubscriptionRouter(SubscriptionStore(database), self.purchases, self.runs)

    async def used(self, user: str = "user", mint: str = MINT) -> int:
        (state,) = await self.gate.peek([PurchaseRule(user, mint, 1_000)])
        return state.current

    async def states(self) -> dict[str, str | None]:
        return {item.state: item.reason for item in await self.router.purchases(limit=1_000)}

    async def tell(self, *buys: WatchedBuy) -> list[str]:
        told = await self.router.handle_buys(buys)
        await self.router.settled()
        now = {item.id: item for item in await self.router.purchases(limit=1_000)}
        return [now[item.id].state for item in told]


# Every test on one database; those in which rows are fought for on PostgreSQL as well.
@pytest.fixture(params=["ephemeral"])
def database_url(request: pytest.FixtureRequest) -> str:
    if request.param == "ephemeral":
        return "sqlite+aiosqlite://"
    url: str = request.getfixturevalue("postgres_url")
    return url


ON_POSTGRES_TOO = pytest.mark.parametrize(
    "database_url", ["ephemeral", pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)


@pytest.fixture
async def store(manual_clock: ManualClock) -> AsyncIterator[Store]:
    async with open_store("memory://", test_clock=manual_clock) as store:
        yield store


@asynccontextmanager
async def opened(
    database: Database, store: Store, clock: ManualClock, bounds: RunBounds = BOUNDS
) -> AsyncIterator[Process]:
    process = Process(database, store, clock, bounds)
    yield process
    await process.router.close()


@pytest.fixture
async def process(database: Database, store: Store, manual_clock: ManualClock) -> AsyncIterator[Process]:
    async with opened(database, store, manual_clock) as process:
        yield process


async def follow(process: Process, user: str = "user", count: int | None = 2, **more: Any) -> Subscription:
    fields: dict[str, Any] = {"token_buy_count": count, "watch_config": CONFIG, **more}
    return await process.router.add(user, fields.pop("kol_wallet", KOL), **fields)


class TestSubscriptions:
    @ON_POSTGRES_TOO
    async def test_are_added_listed_and_removed(self, process: Process, manual_clock: ManualClock) -> None:
        added = await follow(process)
        await manual_clock.advance(1)
        other = await follow(process, "somebody else", kol_wallet=address("another kol"))
        assert await process.router.list() == (added, other)
        assert await process.router.list(user_id="user") == (added,)
        assert await process.router.list(kol_wallet=address("another kol")) == (other,)
        assert added.watch_config is not None
        assert added.watch_config.to_dict() == {**CONFIG, "take_profit_percentage": "50"}
        await process.router.remove(added.id)
        assert await process.router.list() == (other,)
        for unknown in (added.id, str(added.id)):
            with pytest.raises(SubscriptionNotFoundError):
                await process.router.remove(unknown)

    async def test_that_could_not_be_followed_are_refused(self, process: Process) -> None:
        given = {"user_id": "user", "kol_wallet": KOL, "token_buy_count": 1, "watch_config": CONFIG}
        for fields in (
            {"user_id": ""},
            {"token_buy_count": -1},
            {"token_buy_count": True},
            {"token_buy_count": 10**9},
            {"type": ""},
            {"type": "x" * 33},
            {"watch_config": {"take_profit_percentage": 0}},
            {"watch_config": {"stop_loss_percentage": 101}},
            {"watch_config": {"stop_loss_percentage": "NaN"}},
            {"watch_config": {"stop_loss_percentage": True}},
            {"watch_config": {"more": object()}},
            {"watch_config": {"more": "x" * 20_000}},
            {"watch_config": [1]},
        ):
            wrong: dict[str, Any] = {**given, **fields}
            with pytest.raises(InvalidInputError):
                await process.router.add(**wrong)
        with pytest.raises(InvalidWalletAddressError):
            await process.router.add("user", "nobody")
        assert await process.router.list() == ()


class TestBuys:
    async def test_are_checked_counted_and_executed(self, process: Process) -> None:
        executor = Executor()
        subscription = await follow(process, count=2)
        await process.router.start(executor)
        assert await process.tell(buy(1)) == ["executed"]
        assert await process.tell(buy(2), buy(3)) in (["executed", "skipped"], ["skipped", "executed"])
        assert await process.states() == {"executed": None, "skipped": "limit_reached"}
        assert await process.used() == 2
        assert executor.orders[0].subscription == subscription
        assert executor.orders[0].buy == buy(1)
        found = {item.reference for item in await process.router.purchases(subscription_id=subscription.id)}
        assert found == {"payment-1", "payment-2", None}

    async def test_of_a_subscription_without_a_limit_are_executed_without_a_check(
        self, process: Process
    ) -> None:
        unlimited: list[dict[str, Any]] = [
            {"token_buy_count": None, "watch_config": CONFIG},
            {"token_buy_count": 0, "watch_config": CONFIG},
            {"token_buy_count": 1, "watch_config": None},
        ]
        for fields in unlimited:
            await process.router.add("user", KOL, **fields)
        await process.router.start(Executor())
        assert await process.tell(buy(1), buy(2), buy(3)) == ["executed"] * 9
        assert await process.used() == 0

    async def test_of_other_types_and_wallets_are_ignored(self, process: Process) -> None:
        await follow(process, type="alert")
        await follow(process, kol_wallet=address("another kol"))
        await process.router.start(Executor())
        assert await process.router.handle_buys([buy(1)]) == ()

    async def test_reach_every_follower(self, process: Process) -> None:
        executor = Executor()
        for number in range(5):
            await follow(process, f"user-{number}")
        await process.router.start(executor)
        assert await process.tell(buy(1)) == ["executed"] * 5
        assert {order.subscription.user_id for order in executor.orders} == {
            f"user-{number}" for number in range(5)
        }

    async def test_come_in_by_a_payload(self, process: Process) -> None:
        executor = Executor()
        await follow(process)
        await process.router.start(executor)
        (purchase,) = await process.router.handle_payload(PAYLOAD.read_bytes())
        await process.router.settled()
        assert (purchase.state, purchase.is_duplicate) == ("received", False)
        assert [order.buy.token_amount for order in executor.orders] == ["4821077.123456"]

    async def test_race_for_exactly_as_many_as_allowed(self, process: Process) -> None:
        executor = Executor()
        await follow(process, count=10)
        await process.router.start(executor)
        states = await process.tell(*(buy(number) for number in range(40)))
        assert sorted(states) == ["executed"] * 10 + ["skipped"] * 30
        assert len(executor.orders) == 10

    async def test_run_a_bounded_number_at_once_and_tell_of_it(self, process: Process) -> None:
        running, most = 0, 0

        async def act(order: PurchaseOrder) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

        told: list[str] = []

        async def listen(event: Any) -> None:
            told.append(event.type)

        process.events.subscribe("*", listen)
        await follow(process, count=None)
        await process.router.start(Executor(act))
        await process.tell(*(buy(number) for number in range(20)))
        await process.events.drain()
        await process.events.close()
        assert most == BOUNDS.max_in_flight
        assert told == ["subscription.executed"] * 20
        assert 'subscription_purchases_total{outcome="executed"} 20.0' in process.metrics.render().decode()


class TestTwice:
    @ON_POSTGRES_TOO
    async def test_told_is_counted_once(self, process: Process) -> None:
        executor = Executor()
        await follow(process, count=5)
        await process.router.start(executor)
        first = await asyncio.gather(*(process.router.handle_buys([buy(1), buy(1)]) for _ in range(4)))
        await process.router.settled()
        assert sum(not item.is_duplicate for told in first for item in told) == 1
        (again,) = await process.router.handle_buys([buy(1)])
        assert (again.is_duplicate, again.state) == (True, "executed")
        assert len(executor.orders) == 1
        assert await process.used() == 1

    @ON_POSTGRES_TOO
    async def test_by_two_processes_is_counted_once(
        self, process: Process, database: Database, store: Store, manual_clock: ManualClock
    ) -> None:
        executors = [Executor(), Executor()]
        await follow(process, count=5)
        async with opened(database, store, manual_clock) as other:
            for one, executor in zip((process, other), executors, strict=True):
                await one.router.start(executor)
            await asyncio.gather(*(one.tell(buy(1), buy(2)) for one in (process, other)))
        assert sum(len(executor.orders) for executor in executors) == 2
        assert await process.used() == 2

    async def test_two_instructions_of_one_transaction_are_two_buys(self, process: Process) -> None:
        await follow(process, count=5)
        await process.router.start(Executor())
        told = [buy(1), buy(1, instruction_index=1), buy(1, mint=address("another mint"))]
        assert await process.tell(*told) == ["executed"] * 3


class TestExecutor:
    async def test_proof_that_nothing_happened_gives_the_count_back(self, process: Process) -> None:
        async def act(order: PurchaseOrder) -> None:
            raise PurchaseNotMadeError("the price had moved")

        await follow(process, count=1)
        await process.router.start(Executor(act))
        assert await process.tell(buy(1)) == ["refunded"]
        assert await process.states() == {"refunded": "the price had moved"}
        assert await process.used() == 0
        await process.router.start(Executor())
        assert await process.tell(buy(2)) == ["executed"]

    async def test_any_other_failure_keeps_the_count(self, process: Process) -> None:
        async def act(order: PurchaseOrder) -> None:
            raise RuntimeError("a text with a secret")

        await follow(process, count=1)
        await process.router.start(Executor(act))
        assert await process.tell(buy(1)) == ["unknown"]
        assert await process.states() == {"unknown": "executor_failed: RuntimeError"}
        assert await process.used() == 1
        assert await process.tell(buy(2)) == ["skipped"]

    async def test_one_that_takes_too_long_is_unknown(
        self, database: Database, store: Store, manual_clock: ManualClock
    ) -> None:
        async def act(order: PurchaseOrder) -> None:
            await asyncio.Event().wait()

        bounds = RunBounds(4, timeout_seconds=0.01, max_age_seconds=120)
        async with opened(database, store, manual_clock, bounds) as process:
            await follow(process)
            await process.router.start(Executor(act))
            assert await process.tell(buy(1)) == ["unknown"]
            assert await process.states() == {"unknown": "timeout"}
            assert await process.used() == 1

    async def test_one_that_hangs_does_not_keep_the_process_from_ending(self, process: Process) -> None:
        async def act(order: PurchaseOrder) -> None:
            await asyncio.Event().wait()

        executor = Executor(act)
        await follow(process, count=10)
        await process.router.start(executor)
        await process.router.handle_buys([buy(number) for number in range(6)])
        for _ in range(BOUNDS.max_in_flight):
            await executor.begun.get()
        await process.router.close()
        states = [item.state for item in await process.router.purchases()]
        assert sorted(states) == ["counted"] * 2 + ["unknown"] * 4
        assert await process.used() == 6


class TestCrash:
    """A process that takes in buys and has no executor stands for one that died on the way."""

    async def test_before_the_count_is_made_good(
        self, process: Process, database: Database, store: Store, manual_clock: ManualClock
    ) -> None:
        await follow(process, count=5)
        assert await process.tell(buy(1)) == ["received"]
        await manual_clock.advance(1)
        async with opened(database, store, manual_clock) as later:
            assert await later.router.start(Executor()) == 1
            await later.router.settled()
            assert await later.states() == {"executed": None}
            assert await later.used() == 1

    @pytest.mark.parametrize("is_noted", [True, False])
    async def test_after_the_count_is_carried_on_and_not_counted_again(
        self, process: Process, database: Database, manual_clock: ManualClock, store: Store, is_noted: bool
    ) -> None:
        await follow(process, count=5)
        await self._count(process, is_noted=is_noted)
        assert await process.used() == 1
        await manual_clock.advance(1)
        executor = Executor()
        async with opened(database, store, manual_clock) as later:
            assert await later.router.start(executor) == 1
            await later.router.settled()
            assert await later.states() == {"executed": None}
            assert await later.used() == 1
        assert len(executor.orders) == 1

    @pytest.mark.parametrize("is_noted", [True, False])
    async def test_too_long_ago_is_skipped_and_given_back(
        self, process: Process, manual_clock: ManualClock, is_noted: bool
    ) -> None:
        await follow(process, count=5)
        await self._count(process, is_noted=is_noted)
        await manual_clock.advance(121)
        executor = Executor()
        assert await process.router.start(executor) == 1
        await process.router.settled()
        assert await process.states() == {"skipped": "too_old"}
        assert executor.orders == []
        assert await process.used() == 0

    async def test_during_the_execution_is_unknown_and_never_repeated(
        self, process: Process, database: Database, store: Store, manual_clock: ManualClock
    ) -> None:
        await follow(process, count=5)
        (received,) = await process.router.handle_buys([buy(1)])
        assert await process.purchases.begin(received, process.purchases.held_for(60))
        executor = Executor()
        await manual_clock.advance(30)
        assert await process.router.start(executor) == 0
        await manual_clock.advance(31)
        assert await process.router.recover() == 1
        await process.router.settled()
        assert await process.states() == {"unknown": "interrupted"}
        assert executor.orders == []

    @ON_POSTGRES_TOO
    async def test_one_that_was_only_slow_still_says_what_it_did(
        self, process: Process, database: Database, store: Store, manual_clock: ManualClock
    ) -> None:
        may_end = asyncio.Event()

        async def act(order: PurchaseOrder) -> str:
            await may_end.wait()
            return "late"

        slow = Executor(act)
        await follow(process, count=5)
        await process.router.start(slow)
        await process.router.handle_buys([buy(1)])
        await slow.begun.get()
        await manual_clock.advance(66)
        async with opened(database, store, manual_clock) as other:
            await other.router.start(Executor())
            await other.router.settled()
            assert await other.states() == {"unknown": "interrupted"}
        may_end.set()
        await process.router.settled()
        (purchase,) = await process.router.purchases()
        assert (purchase.state, purchase.reason, purchase.reference) == ("executed", None, "late")

    async def test_of_the_store_leaves_it_for_later(
        self, process: Process, database: Database, store: Store, manual_clock: ManualClock
    ) -> None:
        await follow(process, count=5)
        executor = Executor()
        await process.router.start(executor)
        await store.close()
        assert await process.tell(buy(1)) == ["received"]
        assert executor.orders == []
        await manual_clock.advance(61)
        async with (
            open_store("memory://", test_clock=manual_clock) as fresh,
            opened(database, fresh, manual_clock) as later,
        ):
            assert await later.router.start(executor) == 1
            await later.router.settled()
            assert await later.states() == {"executed": None}
            assert await later.used() == 1

    async def test_of_the_counters_counts_what_the_record_knows(self, process: Process, store: Store) -> None:
        await follow(process, count=2)
        await process.router.start(Executor())
        assert await process.tell(buy(1), buy(2)) == ["executed"] * 2
        await store.command_everywhere("FLUSHALL")
        assert await process.tell(buy(3)) == ["skipped"]

    async def test_of_a_subscription_meanwhile_hands_nothing_over(
        self, process: Process, manual_clock: ManualClock
    ) -> None:
        subscription = await follow(process, count=5)
        await self._count(process, is_noted=True)
        await process.router.remove(subscription.id)
        await manual_clock.advance(1)
        executor = Executor()
        await process.router.start(executor)
        await process.router.settled()
        assert await process.states() == {"skipped": "subscription_removed"}
        assert executor.orders == []
        assert await process.used() == 0

    @staticmethod
    async def _count(process: Process, *, is_noted: bool) -> None:
        (received,) = await process.router.handle_buys([buy(1)])
        counter = PurchaseCounter(process.gate, PurchaseRecords(process.purchases._database))
        assert await counter.count(received)
        if is_noted:
            assert await process.purchases.move(received, ("received",), state="counted", is_counted=True)


@ON_POSTGRES_TOO
class TestCleanup:
    async def test_what_ended_long_ago_and_counts_no_more_is_deleted(
        self, process: Process, manual_clock: ManualClock
    ) -> None:
        await process.router.start(Executor())
        await follow(process, count=1)
        assert await process.tell(buy(1), buy(2)) == ["executed", "skipped"]
        await process.router.close()
        waiting = await process.router.handle_buys([buy(3)])
        await manual_clock.advance(MIN_KEPT_SECONDS)
        assert await process.router.cleanup(MIN_KEPT_SECONDS) == 0
        await manual_clock.advance(1)
        assert await process.router.cleanup(MIN_KEPT_SECONDS) == 1
        # Its count is still recorded; an open one is never deleted.
        assert {item.state for item in await process.router.purchases()} == {"executed", "received"}

        async with process.purchases._database.transaction() as connection:
            await connection.execute(token_purchases.delete())
        assert await process.router.cleanup(MIN_KEPT_SECONDS) == 1
        assert [item.id for item in await process.router.purchases()] == [waiting[0].id]

    async def test_too_short_a_time_is_refused(self, process: Process) -> None:
        with pytest.raises(InvalidInputError):
            await process.router.cleanup(MIN_KEPT_SECONDS - 1)
