"""Leases: every open payment has one driver, and a dead driver's payments find another."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa

from deal_sdk.clock import ManualClock
from deal_sdk.payments.attempts import AttemptStore
from deal_sdk.payments.intents import IntentStore
from deal_sdk.payments.leases import MAX_CLAIMED_AT_ONCE, Leases
from deal_sdk.payments.worker_process import process_mark
from deal_sdk.records import Database
from deal_sdk.records.tables import payment_attempts, token_transactions, workers
from tests.contract.payment_orders import attempt, change, intent, rows_of

LEASE_SECONDS = 40.0
VALID_SECONDS = 30.0


class Holder:
    """One process's lease with its stores."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.leases = Leases(database, lease_seconds=LEASE_SECONDS)
        self.owner = self.leases.owner
        self.intents = IntentStore(database, database.clock, lease_owner=self.owner)
        self.attempts = AttemptStore(database, database.clock, lease_owner=self.owner)

    async def recorded(self, count: int = 1) -> list[UUID]:
        made = await asyncio.gather(*(self.intents.create(intent(1)) for _ in range(count)))
        return [one.payment.id for one in made]

    async def open(self) -> set[UUID]:
        return {found.payment.id for found in await self.attempts.open_payments()}

    async def close(self) -> None:
        await self.intents.close()
        await self.attempts.close()


@pytest.fixture
async def holders(database: Database) -> AsyncIterator[list[Holder]]:
    opened = [Holder(database) for _ in range(3)]
    for holder in opened:
        await holder.leases.register()
    yield opened
    for holder in opened:
        await holder.close()


async def pass_time(database: Database, seconds: float, *renewing: Holder) -> None:
    """Let time pass for every lease but some, by the clock that the database goes by."""
    if database.dialect == "sqlite":
        assert isinstance(database.clock, ManualClock)
        await database.clock.advance(seconds)
    else:
        async with database.transaction() as connection:
            passed = sa.literal(timedelta(seconds=seconds), sa.Interval())
            await connection.execute(workers.update().values(expires_at=workers.c.expires_at - passed))
    for holder in renewing:
        await holder.leases.register()


class TestClaiming:
    async def test_the_payments_of_the_living_are_left_alone(self, holders: list[Holder]) -> None:
        first, second, _ = holders
        payments = await first.recorded(3)
        await pass_time(first.database, VALID_SECONDS - 1)
        assert await second.leases.claim() == []
        assert await first.open() == set(payments)
        assert await second.open() == set()

    async def test_a_lease_that_ran_out_is_taken_over(self, holders: list[Holder]) -> None:
        first, second, _ = holders
        payments = await first.recorded(3)
        await pass_time(first.database, VALID_SECONDS + 1, second)
        assert set(await second.leases.claim()) == set(payments)
        assert await second.open() == set(payments)
        assert await first.open() == set()
        assert await second.leases.claim() == []

    async def test_a_renewed_lease_stays(self, holders: list[Holder]) -> None:
        first, second, _ = holders
        await first.recorded()
        for _ in range(4):
            await pass_time(first.database, VALID_SECONDS / 3)
            assert await first.leases.renew()
        await second.leases.register()
        assert await second.leases.claim() == []

    async def test_a_lapsed_lease_begins_anew_and_says_so(self, holders: list[Holder]) -> None:
        first, second, _ = holders
        (payment,) = await first.recorded()
        await pass_time(first.database, VALID_SECONDS + 1)
        assert not await first.leases.renew()
        assert await first.leases.renew()
        await second.leases.register()
        assert await second.leases.claim() == []
        assert await first.open() == {payment}

    async def test_what_is_released_is_free_at_once(self, holders: list[Holder]) -> None:
        first, second, _ = holders
        payments = await first.recorded(2)
        await first.leases.release()
        assert set(await second.leases.claim()) == set(payments)

    async def test_what_nobody_leased_is_taken(self, holders: list[Holder]) -> None:
        database = holders[0].database
        unleased = IntentStore(database, database.clock)
        payment = (await unleased.create(intent(1))).payment
        await unleased.close()
        assert await holders[0].leases.claim() == [payment.id]

    async def test_what_is_final_is_left(self, holders: list[Holder]) -> None:
        first, second, _ = holders
        (payment,) = await first.recorded()
        assert await first.attempts.add(attempt(payment))
        await first.attempts.settle(change(payment, 1, "finalized"))
        await first.leases.release()
        assert await second.leases.claim() == []

    async def test_workers_that_claim_at_once_share(self, holders: list[Holder]) -> None:
        first, second, third = holders
        payments = await first.recorded(2 * MAX_CLAIMED_AT_ONCE)
        await first.leases.release()
        claimed = await asyncio.gather(second.leases.claim(), third.leases.claim())
        again = await asyncio.gather(second.leases.claim(), third.leases.claim())
        assert all(len(ids) <= MAX_CLAIMED_AT_ONCE for ids in (*claimed, *again))
        taken = [payment for ids in (*claimed, *again) for payment in ids]
        assert sorted(taken) == sorted(payments)
        assert await second.open() | await third.open() == set(payments)

    async def test_a_process_that_died_on_this_machine_holds_nothing(self, holders: list[Holder]) -> None:
        first, second, _ = holders
        if process_mark() is None:
            pytest.skip("this kernel does not tell processes apart")
        payments = await first.recorded()
        program = "from deal_sdk.payments.worker_process import process_mark; print(process_mark())"
        path = ":".join(sys.path)
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, env={"PYTHONPATH": path}, stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await child.communicate()
        async with first.database.transaction() as connection:
            is_first = workers.c.id == first.owner
            await connection.execute(
                workers.update().where(is_first).values(process=printed.decode().strip())
            )
        assert await second.leases.claim() == payments

    @pytest.mark.postgres
    async def test_a_clock_that_is_ahead_takes_nothing_from_the_living(self, postgres_url: str) -> None:
        """The clocks of several machines differ, so the server's own decides."""
        clock = ManualClock()
        database = await Database.open(postgres_url, clock=clock, migrate=True)
        first, second = Holder(database), Holder(database)
        await first.leases.register()
        await second.leases.register()
        await first.recorded()
        await clock.advance(86_400)
        assert await second.leases.claim() == []
        assert await first.leases.renew()
        for holder in (first, second):
            await holder.close()
        await database.close()


