from __future__ import annotations

import asyncio

import pytest

from deal_sdk.chain.blockhashes import BlockhashSource
from deal_sdk.clock import ManualClock
from deal_sdk.errors import RpcTimeoutError
from tests.unit.chain.scripted import ScriptedNode, rpc_over, settle


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def node() -> ScriptedNode:
    return ScriptedNode()


@pytest.fixture
async def source(node, clock):
    source = BlockhashSource(rpc_over(node, clock), clock=clock, refresh_seconds=1, max_age_seconds=3)
    yield source
    await source.close()


async def test_it_is_read_once_for_all(source, node):
    got = await asyncio.gather(*(source.get() for _ in range(50)))
    assert len(set(got)) == 1
    assert node.count("getLatestBlockhash") == 1


async def test_an_ageing_one_is_handed_out_while_a_newer_is_read(source, node, clock):
    first = await source.get()
    node.slot += 10
    await clock.advance(0.9)
    assert await source.get() is first
    assert node.count("getLatestBlockhash") == 1
    await clock.advance(0.2)
    assert await source.get() is first
    await settle()
    assert (await source.get()).last_valid_block_height == first.last_valid_block_height + 10
    assert node.count("getLatestBlockhash") == 2


async def test_one_older_than_the_bound_is_never_handed_out(source, node, clock):
    await source.get()
    node.fail_next = [RpcTimeoutError("late")]
    await clock.advance(1.5)
    await source.get()
    await settle()
    node.fail_next = [RpcTimeoutError("late")]
    await clock.advance(1.5)
    with pytest.raises(RpcTimeoutError):
        await source.get()
    node.slot += 5
    assert (await source.get()).context_slot == node.slot


async def test_a_lagging_answer_does_not_replace_a_newer_one(source, node, clock):
    first = await source.get()
    node.slot -= 3
    await clock.advance(1.5)
    await source.get()
    await settle()
    assert await source.get() is first


async def test_what_a_fork_took_back_gives_way_in_time(source, node, clock):
    await source.get()
    node.slot -= 3
    await clock.advance(3)
    assert (await source.get()).last_valid_block_height == node.slot + 150


async def test_a_cancelled_caller_leaves_the_reading_to_the_others(source):
    leaver, stayer = asyncio.create_task(source.get()), asyncio.create_task(source.get())
    await asyncio.sleep(0)
    leaver.cancel()
    assert (await stayer).last_valid_block_height == 1_150
