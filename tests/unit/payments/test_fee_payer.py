"""The fee payer's lamports: looked at now and then, warned about once, refused only on a fresh look."""

from __future__ import annotations

import asyncio

import pytest
from solders.pubkey import Pubkey

from deal_sdk.clock import ManualClock
from deal_sdk.errors import FeePayerError, RpcTimeoutError
from deal_sdk.events import EventBus
from deal_sdk.metrics import Metrics
from deal_sdk.payments.fee_payer import FeePayer, FeePayerBounds
from tests.unit.chain.scripted import ScriptedNode, rpc_over, settle

FLOOR = 890_880
ADDRESS = Pubkey.new_unique()


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.node = ScriptedNode()
        self.lamports = 1_000_000_000
        self.node.methods["getBalance"] = lambda _: {"context": {"slot": 1}, "value": self.lamports}
        self.node.methods["getMinimumBalanceForRentExemption"] = lambda params: FLOOR + params[0] * 6_960
        self.events = EventBus(self.clock)
        self.metrics = Metrics()
        self.warnings: list[dict[str, object]] = []
        self.payer = FeePayer(
            ADDRESS,
            rpc_over(self.node, self.clock),
            clock=self.clock,
            events=self.events,
            metrics=self.metrics,
            bounds=FeePayerBounds(low_lamports=10_000_000, poll_interval_seconds=10.0),
        )

    @property
    def looks(self) -> int:
        return self.node.count("getBalance")

    async def look_again(self) -> None:
        await self.clock.advance(10)
        await self.payer.require(1)
        await settle()
        await self.events.drain()


@pytest.fixture
async def world():
    opened = World()

    async def note(event):
        opened.warnings.append(event.data)

    opened.events.subscribe("low_fee_payer", note)
    yield opened
    await opened.payer.close()
    await opened.events.close()


async def test_it_is_looked_at_now_and_then_and_not_per_payment(world):
    await asyncio.gather(*(world.payer.require(5_000) for _ in range(100)))
    assert world.looks == 1
    await world.look_again()
    assert world.looks == 2
    assert world.node.count("getMinimumBalanceForRentExemption") == 1


async def test_what_it_cannot_pay_is_refused_with_what_it_needs(world):
    world.lamports = FLOOR + 9_999
    with pytest.raises(FeePayerError) as caught:
        await world.payer.require(10_000)
    assert caught.value.facts == {
        "address": str(ADDRESS),
        "lamports": FLOOR + 9_999,
        "required_lamports": FLOOR + 10_000,
    }
    await world.payer.require(9_999)


async def test_a_refusal_looks_first_and_a_top_up_is_seen_within_a_second(world):
    world.lamports = 0
    for _ in range(50):
        with pytest.raises(FeePayerError):
            await world.payer.require(5_000)
    assert world.looks == 1
    world.lamports = 10**9
    await world.clock.advance(1.0)
    await world.payer.require(5_000)
    assert world.looks == 2


async def test_what_was_signed_since_the_last_look_counts_as_spent(world):
    world.lamports = FLOOR + 20_000
    await world.payer.require(10_000)
    world.payer.spend(15_000)
    world.lamports -= 15_000
    with pytest.raises(FeePayerError):
        await world.payer.require(10_000)
    assert world.looks == 2


async def test_what_is_signed_during_a_look_still_counts_after_it(world):
    world.lamports = FLOOR + 20_000
    await world.payer.require(1)
    world.node.before["getBalance"] = lambda: world.payer.spend(15_000)
    await world.look_again()
    world.node.before.clear()
    assert world.looks == 2
    await world.payer.require(10_000)
    assert world.looks == 3, "the estimate did not cover it, so the chain was asked"


async def test_running_low_is_told_once_for_each_crossing(world):
    await world.payer.require(1)
    world.payer.spend(1_000_000)
    world.payer.spend(3_000_000)
    world.lamports = 9_000_000
    await world.look_again()
    await world.look_again()
    assert world.warnings == [
        {"address": str(ADDRESS), "lamports": 9_000_000, "low_lamports": 10_000_000, "payments_left": 4}
    ]
    rendered = world.metrics.render().decode()
    assert "fee_payer_lamports 9e+06" in rendered
    assert "fee_payer_payments_left 4.0" in rendered
    world.lamports = 10_000_000
    await world.look_again()
    world.lamports = 9_999_999
    await world.look_again()
    assert len(world.warnings) == 2


async def test_one_that_was_never_seen_is_an_error_and_one_that_was_goes_on(world):
    world.node.fail_next = [RpcTimeoutError("late")] * 2
    with pytest.raises(RpcTimeoutError):
        await world.payer.require(1)
    world.node.fail_next = []
    await world.payer.require(1)
    world.node.fail_next = [RpcTimeoutError("late")]
    await world.look_again()
    await world.payer.require(1)
