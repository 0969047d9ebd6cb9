"""Priority fees over a scripted node: the percentile, the caps, and how often the node is asked."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from deal_sdk.chain.priority_fees import (
    PriorityFeePolicy,
    PriorityFees,
    percentile_of,
    priority_fee_lamports,
)
from deal_sdk.clock import ManualClock
from tests.unit.chain.scripted import RpcFault, ScriptedNode, rpc_over, settle

HOT, OTHER = Pubkey.new_unique(), Pubkey.new_unique()
METHOD = "getRecentPrioritizationFees"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def node() -> ScriptedNode:
    scripted = ScriptedNode()
    paid = [0] * 6 + [100, 200, 300, 4_000]
    scripted.methods[METHOD] = lambda _: [
        {"slot": slot, "prioritizationFee": fee} for slot, fee in enumerate(paid)
    ]
    return scripted


def fees(node, clock, **policy):
    return PriorityFees(rpc_over(node, clock), clock=clock, policy=PriorityFeePolicy(**policy))


@pytest.mark.parametrize(("percentile", "price"), [(60, 0), (70, 100), (75, 200), (90, 300), (100, 4_000)])
async def test_the_percentile_decides(node, clock, percentile, price):
    assert await fees(node, clock, percentile=percentile).micro_lamports([HOT], 10_000) == price


async def test_the_node_is_asked_once_in_a_while_for_the_accounts_concerned(node, clock):
    priority = fees(node, clock)
    await asyncio.gather(*(priority.micro_lamports([HOT, OTHER], 10_000) for _ in range(50)))
    await priority.micro_lamports([OTHER, HOT], 20_000)
    assert node.count(METHOD) == 1
    assert node.bodies[-1]["params"] == [
        sorted([str(HOT), str(OTHER)], key=lambda a: bytes(Pubkey.from_string(a)))
    ]
    await priority.micro_lamports([HOT], 10_000)
    assert node.count(METHOD) == 2
    await clock.advance(5)
    await priority.micro_lamports([HOT], 10_000)
    await settle()
    assert node.count(METHOD) == 3


async def test_a_price_is_capped_by_unit_and_by_transaction(node, clock):
    assert await fees(node, clock, percentile=100, max_micro_lamports=999).micro_lamports([HOT], 10) == 999
    capped = fees(node, clock, percentile=100, max_lamports=3)
    price = await capped.micro_lamports([HOT], 1_000_000)
    assert price == 3
    assert priority_fee_lamports(1_000_000, price) == 3


async def test_a_fixed_price_asks_nobody_and_zero_is_off(node, clock):
    assert await fees(node, clock, fixed_micro_lamports=55).micro_lamports([HOT], 10_000) == 55
    assert await fees(node, clock, fixed_micro_lamports=0).micro_lamports([HOT], 10_000) == 0
    assert node.count(METHOD) == 0


async def test_a_chain_without_fees_or_without_an_answer_costs_nothing(node, clock):
    node.methods[METHOD] = lambda _: []
    assert await fees(node, clock).micro_lamports([HOT], 10_000) == 0

    def refuse(_):
        raise RpcFault(-32601, "no such method")

    node.methods[METHOD] = refuse
    assert await fees(node, clock).micro_lamports([HOT], 10_000) == 0


@given(st.lists(st.integers(0, 10**12), min_size=1), st.integers(1, 100))
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(values, percentile):
    found = percentile_of(values, percentile)
    assert found in values
    assert 100 * sum(value <= found for value in values) >= percentile * len(values)
    assert 100 * sum(value < found for value in values) < percentile * len(values)


@given(st.integers(1, 1_400_000), st.integers(0, 10**9), st.integers(0, 10**9))
def test_no_transaction_pays_more_than_its_cap(unit_limit, price, cap):
    capped = min(price, cap * 1_000_000 // unit_limit)
    assert priority_fee_lamports(unit_limit, capped) <= cap
