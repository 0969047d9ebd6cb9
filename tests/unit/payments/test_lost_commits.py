"""A commit that was not answered leaves nothing undriven, and a replay finds its driver at once."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from deal_sdk.clock import ManualClock
from deal_sdk.errors import ConstraintError, DatabaseUnavailableError
from deal_sdk.payments.lost_commits import ANSWERED_LOOKS, MAX_LOST, LostCommits
from deal_sdk.records import Database
from tests.contract.payment_orders import intent
from tests.unit.chain.scripted import pass_time
from tests.unit.payments.pipeline_world import World, until

RECONCILER_SECONDS = 60.0
"""When a reconciler would have found it; the clock runs on while real input and output take their time."""


class TestALostCommit:
    async def test_a_payment_that_was_recorded_is_driven_without_anyone_asking(self, world: World) -> None:
        world.intents.after_create.append(DatabaseUnavailableError("the reply was lost"))
        with pytest.raises(DatabaseUnavailableError):
            await world.submit()
        await until(lambda: bool(world.chain.given), lambda: world.clock.advance(0.1))
        assert world.clock.monotonic() < RECONCILER_SECONDS
        world.chain.land(world.chain.given[0])
        await world.pipeline.settled(timeout_seconds=1)
        await world.events.drain()
        assert world.seen == ["payment.recorded", "payment.finalized"]

    async def test_it_is_found_once_the_database_answers_again(self, world: World) -> None:
        world.intents.after_create.append(DatabaseUnavailableError("the reply was lost"))
        world.attempts.before_look.extend(DatabaseUnavailableError("gone") for _ in range(20))
        with pytest.raises(DatabaseUnavailableError):
            await world.submit()
        await until(lambda: not world.attempts.before_look, lambda: world.clock.advance(1))
        answered_at = world.clock.monotonic()
        await until(lambda: bool(world.chain.given), lambda: world.clock.advance(0.1))
        assert world.clock.monotonic() - answered_at < RECONCILER_SECONDS
        world.chain.land(world.chain.given[0])
        await world.pipeline.settled(timeout_seconds=1)

    async def test_one_that_was_not_recorded_starts_nothing_and_holds_no_place(
        self, database: Database, clock: ManualClock
    ) -> None:
        world = World(database, clock, max_in_flight=1)
        for _ in range(3):
            world.intents.before_create.append(DatabaseUnavailableError("gone"))
            with pytest.raises(DatabaseUnavailableError):
                await world.submit()
        for _ in range(30):
            await world.clock.advance(1)
            await asyncio.sleep(0.001)
        assert world.signer.signed == 0
        payment = await world.submit()
        world.chain.land(await world.sent())
        assert (await world.wait(payment)).status == "finalized"
        await world.close()

    async def test_a_refusal_by_a_rule_is_no_lost_commit(self, world: World) -> None:
        world.intents.before_create.append(ConstraintError(kind="check", constraint=None))
        with pytest.raises(ConstraintError):
            await world.submit()
        world.attempts.before_look.append(DatabaseUnavailableError("asked"))
        for _ in range(20):
            await world.clock.advance(1)
            await asyncio.sleep(0)
        assert len(world.attempts.before_look) == 1

    async def test_the_next_loss_is_looked_for_too(self, world: World) -> None:
        for count in (1, 2):
            world.intents.after_create.append(DatabaseUnavailableError("the reply was lost"))
            with pytest.raises(DatabaseUnavailableError):
                await world.submit(1)
            await until(lambda n=count: len(world.chain.given) == n, lambda: world.clock.advance(0.1))  # type: ignore[misc]
            for _ in range(20):
                await world.clock.advance(1)
                await asyncio.sleep(0.001)
        for signature in world.chain.given:
            world.chain.land(signature)
        await world.pipeline.settled(timeout_seconds=1)


class TestLooking:
    async def test_what_is_never_there_is_given_up_after_some_answers(self) -> None:
        clock, asked = ManualClock(), []

        async def take_up(payment_ids):
            asked.append(list(payment_ids))
            return []

        lost = LostCommits(take_up, clock=clock)
        early, late = uuid4(), uuid4()
        assert lost.note(early) is True
        running = asyncio.create_task(lost.run())
        await pass_time(clock, 0.2)
        assert lost.note(late) is False
        await pass_time(clock, 20)
        assert running.done()
        assert [early in ids for ids in asked].count(True) == ANSWERED_LOOKS
        assert [late in ids for ids in asked].count(True) == ANSWERED_LOOKS
        assert lost.note(uuid4()) is True

    async def test_an_outage_fills_no_memory(self) -> None:
        asked: list[int] = []
        clock = ManualClock()

        async def take_up(payment_ids):
            asked.append(len(payment_ids))
            return list(payment_ids)

        lost = LostCommits(take_up, clock=clock)
        for _ in range(MAX_LOST + 5):
            lost.note(uuid4())
        running = asyncio.create_task(lost.run())
        await pass_time(clock, 0.2)
        assert asked == [MAX_LOST]
        await running

    async def test_a_defect_ends_the_looking_and_nothing_else(self) -> None:
        clock = ManualClock()

        async def take_up(payment_ids):
            raise ValueError("a defect")

        lost = LostCommits(take_up, clock=clock)
        lost.note(uuid4())
        running = asyncio.create_task(lost.run())
        await pass_time(clock, 20)
        await running


class TestReplays:
    @pytest.mark.parametrize("level", ["recorded", "confirmed", "finalized"])
    async def test_a_replay_of_a_payment_that_nobody_drives_here_drives_it_at_once(
        self, world: World, level: str
    ) -> None:
        recorded = await world.intents.create(intent(10))
        waiting = world.wait(recorded.payment, level)
        # No time passes: it is looked up before the first pause.
        world.chain.land(await world.sent())
        assert (await waiting).id == recorded.payment.id
        await world.pipeline.settled(timeout_seconds=1)
        assert await world.status(recorded.payment) == "finalized"

    async def test_a_payment_that_ended_meanwhile_is_read_before_the_first_pause(self, world: World) -> None:
        payment = await world.submit()
        world.chain.land(await world.sent())
        await world.wait(payment)
        assert (await world.wait(payment)).status == "finalized"
        assert world.clock.monotonic() == 0

    async def test_a_database_that_is_away_is_looked_at_again(self, world: World) -> None:
        recorded = await world.intents.create(intent(10))
        world.attempts.before_look.append(DatabaseUnavailableError("gone"))
        waiting = world.wait(recorded.payment)
        await asyncio.sleep(0.01)
        assert await world.pipeline.resume() == 1
        world.chain.land(await world.sent())
        await until(waiting.done, lambda: world.clock.advance(0.5))
        assert (await waiting).status == "finalized"
