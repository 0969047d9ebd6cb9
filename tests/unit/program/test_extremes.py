"""What the program refuses at the ends of its numbers, and on a cluster whose rent it cannot read."""

from __future__ import annotations

from uuid import UUID

import pytest
from solders.account import Account
from solders.pubkey import Pubkey
from solders.rent import Rent

from tests.unit.program.program_world import ProgramWorld
from tests.unit.program.test_idl import constants

BATCH = UUID(int=77)
LAST = 2**64 - 1
THREE_YEARS = Rent(lamports_per_byte_year=3_480, exemption_threshold=3.0, burn_percent=50)


def overwrite(world: ProgramWorld, address: Pubkey, at: int, value: int) -> None:
    """Put a number into an account, as no instruction could within a lifetime."""
    account = world.svm.get_account(address)
    assert account is not None
    data = bytearray(account.data)
    data[at : at + 8] = value.to_bytes(8, "little")
    world.svm.set_account(address, Account(account.lamports, bytes(data), account.owner))


def test_the_last_sequence_is_never_charged() -> None:
    """A sequence that wrapped around would begin at 0 again."""
    world = ProgramWorld.started()
    owner = world.opened()
    overwrite(world, owner.allowance, constants("allowance")["NEXT_SEQUENCE"], LAST)
    before = owner.state
    assert owner.charge(1, LAST).error == "ArithmeticOverflow"
    assert owner.charge(1, 0).error == "WrongSequence"
    assert owner.state == before
    assert world.balance(owner.token_account) == 10_000


def test_what_was_charged_in_all_never_wraps() -> None:
    world = ProgramWorld.started()
    owner = world.opened()
    overwrite(world, owner.allowance, constants("allowance")["CHARGED_TOTAL"], LAST - 5)
    assert owner.charge(6).error == "ArithmeticOverflow"
    assert owner.state.next_sequence == 0
    assert owner.charge(5).error is None
    assert owner.state.charged_total_base_units == LAST
    assert owner.charge(1, 1).error == "ArithmeticOverflow"


def test_what_a_batch_paid_never_wraps() -> None:
    world = ProgramWorld.started()
    create = world.client.create_reward_batch(
        world.merchant, payer=world.payer.pubkey(), batch_id=BATCH, capacity=4
    )
    assert world.send([create], world.creator).error is None
    address = world.client.reward_batch_address(world.merchant_address, BATCH)
    overwrite(world, address, constants("reward_batch")["PAID_TOTAL"], LAST)
    pay = world.client.pay_reward(
        world.merchant, batch_id=BATCH, index=2, destination=world.treasury, amount_base_units=1
    )
    assert world.send([pay], world.creator).error == "ArithmeticOverflow"
    batch = world.reward_batch(BATCH)
    assert (batch.paid_count, batch.is_paid(2)) == (0, False)


@pytest.mark.parametrize("name", ["initialize_merchant", "open_allowance", "create_reward_batch"])
def test_no_account_is_made_where_the_rent_cannot_be_told(name: str) -> None:
    """An account with too few lamports would be collected, and its sequence would be gone."""
    world = ProgramWorld() if name == "initialize_merchant" else ProgramWorld.started()
    owner = world.owner()
    if name == "initialize_merchant":
        steps, address = [world.initialize()], world.merchant_address
    elif name == "open_allowance":
        steps, address = owner.opening(), owner.allowance
    else:
        address = world.client.reward_batch_address(world.merchant_address, BATCH)
        steps = [
            world.client.create_reward_batch(
                world.merchant, payer=world.payer.pubkey(), batch_id=BATCH, capacity=4
            )
        ]
    usual = world.svm.get_rent()
    world.svm.set_rent(THREE_YEARS)
    assert world.send(steps, world.creator, owner.keypair).error == "UnknownRent"
    assert world.svm.get_account(address) is None
    world.svm.set_rent(usual)
    assert world.send(steps, world.creator, owner.keypair).error is None
