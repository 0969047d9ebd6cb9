"""Seeded worlds against the confirmer: forks, lags, outages, lost replies, and no verdict is ever wrong."""

from __future__ import annotations

import random

import pytest

from deal_sdk.chain.confirmer import Confirmer
from deal_sdk.chain.following import Following
from deal_sdk.chain.rpc_opening import open_pool
from deal_sdk.clock import ManualClock
from deal_sdk.errors import RpcTimeoutError
from deal_sdk.metrics import Metrics
from deal_sdk.settings import load_settings
from tests.unit.chain.scripted import FINALITY_SLOTS, Landed, ScriptedNode, rpc_over, settle, transaction
from tests.unit.chain.test_pool import Node

TRANSACTIONS = 12
STEPS = 120
SLOTS_PER_STEP = 3
FAILURE = {"InstructionError": [0, {"Custom": 1}]}


class World:
    """A chain that lands what was sent while its blockhash lives, and forks as it likes above finality."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock = ManualClock()
        self.node = ScriptedNode()
        self.confirmer = Confirmer(rpc_over(self.node, self.clock), clock=self.clock, metrics=Metrics())
        self.followings: dict[str, Following] = {}
        self.doomed = {f"t{number}" for number in range(0, TRANSACTIONS, 4)}
        self.last_valid: dict[str, int] = {}

    def start(self, name: str) -> None:
        signed = transaction(name, signed_at_slot=self.node.slot)
        self.last_valid[name] = signed.last_valid_block_height
        self.followings[name] = self.confirmer.follow(signed)

    def step(self) -> None:
        chance = self.random.random
        self.node.slot += self.random.randint(0, 2 * SLOTS_PER_STEP)
        for name in self.followings:
            if name not in self.node.landed and self.node.slot <= self.last_valid[name] and chance() < 0.03:
                self.node.landed[name] = Landed(
                    self.node.slot, error=FAILURE if name in self.doomed else None
                )
        self.settle_commitments()
        if chance() < 0.1:
            self.fork()
        self.node.lag_slots = self.random.choice((0, 0, 0, 2, 10, 60))
        if chance() < 0.2:
            self.node.fail_next = [RpcTimeoutError("late")] * self.random.randint(1, 3)
        self.node.lose_replies_of = {"sendTransaction"} if chance() < 0.3 else set()

    def settle_commitments(self) -> None:
        for landed in self.node.landed.values():
            depth = self.node.slot - landed.slot
            landed.commitment = (
                "finalized" if depth >= FINALITY_SLOTS else "confirmed" if depth >= 2 else "processed"
            )

    def fork(self) -> None:
        """Drop some of what is not final; a dropped slot is never used again."""
        for name, landed in list(self.node.landed.items()):
            if landed.commitment != "finalized" and self.random.random() < 0.5:
                del self.node.landed[name]
        self.node.slot += 1

    def check(self) -> None:
        for name, following in self.followings.items():
            verdict = following.verdict
            if verdict is None or not verdict.final:
                continue
            truth = self.node.landed.get(name)
            if verdict.state == "expired":
                assert truth is None
                assert self.node.finalized_height > self.last_valid[name]
                assert verdict.evidence["finalized_height"] > self.last_valid[name]
            else:
                assert truth is not None
                assert truth.commitment == "finalized"
                assert verdict.state == ("failed" if name in self.doomed else "finalized")
                assert verdict.slot == truth.slot

    async def run(self) -> None:
        for number in range(STEPS):
            if number % 4 == 0 and len(self.followings) < TRANSACTIONS:
                self.start(f"t{len(self.followings)}")
            self.step()
            await self.clock.advance(self.random.choice((0.1, 0.5, 1.0)))
            await settle()
            self.check()

    async def heal(self) -> None:
        """End the faults and let every blockhash run out: nothing may stay undecided then."""
        self.node.fail_next, self.node.lose_replies_of, self.node.lag_slots = [], set(), 0
        self.node.slot = max(self.last_valid.values()) + FINALITY_SLOTS + 1
        self.settle_commitments()
        for _ in range(60):
            await self.clock.advance(0.5)
            await settle()
        self.check()


@pytest.mark.parametrize("seed", range(25))
async def test_every_verdict_is_true_and_every_transaction_gets_one(seed):
    world = World(seed)
    await world.run()
    await world.heal()
    assert world.confirmer.pending_count == 0
    assert all(following.is_final for following in world.followings.values())
    await world.confirmer.close()


async def test_the_worlds_see_every_end():
    ends = set()
    for seed in range(8):
        world = World(seed)
        await world.run()
        await world.heal()
        ends |= {following.verdict.state for following in world.followings.values() if following.verdict}
        await world.confirmer.close()
    assert ends == {"finalized", "failed", "expired"}


class PoolWorld(World):
    """The same chain seen through three endpoints: two honest ones with faults, and one with a gap.

    The third never knows of any transaction and passes every check of its health, as a node does that
    lost part of its ledger. Two opinions keep it from ever deciding alone.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.nodes = [Node(name) for name in "abc"]
        self.node = self.nodes[0]
        self.nodes[1].landed = self.node.landed

    async def open(self) -> None:
        settings = load_settings(rpc_hedge_share=0.2, rpc_breaker_failures=2, rpc_breaker_open_seconds=1.0)
        self.rpc = await open_pool(self.nodes, settings, clock=self.clock, metrics=Metrics())
        self.confirmer = Confirmer(
            self.rpc,
            clock=self.clock,
            metrics=Metrics(),
            required_opinions=2,
            rebroadcast_interval_seconds=1.0,
        )

    def step(self) -> None:
        super().step()
        chance = self.random.random
        for node in self.nodes:
            node.slot = self.node.slot
            node.lag_slots = self.random.choice((0, 0, 0, 2, 10, 60, 400))
            node.first_available_block = self.random.choice((0, 0, self.node.slot - 20))
            node.down = RpcTimeoutError("late") if chance() < 0.2 else None
            node.lose_replies_of = {"sendTransaction", "getSignatureStatuses"} if chance() < 0.1 else set()
            if chance() < 0.1:
                node.gate.clear()
            else:
                node.gate.set()

    async def heal(self) -> None:
        for node in self.nodes:
            node.fail_next, node.lose_replies_of, node.lag_slots, node.down = [], set(), 0, None
            node.first_available_block = 0
            node.gate.set()
            node.slot = max(self.last_valid.values()) + FINALITY_SLOTS + 1
        await super().heal()


@pytest.mark.parametrize("seed", range(15))
async def test_over_a_pool_no_verdict_is_wrong_though_one_endpoint_lost_its_ledger(seed):
    world = PoolWorld(seed)
    await world.open()
    await world.run()
    await world.heal()
    assert world.confirmer.pending_count == 0
    assert all(following.is_final for following in world.followings.values())
    await world.confirmer.close()
    await world.rpc.close()


async def test_the_gap_would_decide_wrongly_if_one_opinion_were_enough():
    """The worlds above are worth something: they find the defect that they are there for."""
    wrong = 0
    for seed in range(12):
        world = PoolWorld(seed)
        await world.open()
        world.confirmer._required_opinions = 1
        try:
            await world.run()
        except AssertionError:
            wrong += 1
        await world.confirmer.close()
        for node in world.nodes:
            node.gate.set()
        await world.rpc.close()
    assert wrong