class TestFencing:
    async def test_who_was_taken_over_signs_nothing_new(self, holders: list[Holder]) -> None:
        first, second, _ = holders
        (payment,) = await first.recorded()
        await pass_time(first.database, VALID_SECONDS + 1, second)
        assert await second.leases.claim() == [payment]
        assert not await first.attempts.add(attempt(payment))
        assert await rows_of(first.database, payment_attempts) == []
        assert not await first.leases.renew()
        assert not await first.attempts.add(attempt(payment)), "a lease begun anew does not bring it back"
        assert await second.attempts.add(attempt(payment))

    async def test_a_lapsed_lease_that_nobody_took_still_signs(self, holders: list[Holder]) -> None:
        first, _, _ = holders
        (payment,) = await first.recorded()
        await pass_time(first.database, VALID_SECONDS + 1)
        assert await first.attempts.add(attempt(payment))

    async def test_a_takeover_beside_a_signature_leaves_one(self, holders: list[Holder]) -> None:
        first, second, _ = holders
        payments = await first.recorded(20)
        await first.leases.release()
        added, claimed = await asyncio.gather(
            asyncio.gather(*(first.attempts.add(attempt(payment)) for payment in payments)),
            second.leases.claim(),
        )
        signed = {payment for payment, mine in zip(payments, added, strict=True) if mine}
        rows = await rows_of(first.database, payment_attempts)
        assert {row["payment_id"] for row in rows} == signed
        assert set(claimed) == set(payments) or first.database.dialect == "postgresql"
        for found in await second.attempts.open_payments():
            mine = await second.attempts.add(attempt(found.payment.id))
            assert mine is (found.payment.id not in signed)

    async def test_whoever_has_the_proof_may_settle(self, holders: list[Holder]) -> None:
        first, second, _ = holders
        (payment,) = await first.recorded()
        assert await first.attempts.add(attempt(payment))
        await first.leases.release()
        assert await second.leases.claim() == [payment]
        await first.attempts.settle(change(payment, 1, "finalized"))
        assert (await second.attempts.get_payment(payment)).status == "finalized"


class TestHolders:
    async def test_they_are_named_with_what_they_hold(self, holders: list[Holder]) -> None:
        first, second, third = holders
        await first.recorded(2)
        await second.recorded(3)
        await pass_time(first.database, VALID_SECONDS + 1, second)
        shown = {holder.worker_id: holder for holder in await third.leases.holders()}
        assert set(shown) == {first.owner, second.owner}
        assert (shown[first.owner].open_payments, shown[first.owner].is_alive) == (2, False)
        assert (shown[second.owner].open_payments, shown[second.owner].is_alive) == (3, True)
        assert shown[second.owner].name
        await second.leases.release()
        (released,) = [one for one in await third.leases.holders() if one.worker_id == second.owner]
        assert (released.name, released.is_alive, released.expires_at) == (None, False, None)

    async def test_the_dead_are_forgotten_once_nothing_bears_their_name(self, holders: list[Holder]) -> None:
        first, second, _ = holders
        (payment,) = await first.recorded()
        await pass_time(first.database, VALID_SECONDS + 1)
        await second.leases.register()
        assert {row["id"] for row in await rows_of(first.database, workers)} == {first.owner, second.owner}
        await second.leases.claim()
        assert {row["id"] for row in await rows_of(first.database, workers)} == {second.owner}
        owner = await rows_of(first.database, token_transactions, token_transactions.c.id == payment)
        assert owner[0]["lease_owner"] == second.owner

    async def test_recording_writes_the_lease_in_the_same_statement(self, holders: list[Holder]) -> None:
        first, _, _ = holders
        statements: list[str] = []

        def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
            statements.append(statement)

        sa.event.listen(sa.Engine, "before_cursor_execute", note)
        await first.recorded()
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
        naming = [statement for statement in statements if "lease_owner" in statement]
        assert len(naming) == 1
        assert naming[0].startswith("INSERT INTO token_transactions")
        assert not [statement for statement in statements if "workers" in statement]
