"""Every payment is driven to a proven end, whatever fails, whoever gives up, and exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from deal_sdk.clock import ManualClock
from deal_sdk.errors import (
    DatabaseUnavailableError,
    InsufficientBalanceError,
    PaymentPendingError,
    RpcUnavailableError,
    TransactionExpiredError,
    TransactionFailedError,
)
from deal_sdk.limits import Reservation
from deal_sdk.payments.admission import LimitSettlement
from deal_sdk.records import Database, Transaction
from deal_sdk.records.tables import balance_reservations, payment_attempts, token_transactions
from tests.contract.payment_orders import ALICE, party, rows_of
from tests.unit.payments.pipeline_world import WAIT_SECONDS, World, until


async def attempt_rows(world: World) -> list[tuple[int, str]]:
    rows = await rows_of(world.database, payment_attempts)
    return sorted((row["number"], row["status"]) for row in rows)


class TestTheWayOfAPayment:
    async def test_recorded_signed_committed_sent_confirmed_finalized(self, world: World) -> None:
        payment = await world.submit()
        assert payment.status == "pending"
        signature = await world.sent()
        assert await attempt_rows(world) == [(1, "signed")]
        confirmed, finalized = world.wait(payment, "confirmed"), world.wait(payment)
        world.chain.land(signature, "confirmed", slot=200)
        assert ((await confirmed).status, (await confirmed).slot) == ("confirmed", 200)
        assert not finalized.done()
        world.chain.land(signature, "finalized", slot=200)
        done = await finalized
        assert (done.status, done.signature, done.slot) == ("finalized", signature, 200)
        assert done == await world.attempts.get_payment(payment.id)
        await world.events.drain()
        assert world.seen == ["payment.recorded", "payment.confirmed", "payment.finalized"]

    async def test_straight_to_finalized(self, world: World) -> None:
        payment = await world.submit()
        world.chain.land(await world.sent())
        assert (await world.wait(payment, "confirmed")).status == "finalized"
        assert await world.pipeline.settled(timeout_seconds=1)

    async def test_recorded_returns_at_once(self, world: World) -> None:
        payment = await world.submit()
        assert await world.wait(payment, "recorded") is payment

    async def test_a_refusal_starts_nothing(self, world: World) -> None:
        with pytest.raises(InsufficientBalanceError):
            await world.submit(10, balance=9)
        assert world.signer.signed == 0
        assert await world.pipeline.settled(timeout_seconds=1)

    async def test_a_replay_is_not_driven_twice(self, world: World) -> None:
        payments = await asyncio.gather(*(world.submit(key="key-1") for _ in range(5)))
        assert len({payment.id for payment in payments}) == 1
        world.chain.land(await world.sent())
        waits = [world.wait(payment) for payment in payments]
        await until(lambda: all(wait.done() for wait in waits), lambda: world.clock.advance(0.5))
        assert world.signer.signed == 1


class TestFailures:
    async def test_a_failure_counts_only_when_it_is_final(self, world: World) -> None:
        payment = await world.submit()
        signature = await world.sent()
        waiting = world.wait(payment, "confirmed")
        world.chain.land(signature, "confirmed", error={"InstructionError": [1, "Custom"]})
        await asyncio.sleep(0.02)
        assert (await world.status(payment), waiting.done()) == ("pending", False)
        # The fork that failed it is dropped; on the next one it succeeds.
        world.chain.land(signature, "finalized", slot=201)
        assert (await waiting).status == "finalized"

    async def test_a_final_failure_releases_and_tells_its_evidence(self, world: World) -> None:
        payment = await world.submit()
        world.chain.land(await world.sent(), "finalized", slot=201, error={"InstructionError": [1, "Custom"]})
        with pytest.raises(TransactionFailedError) as caught:
            await world.wait(payment)
        assert caught.value.payment_id == str(payment.id)
        assert caught.value.evidence["slot"] == 201
        assert caught.value.evidence["error"] == {"InstructionError": [1, "Custom"]}
        (held,) = await rows_of(world.database, balance_reservations)
        assert held["state"] == "released"
        assert await attempt_rows(world) == [(1, "failed")]

    async def test_an_expired_attempt_is_followed_by_the_next_number(self, world: World) -> None:
        payment = await world.submit()
        world.chain.expire(await world.sent(1))
        second = await world.sent(2)
        assert await attempt_rows(world) == [(1, "expired"), (2, "signed")]
        world.chain.land(second)
        assert (await world.wait(payment)).signature == second
        assert await attempt_rows(world) == [(1, "expired"), (2, "finalized")]

    async def test_after_the_last_attempt_it_is_expired_and_everything_given_back(
        self, database: Database, clock: ManualClock
    ) -> None:
        gate = RecordingGate()
        world = World(database, clock, max_attempts=2, observers=(LimitSettlement(gate),))  # type: ignore[arg-type]
        payment = await world.submit(sender=party("alice"))
        world.chain.expire(await world.sent(1))
        world.chain.expire(await world.sent(2))
        with pytest.raises(TransactionExpiredError) as caught:
            await world.wait(payment)
        assert caught.value.evidence["finalized_height"] == 999
        assert await attempt_rows(world) == [(1, "expired"), (2, "expired")]
        (held,) = await rows_of(database, balance_reservations)
        assert held["state"] == "released"
        await world.events.drain()
        assert world.seen == ["payment.recorded", "payment.expired"]
        await world.close()

    async def test_a_confirmed_one_that_vanishes_and_expires_is_sent_again(self, world: World) -> None:
        payment = await world.submit()
        first = await world.sent(1)
        world.chain.land(first, "confirmed")
        assert (await world.wait(payment, "confirmed")).status == "confirmed"
        world.chain.drop(first)
        world.chain.expire(first)
        second = await world.sent(2)
        assert await world.status(payment) == "pending"
        world.chain.land(second)
        assert (await world.wait(payment)).signature == second

    async def test_whoever_waits_after_such_a_loss_waits_without_asking_all_the_time(
        self, world: World
    ) -> None:
        payment = await world.submit()
        first = await world.sent(1)
        world.chain.land(first, "confirmed")
        await world.wait(payment, "confirmed")
        world.chain.drop(first)
        world.chain.expire(first)
        second = await world.sent(2)
        waiting = world.wait(payment, "confirmed")
        before = world.attempts.looks
        await asyncio.sleep(0.1)
        assert world.attempts.looks - before <= 1
        world.chain.land(second, "confirmed")
        assert (await waiting).signature == second


class RecordingGate:
    """Notes what becomes of reservations."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    async def commit_many(self, reservations: Sequence[Reservation]) -> None:
        self.calls += [("commit", reservation.reservation_id) for reservation in reservations]

    async def cancel_many(self, reservations: Sequence[Reservation]) -> None:
        self.calls += [("cancel", reservation.reservation_id) for reservation in reservations]


