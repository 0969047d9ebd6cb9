"""What compute limits and priority fees promise, on every chain that they are measured against."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from solders.instruction import Instruction
from solders.pubkey import Pubkey

from deal_sdk.chain import (
    ComputeUnits,
    KeypairSigner,
    PriorityFeePolicy,
    PriorityFees,
    Transport,
    exceeded_compute,
    instructions,
    priority_fee_lamports,
    token_account_size_bytes,
)
from deal_sdk.chain.compute import default_limit, shape_of, shape_of_signed
from tests.contract.chain_world import CHAINS, CLOCK, PROGRAMS, World, deployed, open_chain


@pytest.fixture(params=CHAINS)
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[Transport]:
    async with open_chain(request.param, request) as transport:
        yield transport


@pytest.fixture(params=PROGRAMS)
async def world(request: pytest.FixtureRequest, transport: Transport) -> AsyncIterator[World]:
    async with deployed(transport, request.param) as world:
        yield world


@pytest.fixture
async def classic(transport: Transport) -> AsyncIterator[World]:
    async with deployed(transport, "classic") as world:
        yield world


@pytest.fixture
async def units(world: World) -> AsyncIterator[ComputeUnits]:
    units = ComputeUnits(world.rpc, clock=CLOCK)
    yield units
    await units.close()


async def land_within_limit(world: World, units: ComputeUnits, *steps: Instruction) -> int:
    limit = await units.limit(steps, world.payer.address)
    budget = instructions.compute_unit_limit(limit)
    verdict = await world.land(budget, *steps, signers=(world.treasury,))
    assert verdict.succeeded, verdict
    return limit


def first_payment(world: World, owner: KeypairSigner, memo: str) -> list[Instruction]:
    return [world.open_account(owner), instructions.memo(memo), world.transfer(world.treasury, owner, 1)]


class TestComputeUnits:
    async def test_what_one_simulation_measured_suffices_for_its_shape(self, world, units):
        # Addresses differ in how many tries their derivation takes, memos in what checking them costs.
        steps = [first_payment(world, KeypairSigner.generate(), "m" * size) for size in (1, 33, 64)]
        steps += [
            first_payment(world, owner, "m") for owner in (hard_to_derive(world), hard_to_derive(world))
        ]
        assert len({shape_of(each, world.payer.address) for each in steps}) == 1
        limits = [await land_within_limit(world, units, *each) for each in steps]
        assert max(limits) < default_limit(steps[0]) / 3

    async def test_a_shape_is_read_off_signed_bytes_too(self, world):
        steps = first_payment(world, KeypairSigner.generate(), "memo")
        budget = (instructions.compute_unit_limit(1), instructions.compute_unit_price(1))
        signed = await world.sign(*budget, *steps, signers=(world.treasury,))
        assert shape_of_signed(signed.raw_bytes) == shape_of(steps, world.payer.address)

    async def test_what_cannot_be_simulated_gets_what_the_runtime_grants(self, world, units):
        doomed = [world.transfer(world.treasury, KeypairSigner.generate(), 1)]
        assert await units.limit(doomed, world.payer.address) == 200_000

    async def test_running_out_of_units_is_told_and_widens_the_margin(self, world, units):
        user = await world.user(1)
        step = world.transfer(world.treasury, user, 1)
        limit = await units.limit([step], world.payer.address)
        signed = await world.sign(instructions.compute_unit_limit(500), step, signers=(world.treasury,))
        verdict = await world.confirmer.follow(signed).reached("confirmed")
        assert verdict.state == "failed"
        assert exceeded_compute(verdict.error)
        units.exceeded(signed.raw_bytes)
        assert await units.limit([step], world.payer.address) == 2 * limit


class TestPriorityFees:
    async def test_what_others_paid_lately_is_offered_and_charged(self, classic):
        fees = PriorityFees(classic.rpc, clock=CLOCK, policy=PriorityFeePolicy(percentile=100))
        user = await classic.user(2)
        # A token account of this test's own: what others pay for other accounts does not count.
        account = classic.account_of(user)
        assert (
            await PriorityFees(classic.rpc, clock=CLOCK, policy=PriorityFeePolicy()).micro_lamports(
                [account], 50_000
            )
            == 0
        )
        step = classic.transfer(user, classic.treasury, 1)
        budget = (instructions.compute_unit_limit(50_000), instructions.compute_unit_price(7_777))
        signed = await classic.sign(*budget, step, signers=(user,))
        assert (await classic.confirmer.follow(signed).reached("confirmed")).succeeded
        price = await fees.micro_lamports([account], 50_000)
        assert price == 7_777
        landed = await classic.rpc.get_transaction(signed.signature, "confirmed")
        assert landed is not None
        assert landed.fee_lamports == 2 * 5_000 + priority_fee_lamports(50_000, price)
        await fees.close()


async def test_rent_goes_by_the_size_that_token_accounts_have(world):
    owner = KeypairSigner.generate()
    assert (await world.land(world.open_account(owner), signers=())).succeeded
    account = await world.rpc.get_account(world.account_of(owner))
    assert account is not None
    assert len(account.data) == token_account_size_bytes(world.mint)
    rent = await world.rpc.get_minimum_balance_for_rent_exemption(len(account.data))
    assert account.lamports == rent


def hard_to_derive(world: World) -> KeypairSigner:
    """Return an owner whose token account takes three tries or more to derive."""
    while True:
        owner = KeypairSigner.generate()
        seeds = [bytes(owner.address), bytes(world.mint.program_id), bytes(world.mint.address)]
        program = world.open_account(owner).program_id
        if Pubkey.find_program_address(seeds, program)[1] <= 253:
            return owner
