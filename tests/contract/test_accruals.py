"""Accrued fees on every database: covered when they accrue, settled by one payment each, given back once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from deal_sdk.clock import ManualClock
from deal_sdk.errors import (
    DelegationError,
    IdempotencyConflictError,
    InsufficientBalanceError,
    PaymentsPausedError,
    SettlementConflictError,
)
from deal_sdk.payments import PauseSwitch
from deal_sdk.payments.accruals import MAX_FEES_PER_SETTLEMENT, AccrualStore, AccruedTotal, DueFees
from deal_sdk.payments.attempts import AttemptStore
from deal_sdk.payments.intent_rows import Intent
from deal_sdk.payments.intents import IntentStore
from deal_sdk.payments.orders import FeeClaim, Funds, Party
from deal_sdk.payments.reservations import held_now
from deal_sdk.records import Database, UserDirectory
from deal_sdk.records.accrual_tables import service_fee_accruals
from tests.contract.payment_orders import (
    STARTED,
    TREASURY,
    attempt,
    broken_rules,
    by_delegate,
    change,
    intent,
    order,
    party,
    rows_of,
)

pytestmark = pytest.mark.slow


class World:
    """Stores on one database, and a user who owes."""

    def __init__(self, database: Database, clock: ManualClock, user_id: UUID) -> None:
        self.database = database
        self.accruals = AccrualStore(database)
        self.intents = IntentStore(database, clock)
        self.attempts = AttemptStore(database, clock)
        self.user = party(f"user-{user_id.hex[:8]}", user_id)

    async def accrue(self, amount: int = 10, *, balance: int = 100, slot: int = 100, **details: Any) -> Any:
        one = order(amount, sender=self.user, recipient=TREASURY, reason="search", **details)
        return await self.accruals.create(one, Funds(balance, slot))

    async def total(self) -> AccruedTotal:
        [total] = await self.accruals.totals(user_id=self.user.user_id)
        return total

    async def claim(self, cap: int | None = None) -> tuple[FeeClaim, int]:
        found = await self.accruals.next_claim(await self.total(), cap_base_units=cap)
        assert found is not None
        return found

    def settlement(self, claim: FeeClaim, amount: int, *, balance: int = 100) -> Intent:
        return intent(amount, balance=balance, sender=self.user, recipient=TREASURY, claim=claim)

    async def settle(self, *, balance: int = 100) -> UUID:
        recorded = await self.intents.create(self.settlement(*await self.claim(), balance=balance))
        return recorded.payment.id

    async def end(self, payment_id: UUID, *ends: Any) -> None:
        for number, end in enumerate(ends, 1):
            assert await self.attempts.add(attempt(payment_id, number))
            await self.attempts.settle(change(payment_id, number, end, account=self.user.token_account))

    async def owed(self) -> list[int]:
        rows = await rows_of(self.database, service_fee_accruals, service_fee_accruals.c.payment_id.is_(None))
        return [row["amount"] for row in rows if row["user_id"] == self.user.user_id]

    async def close(self) -> None:
        await self.accruals.close()
        await self.intents.close()
        await self.attempts.close()


@pytest.fixture
async def world(database: Database, manual_clock: ManualClock) -> AsyncIterator[World]:
    user = await UserDirectory(database).create()
    opened = World(database, manual_clock, user.id)
    yield opened
    await opened.close()
    assert await broken_rules(database) == {}


class TestAccruing:
    async def test_fees_at_once_never_exceed_the_balance(self, world):
        results = await asyncio.gather(*(world.accrue() for _ in range(25)), return_exceptions=True)
        refused = [result for result in results if isinstance(result, InsufficientBalanceError)]
        assert len(refused) == 15
        assert await world.owed() == [10] * 10
        assert refused[0].available == "0"

    async def test_what_is_owed_and_what_is_reserved_hold_the_balance_together(self, world):
        await world.accrue(60)
        with pytest.raises(InsufficientBalanceError):
            await world.intents.create(intent(41, balance=100, sender=world.user))
        await world.intents.create(intent(30, balance=100, sender=world.user))
        with pytest.raises(InsufficientBalanceError):
            await world.accrue(11)
        await world.accrue(10)
        assert await held_now(world.database, world.user.token_account, 100) == 100

    async def test_a_key_stands_for_one_fee(self, world):
        results = await asyncio.gather(*(world.accrue(key="k") for _ in range(10)))
        assert len({fee.reference for fee in results}) == 1
        assert await world.accruals.find_by_key("k", "input") == results[0]
        assert (await world.accrue(99, key="k")).amount == 10, "the fee is as it was"
        with pytest.raises(IdempotencyConflictError):
            await world.accrue(key="k", fingerprint="other")
        assert await world.owed() == [10]

    async def test_an_approval_must_cover_all_that_is_owed(self, world):
        one = by_delegate(60, delegated=100, sender=world.user, reason="search")
        await world.accruals.create(one.order, one.funds)
        another = by_delegate(41, delegated=100, sender=world.user, reason="search")
        with pytest.raises(DelegationError) as caught:
            await world.accruals.create(another.order, another.funds)
        assert caught.value.facts["problem"] == "exhausted"

    async def test_a_pause_takes_no_fees(self, world):
        switch = PauseSwitch(world.database)
        await switch.pause("audit")
        with pytest.raises(PaymentsPausedError):
            await world.accrue()
        await switch.release()
        await world.accrue()

    async def test_one_bad_fee_undoes_no_neighbour(self, world):
        stranger = Party("stranger-wallet", "stranger-tokens", uuid4())
        bad = order(5, sender=stranger, recipient=TREASURY, reason="search")
        results = await asyncio.gather(
            world.accrue(), world.accruals.create(bad, Funds(100, 100)), return_exceptions=True
        )
        assert results[0].amount == 10
        assert isinstance(results[1], Exception)
        assert await world.owed() == [10]


class TestSettling:
    async def test_a_settlement_pays_what_was_held_without_more_balance(self, world):
        for _ in range(10):
            await world.accrue()
        payment_id = await world.settle(balance=100)
        assert await world.owed() == []
        assert await held_now(world.database, world.user.token_account, 100) == 100
        await world.end(payment_id, "finalized")
        assert await held_now(world.database, world.user.token_account, 200) == 0
        assert await world.accruals.totals(user_id=world.user.user_id) == []

    async def test_a_settlement_and_a_payment_at_once_share_the_balance(self, world):
        await world.accrue(60)
        settlement = world.settlement(*await world.claim())
        payments = [intent(amount, balance=100, sender=world.user) for amount in (40, 1)]
        results = await asyncio.gather(
            *(world.intents.create(one) for one in (settlement, *payments)), return_exceptions=True
        )
        assert [isinstance(result, InsufficientBalanceError) for result in results] == [False, False, True]

    async def test_of_many_settlements_at_once_one_takes_the_fees(self, world):
        await world.accrue()
        await world.accrue()
        claim, amount = await world.claim()
        rival = IntentStore(world.database, ManualClock())
        results = await asyncio.gather(
            *(store.create(world.settlement(claim, amount)) for store in (world.intents, rival) * 3),
            return_exceptions=True,
        )
        await rival.close()
        refused = [result for result in results if isinstance(result, SettlementConflictError)]
        assert len(refused) == 5
        assert await world.owed() == []

    async def test_fees_that_came_later_wait_for_the_next_settlement(self, world):
        await world.accrue()
        claim, amount = await world.claim()
        await world.accrue(7)
        await world.intents.create(world.settlement(claim, amount))
        assert await world.owed() == [7]

    @pytest.mark.parametrize("ends", [("failed",), ("attempt_expired", "expired")])
    async def test_a_settlement_that_provably_failed_gives_back_once(self, world, ends):
        for amount in (10, 20):
            await world.accrue(amount)
        stale = await world.claim()
        first = await world.settle()
        assert await world.owed() == []
        await world.end(first, *ends)
        assert await world.owed() == [10, 20]
        second = await world.settle()
        # What is said of the first once more must not take anything from the second.
        late = change(first, len(ends), "failed", account=world.user.token_account)
        await world.attempts.settle(late)
        with pytest.raises(SettlementConflictError):
            await world.intents.create(world.settlement(*stale))
        await world.end(second, "confirmed")
        assert await world.owed() == []

    async def test_an_attempt_that_expired_keeps_the_fees_for_the_next_one(self, world):
        await world.accrue()
        payment_id = await world.settle()
        await world.end(payment_id, "attempt_expired", "finalized")
        assert await world.owed() == []

    async def test_a_balance_that_went_elsewhere_leaves_the_fees_owed(self, world):
        await world.accrue(60)
        with pytest.raises(InsufficientBalanceError):
            await world.settle(balance=59)
        assert await world.owed() == [60]

    async def test_a_claim_is_bounded_by_the_cap(self, world):
        for amount in (30, 20, 20):
            await world.accrue(amount)
        claim, amount = await world.claim(cap=50)
        assert (claim.fees, amount) == (2, 50)
        claim, amount = await world.claim(cap=10)
        assert (claim.fees, amount) == (1, 30), "the first is offered, and the rail then refuses it"
        assert MAX_FEES_PER_SETTLEMENT >= 100


class TestWhatIsDue:
    def due(self, amount: int = 1_000, *, age_seconds: int = 60, since: int = 60, after: str = "") -> DueFees:
        return DueFees(
            amount,
            STARTED - timedelta(seconds=age_seconds),
            STARTED - timedelta(seconds=since),
            after,
        )

    async def test_enough_or_old_enough_is_due(self, world):
        old = STARTED - timedelta(seconds=61)
        assert await world.accruals.totals(due=self.due()) == []
        await world.accrue(40)
        await world.accrue(30)
        assert await world.accruals.totals(due=self.due(71)) == []
        [enough] = await world.accruals.totals(due=self.due(70))
        assert (enough.amount, enough.fees, enough.user_id) == (70, 2, world.user.user_id)
        await world.accrue(1, created_at=old)
        [aged] = await world.accruals.totals(due=self.due())
        assert aged.oldest_at == old
        assert await world.accruals.totals(due=self.due(after=world.user.token_account)) == []

    async def test_after_a_settlement_the_account_has_a_pause(self, world):
        await world.accrue()
        first = await world.settle()
        await world.end(first, "failed")
        assert await world.accruals.totals(due=self.due(1)) == []
        assert len(await world.accruals.totals(due=self.due(1, since=0))) == 1

    async def test_amounts_beyond_bigint_add_up(self, world):
        huge = 2**62
        for _ in range(3):
            await world.accrue(huge, balance=2**64 - 1)
        assert (await world.total()).amount == 3 * huge
        assert len(await world.accruals.totals(due=self.due(1))) == 1
        claim, amount = await world.claim()
        assert (claim.fees, amount) == (1, huge), "one payment moves at most 2**63-1"


async def test_the_settled_fees_say_by_which_payment(world):
    fee = await world.accrue(key="k")
    assert fee.payment_id is None
    payment_id = await world.settle()
    found = await world.accruals.find_by_key("k", "input")
    assert found is not None
    assert found.payment_id == payment_id
    async with world.database.reading() as connection:
        count = await connection.scalar(sa.select(sa.func.count()).select_from(service_fee_accruals))
    assert count == 1
