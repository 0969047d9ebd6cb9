"""The second opinion on an expiry: who has one, who has none, and how many it takes."""

from __future__ import annotations

import pytest

from deal_sdk.chain.confirmer import Confirmer
from deal_sdk.chain.expiry import prove_expired
from deal_sdk.chain.replies import EpochPosition
from deal_sdk.clock import ManualClock
from deal_sdk.errors import RpcUnavailableError
from deal_sdk.metrics import Metrics
from tests.unit.chain.scripted import FINALITY_SLOTS, Landed, ScriptedNode, pass_time, rpc_over, transaction
from tests.unit.chain.test_pool import World

LAST_VALID = 1_150
PAST_EXPIRY = LAST_VALID + FINALITY_SLOTS + 1
FINALIZED = EpochPosition(PAST_EXPIRY - FINALITY_SLOTS, PAST_EXPIRY - FINALITY_SLOTS)


def make_node(name: str) -> ScriptedNode:
    node = ScriptedNode()
    node.endpoint = name
    node.slot = PAST_EXPIRY
    return node


def kill(node: ScriptedNode) -> None:
    node.fail_next = [RpcUnavailableError("down") for _ in range(10)]


def lag(node: ScriptedNode) -> None:
    node.lag_slots = FINALITY_SLOTS + 1


def purge(node: ScriptedNode) -> None:
    node.first_available_block = 1_001


def stay_before(node: ScriptedNode) -> None:
    node.slot = PAST_EXPIRY - 1


@pytest.fixture
def nodes():
    return [make_node(name) for name in "abc"]


async def prove(nodes, *, required=1):
    clock = ManualClock()
    return await prove_expired(
        [rpc_over(node, clock) for node in nodes], [transaction("x")], FINALIZED, required_opinions=required
    )


async def test_all_who_can_tell_agree(nodes):
    proof = await prove(nodes, required=3)
    assert proof.expired == {"x": ("a", "b", "c")}
    assert proof.silent == {}


async def test_one_that_knows_it_settles_the_matter(nodes):
    nodes[2].history["x"] = Landed(1_149, "finalized")
    proof = await prove(nodes)
    assert proof.expired == {}
    assert proof.landed["x"].slot == 1_149


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(kill, "rpc_unavailable"), (lag, "behind"), (purge, "no_history"), (stay_before, "behind")],
)
async def test_one_without_an_opinion_stops_nobody_and_counts_for_nothing(nodes, spoil, reason):
    spoil(nodes[1])
    proof = await prove(nodes, required=2)
    assert proof.expired == {"x": ("a", "c")}
    assert proof.silent == {"b": reason}
    nodes = [make_node(name) for name in "abc"]
    spoil(nodes[1])
    assert (await prove(nodes, required=3)).expired == {}


async def test_what_one_lacks_another_does_not_make_up(nodes):
    purge(nodes[0])
    lag(nodes[1])
    stay_before(nodes[2])
    proof = await prove(nodes)
    assert (proof.expired, proof.landed) == ({}, {})
    assert set(proof.silent) == {"a", "b", "c"}


async def test_nobody_reachable_proves_nothing(nodes):
    for node in nodes:
        kill(node)
    assert (await prove(nodes)).expired == {}


@pytest.fixture
async def world():
    made = World()
    yield made
    await made.rpc.close()


async def follow(world, *, required):
    confirmer = Confirmer(world.rpc, clock=world.clock, metrics=world.metrics, required_opinions=required)
    following = confirmer.follow(transaction("x"))
    await pass_time(world.clock, 1)
    world.move(PAST_EXPIRY - 1_000)
    await pass_time(world.clock, 5)
    await confirmer.close()
    return following


async def test_over_a_pool_each_endpoint_is_asked_for_itself(world):
    await world.open()
    following = await follow(world, required=1)
    assert following.verdict.state == "expired"
    evidence = following.verdict.evidence
    assert evidence["endpoints"] == ["a", "b", "c"]
    assert evidence["endpoints_without_opinion"] == {}
    assert world.asked("getFirstAvailableBlock") == [1, 1, 1]


async def test_over_a_pool_a_missing_opinion_is_named_or_waited_for(world):
    await world.open()
    world.nodes[1].down = RpcUnavailableError("down")
    assert (await follow(world, required=3)).verdict is None
    following = await follow(world, required=2)
    assert following.verdict.evidence["endpoints"] == ["a", "c"]
    assert following.verdict.evidence["endpoints_without_opinion"] == {"b": "rpc_unavailable"}


async def test_an_endpoint_of_another_cluster_has_no_say(world):
    world.nodes[2].down = RpcUnavailableError("down")
    await world.open()
    world.nodes[2].down = None
    world.nodes[2].genesis = "other"
    world.nodes[2].history["x"] = Landed(1_149, "finalized")
    following = await follow(world, required=2)
    assert following.verdict.evidence["endpoints"] == ["a", "b"]


async def test_a_broadcast_that_hangs_does_not_hold_up_the_next_endpoint(world):
    await world.open()
    world.nodes[0].holds_back = {"sendTransaction"}
    confirmer = Confirmer(world.rpc, clock=world.clock, metrics=Metrics())
    confirmer.follow(transaction("x"))
    await pass_time(world.clock, 1.5)
    assert world.asked("sendTransaction") == [0, 0, 0]
    await pass_time(world.clock, 4)
    assert world.asked("sendTransaction") == [0, 1, 1]
    world.nodes[0].gate.set()
    await confirmer.close()
