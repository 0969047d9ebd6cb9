"""Turns of an allowance's charges: one under way at a time, and a sequence that a payment keeps."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from deal_sdk.clock import ManualClock
from deal_sdk.payments import AttemptStore, ChargeTurns, IntentStore
from deal_sdk.records import Database
from tests.contract.payment_orders import ALICE, BOB, attempt, change, intent

ALLOWANCE = BOB.address
OTHER_ALLOWANCE = ALICE.address
ACCOUNT = ALICE.token_account


class Charges:
    """Payments out of one account, and the turns that they take."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.intents = IntentStore(database, clock)
        self.attempts = AttemptStore(database, clock)
        self.turns = ChargeTurns(database, clock)

    async def recorded(self) -> UUID:
        return (await self.intents.create(intent(1))).payment.id

    async def take(self, payment_id: UUID, allowance: str = ALLOWANCE) -> tuple[int | None, int] | None:
        turn = await self.turns.take(payment_id, allowance, ACCOUNT)
        return None if turn is None else (turn.sequence, turn.floor)

    async def end(self, payment_id: UUID, *ends: str) -> None:
        await self.attempts.add(attempt(payment_id))
        for end in ends:
            await self.attempts.settle(change(payment_id, 1, end))  # type: ignore[arg-type]


@pytest.fixture
def charges(database: Database, manual_clock: ManualClock) -> Charges:
    return Charges(database, manual_clock)


async def test_one_charge_is_under_way_at_a_time(charges: Charges) -> None:
    first, second = await charges.recorded(), await charges.recorded()
    assert await charges.take(first) == (None, 0)
    assert await charges.take(first) == (None, 0)
    assert await charges.take(second) is None
    assert await charges.take(second, OTHER_ALLOWANCE) == (None, 0)
    assert await charges.turns.assign(first, 7) == 7
    assert await charges.take(first) == (7, 0)
    third = await charges.recorded()
    await charges.end(first, "confirmed")
    assert await charges.take(third) == (None, 8)


@pytest.mark.parametrize("end", ["failed", "expired"])
async def test_what_did_not_happen_leaves_its_sequence_to_the_next(charges: Charges, end: str) -> None:
    first, second = await charges.recorded(), await charges.recorded()
    await charges.take(first)
    await charges.turns.assign(first, 3)
    await charges.end(first, end)
    assert await charges.take(second) == (None, 0)


async def test_a_payment_keeps_its_sequence_until_another_provably_took_it(charges: Charges) -> None:
    payment_id = await charges.recorded()
    assert await charges.turns.sequence_of(payment_id) is None
    await charges.take(payment_id)
    assert await charges.turns.assign(payment_id, 4) == 4
    assert await charges.turns.assign(payment_id, 5) == 4
    await charges.turns.give_up(payment_id, 5)
    assert await charges.turns.sequence_of(payment_id) == 4
    await charges.turns.give_up(payment_id, 4)
    assert await charges.turns.assign(payment_id, 5) == 5


async def test_of_many_at_once_one_has_its_turn(charges: Charges) -> None:
    ids = [await charges.recorded() for _ in range(8)]
    turns = await asyncio.gather(*(charges.take(payment_id) for payment_id in ids))
    assert sum(turn is not None for turn in turns) == 1


async def test_a_charge_that_a_fork_took_back_goes_before_its_successor(charges: Charges) -> None:
    """Neither waits for the other: the lower sequence goes first."""
    first, second = await charges.recorded(), await charges.recorded()
    await charges.take(first)
    await charges.turns.assign(first, 0)
    await charges.end(first, "confirmed")
    await charges.take(second)
    await charges.turns.assign(second, 1)
    await charges.attempts.settle(change(first, 1, "attempt_expired"))
    assert await charges.take(first) == (0, 0)
    assert await charges.take(second) is None
