"""The loop of a lease: it renews, takes over what the dead left, and lets go at a clean close."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from deal_sdk.clock import ManualClock
from deal_sdk.errors import DatabaseUnavailableError
from deal_sdk.payments.lease_keeper import LeaseKeeper
from deal_sdk.payments.leases import ROUNDS_PER_LEASE, Leases
from deal_sdk.records import Database
from deal_sdk.records.tables import payment_attempts, token_transactions
from tests.contract.payment_orders import rows_of
from tests.unit.payments.pipeline_world import ScriptedChain, World, until

LEASE_SECONDS = 20.0
STEP_SECONDS = 0.5


class UnsteadyLeases(Leases):
    """A real lease whose database fails when the test says so."""

    errors: list[Exception]
    rounds: int
    renewals: int

    async def renew(self) -> bool:
        if self.errors:
            raise self.errors.pop(0)
        is_kept = await super().renew()
        self.renewals += 1
        return is_kept

    async def claim(self) -> list[UUID]:
        claimed = await super().claim()
        self.rounds += 1
        if self.errors:
            raise self.errors.pop(0)
        return claimed

    async def release(self) -> None:
        if self.errors:
            raise self.errors.pop(0)
        await super().release()


class Process:
    """A worker that can be closed, killed and paused."""

    def __init__(self, database: Database, clock: ManualClock, chain: ScriptedChain) -> None:
        self.leases = UnsteadyLeases(database, lease_seconds=LEASE_SECONDS)
        self.leases.errors, self.leases.rounds, self.leases.renewals = [], 0, 0
        self.world = World(database, clock, chain=chain, lease_owner=self.leases.owner)
        self.keeper = LeaseKeeper(self.leases, self.world.pipeline, clock=clock, metrics=self.world.metrics)

    async def kill(self) -> None:
        """End it as a crash does: nothing is released."""
        await self.keeper.stop()
        await self.world.close()

    async def close(self) -> None:
        await self.keeper.stop()
        await self.world.close()
        await self.keeper.release()

    async def owned(self) -> int:
        condition = token_transactions.c.lease_owner == self.leases.owner
        return len(await rows_of(self.world.database, token_transactions, condition))


@pytest.fixture
def chain() -> ScriptedChain:
    return ScriptedChain()


@pytest.fixture
async def first(database: Database, clock: ManualClock, chain: ScriptedChain) -> AsyncIterator[Process]:
    process = Process(database, clock, chain)
    yield process
    await process.kill()


@pytest.fixture
async def second(database: Database, clock: ManualClock, chain: ScriptedChain) -> AsyncIterator[Process]:
    process = Process(database, clock, chain)
    yield process
    await process.kill()


async def pass_rounds(clock: ManualClock, count: int, *processes: Process) -> None:
    """Let whole rounds of the lease pass, each of which every process that lives makes use of."""
    for _ in range(count):
        made = [process.leases.rounds for process in processes]
        await clock.advance(LEASE_SECONDS / ROUNDS_PER_LEASE)
        for process, before in zip(processes, made, strict=True):
            await until(lambda process=process, before=before: process.leases.rounds > before)


async def test_the_work_of_a_killed_process_is_taken_within_the_lease(
    first: Process, second: Process, clock: ManualClock, chain: ScriptedChain
) -> None:
    await first.keeper.begin()
    await second.keeper.begin()
    payment = await first.world.submit()
    signature = await first.world.sent()
    await pass_rounds(clock, 2 * ROUNDS_PER_LEASE, first, second)
    assert chain.given == [signature], "a living process keeps its payments"
    await first.kill()
    # Its last sign of life was at this very moment, so the lease is over with the last of these rounds.
    await pass_rounds(clock, ROUNDS_PER_LEASE - 1, second)
    await until(lambda: len(chain.given) == 2)
    assert chain.given == [signature, signature], "the same bytes go on"
    chain.land(signature)
    assert (await second.world.wait(payment)).status == "finalized"
    await second.close()


async def test_a_clean_close_hands_over_at_once(
    first: Process, second: Process, clock: ManualClock, chain: ScriptedChain
) -> None:
    await first.keeper.begin()
    await first.world.submit()
    signature = await first.world.sent()
    await first.close()
    assert await second.keeper.begin() == 1
    assert await first.world.sent(2) == signature
    assert await second.owned() == 1
    chain.land(signature)
    await second.close()


async def test_a_paused_process_signs_nothing_new_after_it_was_taken_over(
    first: Process, second: Process, clock: ManualClock, chain: ScriptedChain
) -> None:
    await first.keeper.begin()
    payment = await first.world.submit()
    signature = await first.world.sent()
    await first.keeper.stop()
    await clock.advance(LEASE_SECONDS)
    assert await second.keeper.begin() == 1
    await first.world.sent(2)
    # Only the process that was paused learns of the expiry, and it would be its turn to sign again.
    first.world.chain = second.world.chain
    chain.expire(signature)
    third = await first.world.sent(3)
    assert third != signature
    rows = await rows_of(first.world.database, payment_attempts)
    assert sorted((row["number"], row["signature"]) for row in rows) == [(1, signature), (2, third)]
    signed_by_second = second.world.signer.signed
    assert signed_by_second == 1
    assert third.endswith(str(id(second.world.signer)))
    chain.land(third)
    assert (await second.world.wait(payment)).status == "finalized"
    await first.close()
    await second.close()


async def test_a_round_that_fails_is_made_up_for(
    first: Process, second: Process, clock: ManualClock, chain: ScriptedChain
) -> None:
    await first.keeper.begin()
    await second.keeper.begin()
    await first.world.submit()
    await first.world.sent()
    await first.kill()
    # The first failure is a renewal's; the second comes after the claim, before what it took is driven.
    second.leases.errors = [DatabaseUnavailableError("gone")]
    await until(lambda: not second.leases.errors, lambda: clock.advance(STEP_SECONDS))
    await clock.advance(LEASE_SECONDS)
    second.leases.errors = [RuntimeError("a defect")]
    await until(lambda: len(chain.given) == 2, lambda: clock.advance(STEP_SECONDS))
    assert await second.owned() == 1
    chain.land(chain.given[0])
    await second.close()


async def test_a_lapsed_lease_is_begun_anew(first: Process, clock: ManualClock) -> None:
    await first.keeper.begin()
    first.leases.errors = [DatabaseUnavailableError("gone")] * 5
    await until(lambda: not first.leases.errors, lambda: clock.advance(STEP_SECONDS))
    await pass_rounds(clock, 1, first)
    assert await first.leases.renew()
    await first.close()


async def test_a_database_that_is_gone_does_not_hinder_a_close(first: Process) -> None:
    await first.keeper.begin()
    first.leases.errors = [DatabaseUnavailableError("gone")]
    await first.close()
    assert first.leases.errors == []


async def test_a_process_that_is_told_to_stop_takes_nothing_and_keeps_its_lease(
    first: Process, second: Process, clock: ManualClock, chain: ScriptedChain
) -> None:
    await second.keeper.begin()
    own = await second.world.submit()
    await second.world.sent()
    await first.keeper.begin()
    await first.world.submit()
    await first.world.sent(2)
    second.keeper.take_no_more()
    await first.close()
    for _ in range(2 * ROUNDS_PER_LEASE):
        renewed = second.leases.renewals
        await clock.advance(LEASE_SECONDS / ROUNDS_PER_LEASE)
        await until(lambda renewed=renewed: second.leases.renewals > renewed)
    assert await second.owned() == 1
    assert await second.leases.renew(), "its lease has not lapsed"
    chain.land(chain.given[0])
    assert (await second.world.wait(own)).status == "finalized"
