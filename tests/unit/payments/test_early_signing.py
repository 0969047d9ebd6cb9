"""A payment whose sequence lets one transaction happen is signed again early, and never ends too soon."""

from __future__ import annotations

from typing import Any

import pytest

from deal_sdk.clock import ManualClock
from deal_sdk.errors import DatabaseUnavailableError, TransactionExpiredError, TransactionFailedError
from deal_sdk.payments.attempt_ends import EARLY_LOOK_SECONDS, EARLY_SECONDS
from deal_sdk.payments.changes import SIGNED_AGAIN_EARLY
from deal_sdk.payments.intent_rows import Intent
from deal_sdk.payments.orders import Funds, Plan
from deal_sdk.records import Database, Transaction
from deal_sdk.records.tables import payment_attempts
from tests.contract.payment_orders import ALICE, BOB, CAROL, TREASURY, order, rows_of
from tests.unit.payments.pipeline_world import World, until

REFUSED = {"InstructionError": [1, "Custom"]}


async def charge(world: World) -> Transaction:
    """Submit a charge of Alice's allowance, whose address stands in for Bob's."""
    plan = Plan(
        "charge",
        CAROL.address,
        ALICE.token_account,
        TREASURY.token_account,
        None,
        allowance=BOB.address,
    )
    one = Intent(order(plan=plan, recipient=TREASURY), Funds(1_000, 100, BOB.address, 1_000))
    return await world.pipeline.admit(lambda place: world.pipeline.submit(one, place))


async def attempts(world: World) -> list[tuple[int, str, bool]]:
    rows = await rows_of(world.database, payment_attempts)
    return sorted(
        (row["number"], row["status"], SIGNED_AGAIN_EARLY in (row["evidence"] or {})) for row in rows
    )


async def give_up(world: World, signature: str) -> None:
    """Let the time pass after which a charge may be signed again, and a node say that it has it nowhere."""
    await world.clock.advance(EARLY_SECONDS)
    world.chain.drop(signature)
    await world.clock.advance(EARLY_LOOK_SECONDS)


async def hurried(world: World, count: int = 2) -> list[str]:
    """Let a charge nobody sees be signed so often, and return the signatures."""
    for number in range(1, count):
        await give_up(world, await world.sent(number))
    await world.sent(count)
    return world.chain.given[:count]


async def test_what_no_node_has_seen_is_signed_again_early(world: World) -> None:
    payment = await charge(world)
    first = await world.sent(1)
    world.chain.drop(first)
    await world.clock.advance(EARLY_SECONDS - 0.1)
    assert await attempts(world) == [(1, "signed", False)]
    # While nobody answers nothing is given up: it may have landed.
    await world.clock.advance(10 * EARLY_SECONDS)
    assert await attempts(world) == [(1, "signed", False)]
    world.chain.drop(first)
    await world.clock.advance(EARLY_LOOK_SECONDS)
    second = await world.sent(2)
    assert await attempts(world) == [(1, "expired", True), (2, "signed", False)]
    world.chain.land(second)
    assert (await world.wait(payment)).signature == second
    # The sequence is used by now: the first one can move nothing any more.
    assert await attempts(world) == [(1, "expired", True), (2, "finalized", False)]


async def test_what_a_node_has_in_a_block_is_waited_for(world: World) -> None:
    payment = await charge(world)
    first = await world.sent(1)
    world.chain.land(first, "processed")
    await world.clock.advance(10 * EARLY_SECONDS)
    assert world.chain.given == [first]
    # A fork takes it back: now no node has it.
    world.chain.drop(first)
    await world.clock.advance(EARLY_LOOK_SECONDS)
    second = await world.sent(2)
    world.chain.land(second)
    assert (await world.wait(payment)).signature == second


async def test_a_transfer_is_never_signed_again_early(world: World) -> None:
    payment = await world.submit()
    first = await world.sent(1)
    await give_up(world, first)
    assert world.chain.given == [first]
    world.chain.land(first)
    await world.wait(payment)


async def test_an_earlier_one_that_landed_after_all_makes_the_payment(world: World) -> None:
    payment = await charge(world)
    first, second = await hurried(world)
    world.chain.land(first, slot=200)
    world.chain.land(second, slot=201, error=REFUSED)
    done = await world.wait(payment)
    assert (done.status, done.signature, done.slot) == ("finalized", first, 200)
    assert done == await world.attempts.get_payment(payment.id)
    assert await attempts(world) == [(1, "finalized", False), (2, "failed", False)]


@pytest.mark.parametrize("end", ["failed", "expired"])
async def test_nothing_ends_while_an_earlier_one_may_land(
    database: Database, clock: ManualClock, end: str
) -> None:
    world = World(database, clock, max_attempts=2)
    payment = await charge(world)
    first, second = await hurried(world)
    if end == "failed":
        world.chain.land(second, error=REFUSED)
    else:
        world.chain.expire(second)
    # Its bytes leave once more, as after a restart.
    assert await world.sent(3) == first
    assert await world.status(payment) == "pending"
    assert await attempts(world) == [(1, "signed", False), (2, end, False)]
    world.chain.expire(first)
    with pytest.raises(TransactionExpiredError) as caught:
        await world.wait(payment)
    assert caught.value.evidence["finalized_height"] == 999
    assert await attempts(world) == [(1, "expired", False), (2, end, False)]
    await world.close()


async def test_all_that_were_given_up_are_looked_at_again_before_the_end(world: World) -> None:
    payment = await charge(world)
    first, second, third = await hurried(world, 3)
    await give_up(world, third)
    assert len(world.chain.given) == 3, "the last one is waited for"
    world.chain.land(third, error=REFUSED)
    assert await world.sent(4) == second
    world.chain.expire(second)
    assert await world.sent(5) == first
    world.chain.land(first, error=REFUSED)
    with pytest.raises(TransactionFailedError):
        await world.wait(payment)
    assert await attempts(world) == [(1, "failed", False), (2, "expired", False), (3, "failed", False)]


@pytest.mark.parametrize("moment", ["given up", "looked at again"])
async def test_a_restart_goes_on_where_it_was(database: Database, clock: ManualClock, moment: str) -> None:
    dying = World(database, clock)
    payment = await charge(dying)
    first, second = await hurried(dying)
    if moment == "looked at again":
        dying.chain.expire(second)
        await dying.sent(3)
    await dying.close()
    world = World(database, clock)
    assert await world.pipeline.resume() == 1
    if moment == "given up":
        assert await world.sent(1) == second
        world.chain.expire(second)
    assert await world.sent(2 if moment == "given up" else 1) == first
    world.chain.land(first)
    done = await world.wait(payment)
    assert (done.status, done.signature) == ("finalized", first)
    await world.close()


async def test_a_lost_answer_of_the_second_look_is_asked_again(world: World) -> None:
    payment = await charge(world)
    first, second = await hurried(world)
    look_again: Any = world.attempts.look_again
    answers: list[Any] = []

    async def forgetful(payment_id: Any) -> Any:
        found = await look_again(payment_id)
        answers.append(found)
        if len(answers) == 1:
            raise DatabaseUnavailableError("the answer was lost")
        return found

    world.attempts.look_again = forgetful  # type: ignore[method-assign]
    world.chain.expire(second)
    await until(lambda: len(answers) > 1, lambda: world.clock.advance(0.1))
    assert answers[0] == answers[1]
    world.chain.land(first)
    assert (await world.wait(payment)).signature == first