async def test_limits_are_committed_at_finalized_and_cancelled_on_proof_alone() -> None:
    gate = RecordingGate()
    settlement = LimitSettlement(gate)  # type: ignore[arg-type]
    fields: dict[str, Any] = dict.fromkeys(Transaction.__slots__)
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    fields |= {"from_user_id": UUID(int=1), "amount": 1, "created_at": moment, "updated_at": moment}
    payments = []
    for number, status in enumerate(("pending", "confirmed", "finalized", "failed", "expired")):
        for kind, identity in (("transfer", UUID(int=number)), ("reward", UUID(int=9))):
            payments.append(Transaction(**{**fields, "id": identity, "type": kind, "status": status}))
    await settlement(payments)
    expected = [("cancel", UUID(int=3)), ("cancel", UUID(int=4)), ("commit", UUID(int=2))]
    assert gate.calls == [(call, str(identity)) for call, identity in expected]


class TestWhatCannotBeDoneNow:
    @pytest.mark.parametrize("moment", ["before_add", "after_add", "before_settle", "after_settle"])
    async def test_a_database_that_is_away_is_asked_again_until_it_answers(
        self, world: World, moment: str
    ) -> None:
        errors: list[Any] = [DatabaseUnavailableError("gone") for _ in range(6)]
        getattr(world.attempts, moment).extend(errors)
        payment = await world.submit()
        await until(lambda: bool(world.chain.given), lambda: world.clock.advance(1))
        world.chain.land(world.chain.given[0])
        waiting = asyncio.create_task(
            world.pipeline.wait(payment, "finalized", timeout_seconds=10 * WAIT_SECONDS)
        )
        await until(waiting.done, lambda: world.clock.advance(1))
        assert (await waiting).status == "finalized"
        assert getattr(world.attempts, moment) == []
        assert await attempt_rows(world) == [(1, "finalized")]
        assert world.signer.signed == 1

    async def test_nothing_is_sent_before_its_commit(self, world: World) -> None:
        world.attempts.before_add.extend(DatabaseUnavailableError("gone") for _ in range(100))
        await world.submit()
        for _ in range(20):
            await world.clock.advance(1)
            await asyncio.sleep(0)
        assert world.chain.given == []

    async def test_pauses_grow_and_are_bounded(self, world: World) -> None:
        world.attempts.before_add.extend(DatabaseUnavailableError("gone") for _ in range(1_000))
        await world.submit()
        await until(lambda: len(world.attempts.before_add) < 1_000)
        for _ in range(600):
            await world.clock.advance(1)
            await asyncio.sleep(0)
        tries = 1_000 - len(world.attempts.before_add)
        # 0.1, 0.2, 0.4 ... 25.6 s and then every 30 s: about 27 tries in ten minutes.
        assert 20 <= tries <= 35

    async def test_an_endpoint_that_is_away_is_asked_again(self, world: World) -> None:
        world.signer.errors = [RpcUnavailableError("gone") for _ in range(4)]
        payment = await world.submit()
        await until(lambda: bool(world.chain.given), lambda: world.clock.advance(1))
        world.chain.land(world.chain.given[0])
        assert (await world.wait(payment)).status == "finalized"

    async def test_a_defect_leaves_the_payment_pending_and_a_resume_carries_it_on(self, world: World) -> None:
        world.signer.errors = [ValueError("a defect")]
        payment = await world.submit()
        assert await world.pipeline.settled(timeout_seconds=1)
        assert await world.status(payment) == "pending"
        assert await world.pipeline.resume() == 1
        world.chain.land(await world.sent())
        assert (await world.wait(payment)).status == "finalized"

    async def test_an_observer_that_raises_changes_nothing(
        self, database: Database, clock: ManualClock
    ) -> None:
        told: list[str] = []

        async def broken(payments: Sequence[Transaction]) -> None:
            raise RuntimeError("an observer's own fault")

        async def listening(payments: Sequence[Transaction]) -> None:
            told.extend(payment.status for payment in payments)

        world = World(database, clock, observers=(broken, listening))
        payment = await world.submit()
        signature = await world.sent()
        world.chain.land(signature, "confirmed")
        await world.wait(payment, "confirmed")
        world.chain.land(signature)
        assert (await world.wait(payment)).status == "finalized"
        await until(lambda: len(told) == 2)
        assert told == ["confirmed", "finalized"]
        await world.close()


