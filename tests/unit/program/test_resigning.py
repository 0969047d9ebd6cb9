"""Signing again is safe: whatever order transactions of one charge arrive in, one of them charges."""

from __future__ import annotations

import random
from typing import Final
from uuid import UUID

from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.transaction import Transaction

from deal_sdk.chain.allowance import AllowanceTerms
from tests.unit.program.program_world import START, Owner, ProgramWorld

SEEDS: Final = range(20)
CHARGES: Final = 12
AMOUNT: Final = 7


def copies(world: ProgramWorld, owner: Owner, sequence: int, count: int) -> list[tuple[UUID, Transaction]]:
    """Return one charge signed several times, each on a blockhash of its own."""
    reference = UUID(int=sequence + 1)
    step: Instruction = owner.charging(AMOUNT, sequence, reference)
    found = []
    for _ in range(count):
        world.svm.expire_blockhash()
        blockhash = world.svm.latest_blockhash()
        message = Message.new_with_blockhash([step], world.payer.pubkey(), blockhash)
        keypairs: list[Keypair] = [world.payer, world.creator]
        found.append((reference, Transaction(keypairs, message, blockhash)))
    return found


def test_charges_that_are_signed_again_and_arrive_in_any_order_charge_once_each() -> None:
    """Signers do not wait for expiry: copies of a charge stay in flight while the next ones are made."""
    world = ProgramWorld.started()
    for seed in SEEDS:
        chance = random.Random(seed)
        owner = world.opened(AllowanceTerms(10**6, 3_600, 10**6, START + 100_000))
        in_flight: list[tuple[UUID, Transaction]] = []
        charged: list[UUID] = []
        while owner.state.next_sequence < CHARGES:
            sequence = owner.state.next_sequence
            if chance.random() < 0.5 or not in_flight:
                in_flight += copies(world, owner, sequence, chance.randint(1, 3))
            # Some are dropped on the way, some arrive late or twice.
            reference, transaction = chance.choice(in_flight)
            world.svm.send_transaction(transaction)
            if chance.random() < 0.3:
                in_flight.remove((reference, transaction))
            if owner.state.next_sequence > sequence:
                last = owner.state.last_reference
                assert last is not None
                charged.append(last)
        for _, transaction in in_flight:
            world.svm.send_transaction(transaction)
        assert charged == [UUID(int=n + 1) for n in range(CHARGES)]
        state = owner.state
        assert (state.next_sequence, state.charged_total_base_units) == (CHARGES, CHARGES * AMOUNT)
        assert world.balance(owner.token_account) == 10_000 - CHARGES * AMOUNT
