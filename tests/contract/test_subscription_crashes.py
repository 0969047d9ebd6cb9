"""A process that dies before or after each of its steps, one after another, and the one that comes next."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest

from deal_sdk.clock import ManualClock
from deal_sdk.errors import PurchaseNotMadeError
from deal_sdk.events import EventBus
from deal_sdk.limits import Gate, PurchaseRecords, PurchaseRule, Store, open_store
from deal_sdk.metrics import Metrics
from deal_sdk.monitor import (
    PurchaseCounter,
    PurchaseOrder,
    PurchaseRuns,
    PurchaseStore,
    RunBounds,
    SubscriptionPurchase,
    SubscriptionRouter,
    SubscriptionStore,
    WatchedBuy,
)
from deal_sdk.records import Database

KOL: Final = "3cAMVo9zhnTcHiu4pRyT5NrDGQ9hQyWjFGHFPrbuWsUU"
MINT: Final = "AjMe6go2RBZcHFnGVRj1uTs5x3H2TTSavQ5ey9xTHEXJ"
BUY: Final = WatchedBuy("5" * 88, KOL, MINT)
MOST_STEPS: Final = 30
STEPS: Final = ("receive", "move", "begin", "end_executed", "count", "give_back")


class Crash(BaseException):
    """The process is gone; nothing that it would have done happens."""


class Fate:
    """Lets a process live for so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def step(self) -> None:
        if self.left == 0:
            raise Crash
        self.left -= 1

    def mortal(self, subject: Any) -> Any:
        for name in STEPS:
            if hasattr(subject, name):
                setattr(subject, name, self.between_crashes(getattr(subject, name)))
        return subject

    def between_crashes(self, act: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def step(*arguments: Any, **named: Any) -> Any:
            self.step()
            result = await act(*arguments, **named)
            self.step()
            return result

        return step


class Market:
    """What was really bought, which no crash takes back."""

    def __init__(self, *, refuses: bool) -> None:
        self.bought: list[PurchaseOrder] = []
        self.asked: list[PurchaseOrder] = []
        self._refuses = refuses

    async def execute(self, order: PurchaseOrder) -> str:
        self.asked.append(order)
        if self._refuses:
            raise PurchaseNotMadeError("sold out")
        self.bought.append(order)
        return "receipt"


class World:
    def __init__(self, database: Database, store: Store, clock: ManualClock) -> None:
        self.database, self.store, self.clock = database, store, clock
        self.records = PurchaseRecords(database)
        self.gate = Gate(store, clock=clock, metrics=Metrics(), history=self.records)

    async def live(self, market: Market, steps: int, *, is_told: bool) -> bool:
        """Run a process until it has done all there is, or for so many steps; return whether it lived."""
        fate = Fate(steps)
        rows = fate.mortal(PurchaseStore(self.database))
        counter = fate.mortal(PurchaseCounter(self.gate, self.records))
        runs = PurchaseRuns(
            rows,
            counter,
            clock=self.clock,
            events=EventBus(self.clock),
            metrics=Metrics(),
            bounds=RunBounds(2, 5, 120, close_seconds=0.01),
        )
        router = SubscriptionRouter(SubscriptionStore(self.database), rows, runs)
        try:
            await router.start(fate.between_crashes(market.execute))
            if is_told:
                await router.handle_buys([BUY])
            tasks = list(runs._tasks.values())
            await router.settled()
            return not any(isinstance(task.exception(), Crash) for task in tasks)
        except Crash:
            return False

    async def counted(self) -> int:
        (state,) = await self.gate.peek([PurchaseRule("user", MINT, 100)])
        return state.current


@pytest.fixture
def database_url() -> str:
    return "sqlite+aiosqlite://"


@pytest.fixture
async def world(database: Database, manual_clock: ManualClock) -> AsyncIterator[World]:
    async with open_store("memory://", test_clock=manual_clock) as store:
        yield World(database, store, manual_clock)


@pytest.mark.parametrize("refuses", [False, True], ids=["buys", "refuses"])
@pytest.mark.parametrize("is_late", [False, True], ids=["soon", "late"])
async def test_a_crash_at_every_step_buys_once_at_most_and_counts_what_was_bought(
    world: World, refuses: bool, is_late: bool
) -> None:
    for steps in range(MOST_STEPS):
        subscription = await SubscriptionStore(world.database).add(
            "user", KOL, token_buy_count=50, watch_config={}
        )
        market = Market(refuses=refuses)
        before = await world.counted()
        lived = await world.live(market, steps, is_told=True)
        # The sender got no answer and sends again, when the crash came before the row.
        await world.clock.advance(200 if is_late else 70)
        for _ in range(2):
            assert await world.live(market, -1, is_told=True)
            await world.clock.advance(70)

        found = await PurchaseStore(world.database).purchases(subscription_id=subscription.id)
        assert len(found) == 1
        assert not found[0].is_open
        assert len(market.asked) <= 1
        check(found[0], market, await world.counted() - before)
        await SubscriptionStore(world.database).remove(subscription.id)
        if lived:
            assert found[0].state == ("refunded" if refuses else "executed")
            return
    raise AssertionError("the process never lived to its end")


def check(purchase: SubscriptionPurchase, market: Market, counted: int) -> None:
    """Compare what is recorded with what was bought and counted."""
    if purchase.state == "executed":
        assert (len(market.bought), counted) == (1, 1)
    elif purchase.state == "unknown":
        assert (len(market.asked) <= 1, counted) == (True, 1)
    elif purchase.state == "refunded":
        # The count is given back after the proof is recorded: a crash between leaves it used.
        assert market.bought == []
        assert counted in (0, 1)
    else:
        assert (purchase.state, purchase.reason) == ("skipped", "too_old")
        assert (market.asked, counted) == ([], 0)