class TestCallers:
    async def test_a_wait_that_runs_out_is_no_failure(self, world: World) -> None:
        payment = await world.submit()
        signature = await world.sent()
        waiting = world.wait(payment)
        await until(waiting.done, lambda: world.clock.advance(WAIT_SECONDS / 4))
        with pytest.raises(PaymentPendingError) as caught:
            await waiting
        assert caught.value.payment_id == str(payment.id)
        assert caught.value.outcome == "unknown"
        world.chain.land(signature)
        assert (await world.wait(payment)).status == "finalized"

    async def test_a_caller_that_is_cancelled_anywhere_leaves_the_payment_on_its_way(
        self, world: World
    ) -> None:
        async def pay(number: int) -> Transaction:
            return await world.wait(await world.submit(1, key=f"key-{number}"), "confirmed")

        landing = asyncio.create_task(land_everything(world))
        for ticks in range(40):
            task = asyncio.create_task(pay(ticks))
            for _ in range(ticks):
                await asyncio.sleep(0.0005 if ticks % 2 else 0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        payments = await asyncio.gather(*(pay(ticks) for ticks in range(40)))
        assert {payment.status for payment in payments} <= {"confirmed", "finalized"}
        landing.cancel()
        assert await attempt_rows(world) == [(1, "finalized")] * 40
        assert world.signer.signed == 40

    async def test_backpressure_admits_so_many_and_lets_the_others_wait(
        self, database: Database, clock: ManualClock
    ) -> None:
        world = World(database, clock, max_in_flight=3)
        submits = [asyncio.create_task(world.submit(1)) for _ in range(7)]
        await world.sent(3)
        await asyncio.sleep(0.05)
        assert sum(task.done() for task in submits) == 3
        for done in range(1, 8):
            world.chain.land(await world.sent(done), "confirmed")
        await asyncio.gather(*submits)
        assert len(world.chain.given) == 7
        await world.close()

    async def test_what_waits_for_its_commit_is_measured(self, world: World) -> None:
        def depth(queue: str) -> float | None:
            return world.metrics.registry.get_sample_value("queue_depth", {"queue": queue})

        assert [depth(queue) for queue in ("intents", "attempts", "verdicts")] == [0, 0, 0]
        submits = [asyncio.create_task(world.submit(1)) for _ in range(5)]
        for _ in range(100):
            if depth("intents"):
                break
            await asyncio.sleep(0)
        assert depth("intents") == 5
        await asyncio.gather(*submits)
        assert depth("intents") == 0

    async def test_a_caller_that_gives_up_while_it_waits_for_a_place_has_paid_nothing(
        self, database: Database, clock: ManualClock
    ) -> None:
        world = World(database, clock, max_in_flight=1)
        payment = await world.submit(1)
        waiting = [asyncio.create_task(world.submit(1)) for _ in range(20)]
        await asyncio.sleep(0.01)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        world.chain.land(await world.sent())
        await world.wait(payment)
        assert len(await rows_of(database, token_transactions)) == 1
        # Its place is free again, and only the one.
        last = await world.submit(1)
        world.chain.land(await world.sent(2))
        assert (await world.wait(last)).status == "finalized"
        await world.close()

    async def test_a_refusal_a_replay_and_a_cancelled_caller_give_their_place_back(
        self, database: Database, clock: ManualClock
    ) -> None:
        world = World(database, clock, max_in_flight=1)
        for _ in range(3):
            with pytest.raises(InsufficientBalanceError):
                await world.submit(10, balance=9)
        await world.submit(1, key="key-1")
        world.chain.land(await world.sent(1))
        for _ in range(3):
            await world.submit(1, key="key-1")
        occupied = await world.submit(1)
        waiting = asyncio.create_task(world.submit(1))
        await asyncio.sleep(0.01)
        waiting.cancel()
        world.chain.land(await world.sent(2))
        assert (await world.wait(occupied)).status == "finalized"
        await world.close()


async def land_everything(world: World) -> None:
    landed = 0
    while True:
        world.chain.land(await world.sent(landed + 1))
        landed += 1


class TestRestarts:
    @pytest.mark.parametrize("moment", ["signing", "sent", "confirmed"])
    async def test_closing_in_the_middle_and_resuming_pays_once(
        self, database: Database, clock: ManualClock, moment: str
    ) -> None:
        first = World(database, clock)
        if moment == "signing":
            first.signer.errors = [RpcUnavailableError("gone")] * 100
        payment = await first.submit()
        if moment != "signing":
            signature = await first.sent()
        if moment == "confirmed":
            first.chain.land(signature, "confirmed")
            await first.wait(payment, "confirmed")
        waiting = first.wait(payment)
        await asyncio.sleep(0)
        await first.close()
        waiting.cancel()
        second = World(database, clock, chain=first.chain if moment != "signing" else None)
        assert await second.pipeline.resume() == 1
        assert await second.pipeline.resume() == 0
        sent_before = 0 if moment == "signing" else 1
        signature = await second.sent(sent_before + 1)
        second.chain.land(signature)
        assert (await second.wait(payment)).status == "finalized"
        assert await attempt_rows(second) == [(1, "finalized")]
        await second.close()

    async def test_what_is_final_is_not_resumed(self, world: World) -> None:
        payment = await world.submit()
        world.chain.land(await world.sent())
        await world.wait(payment)
        assert await world.pipeline.resume() == 0

    async def test_a_resume_beside_the_submitter_makes_one_driver(self, world: World) -> None:
        submits = [asyncio.create_task(world.submit(1)) for _ in range(10)]
        for _ in range(20):
            await world.pipeline.resume()
        payments = await asyncio.gather(*submits)
        for number in range(1, 11):
            world.chain.land(await world.sent(number))
        waits = [world.wait(payment) for payment in payments]
        await until(lambda: all(wait.done() for wait in waits), lambda: world.clock.advance(0.5))
        assert world.signer.signed == 10
        assert await attempt_rows(world) == [(1, "finalized")] * 10

    async def test_two_workers_on_one_payment_record_one_attempt(
        self, database: Database, clock: ManualClock
    ) -> None:
        first, second = World(database, clock), World(database, clock)
        first.signer.errors = [RpcUnavailableError("gone")]
        payment = await first.submit()
        await second.pipeline.resume()
        signature = await second.sent()
        await until(lambda: first.signer.signed == 1, lambda: clock.advance(1))
        await first.pipeline.settled(timeout_seconds=1)
        assert first.chain.given == []
        assert await attempt_rows(first) == [(1, "signed")]
        second.chain.land(signature)
        waiting = first.wait(payment)
        await until(waiting.done, lambda: clock.advance(0.5))
        assert (await waiting).status == "finalized"
        await first.close()
        await second.close()

    async def test_two_workers_that_follow_one_attempt_end_it_once(
        self, database: Database, clock: ManualClock
    ) -> None:
        first = World(database, clock)
        second = World(database, clock, chain=first.chain)
        payment = await first.submit()
        signature = await first.sent()
        await second.pipeline.resume()
        await second.sent(2)
        first.chain.expire(signature)
        third = await first.sent(3)
        assert await attempt_rows(first) == [(1, "expired"), (2, "signed")]
        first.chain.land(third)
        await until_final(first, second, payment)
        assert await attempt_rows(first) == [(1, "expired"), (2, "finalized")]
        await first.close()
        await second.close()

    async def test_a_plan_survives_as_it_was(self, world: World) -> None:
        await world.submit()
        (found,) = await world.attempts.open_payments()
        assert found.plan["authority"] == ALICE.address
        world.chain.land(await world.sent())


async def until_final(first: World, second: World, payment: Transaction) -> None:
    waits = [first.wait(payment), second.wait(payment)]
    await until(lambda: all(wait.done() for wait in waits), lambda: first.clock.advance(0.5))
    assert [(await wait).status for wait in waits] == ["finalized", "finalized"]
