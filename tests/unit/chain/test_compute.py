"""Compute limits over a scripted node: one simulation a shape, and never a refusal."""

from __future__ import annotations

import asyncio

import pytest
from solders.pubkey import Pubkey

from deal_sdk.chain import (
    CLASSIC_TOKEN_PROGRAM,
    TOKEN_2022_PROGRAM,
    ComputeUnits,
    exceeded_compute,
    instructions,
)
from deal_sdk.chain.compute import (
    BUMP_UNITS,
    MAX_COMPUTE_UNITS,
    MEMO_UNITS_PER_BYTE,
    SLACK_UNITS,
    default_limit,
    shape_of,
)
from deal_sdk.clock import ManualClock
from tests.unit.chain.scripted import ScriptedNode, rpc_over, settle

PAYER, OWNER, MINT, SOURCE = (Pubkey.new_unique() for _ in range(4))


def pay(amount=1, *, program=CLASSIC_TOKEN_PROGRAM, owner=OWNER, destination=None):
    return instructions.transfer_checked(
        source=SOURCE,
        mint=MINT,
        destination=destination or Pubkey.new_unique(),
        authority=owner,
        amount_base_units=amount,
        decimals=8,
        program_id=program,
    )


def open_account(owner):
    return instructions.create_associated_account(
        payer=PAYER, owner=owner, mint=MINT, program_id=CLASSIC_TOKEN_PROGRAM
    )


class Node(ScriptedNode):
    def __init__(self) -> None:
        super().__init__()
        self.units: int = 10_000
        self.error: object = None
        self.methods["simulateTransaction"] = self._simulate

    def _simulate(self, params):
        assert params[1]["replaceRecentBlockhash"]
        value = {"err": self.error, "logs": [], "unitsConsumed": self.units}
        return {"context": self._context(), "value": value}

    @property
    def simulations(self) -> int:
        return self.count("simulateTransaction")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
async def units(node, clock):
    units = ComputeUnits(rpc_over(node, clock), clock=clock, margin_percent=10, refresh_seconds=600)
    yield units
    await units.close()


async def test_many_payments_of_one_shape_cost_one_simulation(units, node):
    shapes = [[instructions.memo(f"deal:{number:036}"), pay(number)] for number in range(50)]
    limits = await asyncio.gather(*(units.limit(built, PAYER) for built in shapes))
    assert set(limits) == {11_000 + SLACK_UNITS}
    assert node.simulations == 1


@pytest.mark.parametrize(
    "other",
    [
        [pay(program=TOKEN_2022_PROGRAM)],
        [pay(), pay()],
        [pay(), instructions.memo("a")],
        [pay(owner=PAYER)],
        [open_account(OWNER), pay()],
        [
            instructions.burn_checked(
                source=SOURCE,
                mint=MINT,
                authority=OWNER,
                amount_base_units=1,
                decimals=8,
                program_id=CLASSIC_TOKEN_PROGRAM,
            )
        ],
    ],
    ids=["token program", "transfers", "memo", "fee payer", "creation", "kind"],
)
async def test_each_shape_is_measured_for_itself(units, node, other):
    await units.limit([pay()], PAYER)
    await units.limit(other, PAYER)
    assert node.simulations == 2


def test_a_memo_counts_by_its_size_and_not_by_its_words():
    assert shape_of([instructions.memo("a" * 64)], PAYER) == shape_of([instructions.memo("b")], PAYER)
    assert shape_of([instructions.memo("a" * 65)], PAYER) != shape_of([instructions.memo("b")], PAYER)


async def test_what_differs_within_a_shape_is_added(units):
    assert await units.limit([instructions.memo("a")], PAYER) == 11_000 + SLACK_UNITS
    longer = (10_000 + 63 * MEMO_UNITS_PER_BYTE) * 110 // 100
    assert await units.limit([instructions.memo("a" * 64)], PAYER) == longer + SLACK_UNITS


async def test_an_address_that_is_hard_to_derive_gets_more(units):
    limits = {await units.limit([open_account(Pubkey.new_unique()), pay()], PAYER) for _ in range(30)}
    steps = {(limit - min(limits)) % (BUMP_UNITS * 110 // 100) for limit in limits}
    assert len(limits) > 1
    assert steps == {0}


async def test_a_simulation_that_fails_falls_back_to_what_the_runtime_grants(units, node, clock):
    node.error = {"InstructionError": [0, {"Custom": 1}]}
    built = [instructions.memo("a"), pay()]
    assert await units.limit(built, PAYER) == 400_000
    assert await units.limit(built, PAYER) == 400_000
    assert node.simulations == 1
    node.error = None
    await clock.advance(2)
    await units.limit(built, PAYER)
    await settle()
    assert await units.limit(built, PAYER) == 11_000 + SLACK_UNITS


async def test_a_simulation_without_units_measured_nothing(units, node):
    node.units = 0
    assert await units.limit([pay()], PAYER) == 200_000


async def test_a_limit_is_never_beyond_what_the_runtime_grants(units, node):
    node.units = 190_000
    assert await units.limit([pay()], PAYER) == 200_000
    node.units = MAX_COMPUTE_UNITS
    assert await units.limit([pay(), pay()], PAYER) == MAX_COMPUTE_UNITS
    assert default_limit([pay()] * 50) == MAX_COMPUTE_UNITS


async def test_an_old_measurement_is_taken_again_in_the_background(units, node, clock):
    await units.limit([pay()], PAYER)
    node.units = 100
    await clock.advance(600)
    assert await units.limit([pay()], PAYER) == 11_000 + SLACK_UNITS
    await settle()
    assert await units.limit([pay()], PAYER) == 110 + SLACK_UNITS


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"InstructionError": [1, "ProgramFailedToComplete"]}, True),
        ({"InstructionError": [0, "ComputationalBudgetExceeded"]}, True),
        ({"data": {"err": {"InstructionError": [0, "ComputationalBudgetExceeded"]}}, "code": "x"}, True),
        ({"InstructionError": [0, {"Custom": 1}]}, False),
        (None, False),
    ],
)
def test_running_out_is_told_from_other_failures(error, expected):
    assert exceeded_compute(error) is expected
