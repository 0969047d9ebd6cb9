"""Attempts and their ends: at most one that may land, and late reports that change nothing."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from deal_sdk.clock import ManualClock
from deal_sdk.errors import PaymentNotFoundError
from deal_sdk.payments.attempts import AttemptStore
from deal_sdk.payments.changes import AttemptEnd, Change, advanced
from deal_sdk.payments.intents import IntentStore
from deal_sdk.records import Database, UserDirectory
from deal_sdk.records.purchase_tables import token_purchases
from deal_sdk.records.tables import balance_reservations, payment_attempts, token_accounts, token_transactions
from tests.contract.payment_orders import (
    ALICE,
    BOB,
    STARTED,
    attempt,
    broken_rules,
    change,
    intent,
    party,
    purchase,
    rows_of,
)

FINAL_ENDS: tuple[AttemptEnd, ...] = ("finalized", "failed", "expired")
ENDS: tuple[AttemptEnd, ...] = ("confirmed", *FINAL_ENDS, "attempt_expired", "attempt_failed")


class Payments:
    """Both stores over one database."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.database = database
        self.intents = IntentStore(database, clock)
        self.attempts = AttemptStore(database, clock)

    async def recorded(self, amount: int = 10, **details: Any) -> UUID:
        return (await self.intents.create(intent(amount, **details))).payment.id

    async def signed(self, amount: int = 10, **details: Any) -> UUID:
        payment_id = await self.recorded(amount, **details)
        assert await self.attempts.add(attempt(payment_id))
        return payment_id

    async def everything(self, payment_id: UUID) -> list[Any]:
        """Return all that is recorded of a payment."""
        tables = (balance_reservations, payment_attempts, token_purchases)
        found: list[Any] = [await self.attempts.get_payment(payment_id)]
        for table in tables:
            found += await rows_of(self.database, table, table.c.payment_id == payment_id)
        return found

    async def reservation(self, payment_id: UUID) -> tuple[str, int | None]:
        condition = balance_reservations.c.payment_id == payment_id
        (row,) = await rows_of(self.database, balance_reservations, condition)
        return row["state"], row["landed_slot"]

    async def attempt_states(self, payment_id: UUID) -> list[str]:
        condition = payment_attempts.c.payment_id == payment_id
        rows = await rows_of(self.database, payment_attempts, condition)
        return [row["status"] for row in sorted(rows, key=lambda row: row["number"])]

    async def close(self) -> None:
        await self.intents.close()
        await self.attempts.close()


@pytest.fixture
def database_url(lasting_database_url: str) -> str:
    """SQLite and PostgreSQL; an ephemeral database is SQLite in a temporary file."""
    return lasting_database_url


@pytest.fixture
async def payments(database: Database, manual_clock: ManualClock) -> AsyncIterator[Payments]:
    opened = Payments(database, manual_clock)
    yield opened
    await opened.close()
    assert await broken_rules(database) == {}


class TestAdding:
    async def test_an_attempt_is_there_whole_before_it_may_be_sent(
        self, database: Database, payments: Payments
    ) -> None:
        payment_id = await payments.recorded()
        one = attempt(payment_id)
        assert await payments.attempts.add(one)
        (row,) = await rows_of(database, payment_attempts)
        assert (row["number"], row["status"], row["signature"]) == (1, "signed", one.transaction.signature)
        assert (row["signed_bytes"], row["last_valid_block_height"]) == (one.transaction.raw_bytes, 250)
        assert (await payments.attempts.get_payment(payment_id)).signature == one.transaction.signature
        assert await payments.attempts.find_transaction(one.transaction.signature) == one.transaction
        assert await payments.attempts.find_transaction("a stranger's") is None

    async def test_adding_the_same_attempt_again_says_that_it_is_recorded(
        self, database: Database, payments: Payments
    ) -> None:
        payment_id = await payments.recorded()
        one = attempt(payment_id)
        assert [await payments.attempts.add(one) for _ in range(3)] == [True, True, True]
        assert len(await rows_of(database, payment_attempts)) == 1

    async def test_a_second_live_attempt_is_refused_in_the_same_batch_and_later(
        self, database: Database, payments: Payments
    ) -> None:
        payment_id = await payments.recorded()
        one, two, three = attempt(payment_id), attempt(payment_id), attempt(payment_id, 2)
        added = await asyncio.gather(*(payments.attempts.add(each) for each in (one, two, three)))
        assert added == [True, False, False]
        assert not await payments.attempts.add(attempt(payment_id, 3))
        (row,) = await rows_of(database, payment_attempts)
        assert row["signature"] == one.transaction.signature
        assert (await payments.attempts.get_payment(payment_id)).signature == one.transaction.signature

    async def test_nothing_is_added_to_a_payment_that_ended(self, payments: Payments) -> None:
        for end in FINAL_ENDS:
            payment_id = await payments.signed()
            await payments.attempts.settle(change(payment_id, 1, end))
            before = await payments.everything(payment_id)
            assert not await payments.attempts.add(attempt(payment_id, 2)), end
            assert await payments.everything(payment_id) == before, end

    async def test_nothing_is_added_while_a_confirmed_attempt_may_still_be_final(
        self, payments: Payments
    ) -> None:
        payment_id = await payments.signed()
        await payments.attempts.settle(change(payment_id, 1, "confirmed"))
        assert not await payments.attempts.add(attempt(payment_id, 2))

    async def test_a_number_is_used_once(self, payments: Payments) -> None:
        payment_id = await payments.signed()
        await payments.attempts.settle(change(payment_id, 1, "attempt_expired"))
        assert not await payments.attempts.add(attempt(payment_id, 1))
        assert await payments.attempts.add(attempt(payment_id, 2))

    async def test_neighbours_and_unknown_payments_do_not_disturb_a_batch(self, payments: Payments) -> None:
        ids = [await payments.recorded() for _ in range(3)]
        each = [attempt(ids[0]), attempt(uuid4()), attempt(ids[1]), attempt(ids[2])]
        added = await asyncio.gather(*(payments.attempts.add(one) for one in each))
        assert added == [True, False, True, True]

    async def test_an_unknown_payment_is_not_found(self, payments: Payments) -> None:
        with pytest.raises(PaymentNotFoundError):
            await payments.attempts.get_payment(uuid4())


class TestSettling:
    async def test_confirmed_then_finalized(self, database: Database, payments: Payments) -> None:
        payment_id = await payments.signed()
        await payments.attempts.settle(change(payment_id, 1, "confirmed", slot=200))
        payment = await payments.attempts.get_payment(payment_id)
        assert (payment.status, payment.slot, payment.confirmed_at) == ("confirmed", 200, STARTED)
        assert await payments.reservation(payment_id) == ("landed", 200)
        later = STARTED + timedelta(seconds=9)
        # A fork may have moved it to another slot meanwhile; the final one counts.
        await payments.attempts.settle(change(payment_id, 1, "finalized", slot=203, at=later))
        payment = await payments.attempts.get_payment(payment_id)
        assert (payment.status, payment.slot) == ("finalized", 203)
        assert (payment.confirmed_at, payment.finalized_at) == (STARTED, later)
        assert payment.evidence == {"end": "finalized", "number": 1}
        assert await payments.reservation(payment_id) == ("landed", 203)
        assert await payments.attempt_states(payment_id) == ["finalized"]
        (account,) = await rows_of(database, token_accounts)
        assert account["last_landed_slot"] == 203

    async def test_an_older_landing_never_moves_the_account_back(
        self, database: Database, payments: Payments
    ) -> None:
        newer, older = await payments.signed(), await payments.signed()
        await payments.attempts.settle(change(newer, 1, "finalized", slot=300))
        await payments.attempts.settle(change(older, 1, "finalized", slot=250))
        (account,) = await rows_of(database, token_accounts)
        assert account["last_landed_slot"] == 300

    async def test_an_end_settles_payment_reservation_and_purchase_together(
        self, database: Database, payments: Payments
    ) -> None:
        buyer = party("buyer", (await UserDirectory(database).create()).id)
        wanted = {
            "finalized": ("landed", "counted"),
            "failed": ("released", "cancelled"),
            "expired": ("released", "cancelled"),
        }
        for end in FINAL_ENDS:
            payment_id = await payments.signed(purchase=purchase(), sender=buyer)
            await payments.attempts.settle(change(payment_id, 1, end, account=buyer.token_account))
            payment = await payments.attempts.get_payment(payment_id)
            assert (payment.status, payment.evidence) == (end, {"end": end, "number": 1})
            of_payment = token_purchases.c.payment_id == payment_id
            (bought,) = await rows_of(database, token_purchases, of_payment)
            assert ((await payments.reservation(payment_id))[0], bought["state"]) == wanted[end]
            assert await payments.attempt_states(payment_id) == [end]

    async def test_a_confirmed_attempt_that_vanished_and_expired_gives_way_to_the_next(
        self, payments: Payments
    ) -> None:
        payment_id = await payments.signed()
        await payments.attempts.settle(change(payment_id, 1, "confirmed"))
        await payments.attempts.settle(change(payment_id, 1, "attempt_expired"))
        payment = await payments.attempts.get_payment(payment_id)
        assert (payment.status, payment.slot, payment.confirmed_at) == ("pending", None, None)
        assert await payments.reservation(payment_id) == ("live", None)
        assert await payments.attempts.add(attempt(payment_id, 2))
        await payments.attempts.settle(change(payment_id, 2, "finalized", slot=400))
        assert await payments.attempt_states(payment_id) == ["expired", "finalized"]
        assert (await payments.attempts.get_payment(payment_id)).slot == 400

    async def test_a_late_or_repeated_report_changes_nothing(
        self, database: Database, payments: Payments
    ) -> None:
        for ended, late in itertools.product(FINAL_ENDS, ENDS):
            payment_id = await payments.signed(purchase=purchase())
            await payments.attempts.settle(change(payment_id, 1, ended, slot=200))
            before = [await payments.everything(payment_id), await rows_of(database, token_accounts)]
            later = STARTED + timedelta(hours=1)
            await payments.attempts.settle(change(payment_id, 1, late, slot=999, at=later))
            after = [await payments.everything(payment_id), await rows_of(database, token_accounts)]
            assert after == before, (ended, late)

    async def test_a_report_of_an_earlier_attempt_leaves_the_next_alone(self, payments: Payments) -> None:
        for state, late in itertools.product(("pending", "signed", "confirmed"), ENDS):
            payment_id = await payments.signed(purchase=purchase())
            await payments.attempts.settle(change(payment_id, 1, "attempt_expired"))
            if state != "pending":
                assert await payments.attempts.add(attempt(payment_id, 2))
            if state == "confirmed":
                await payments.attempts.settle(change(payment_id, 2, "confirmed", slot=300))
            before = await payments.everything(payment_id)
            later = STARTED + timedelta(hours=1)
            await payments.attempts.settle(change(payment_id, 1, late, slot=999, at=later))
            assert await payments.everything(payment_id) == before, (state, late)

    async def test_a_report_of_an_attempt_that_was_never_made_changes_nothing(
        self, payments: Payments
    ) -> None:
        payment_id = await payments.recorded()
        before = await payments.everything(payment_id)
        await payments.attempts.settle(change(payment_id, 1, "finalized"))
        await payments.attempts.settle(change(uuid4(), 1, "finalized"))
        assert await payments.everything(payment_id) == before

    async def test_many_changes_of_mixed_ends_in_one_batch(self, payments: Payments) -> None:
        ids = [await payments.signed(1) for _ in range(60)]
        changes = [change(payment_id, 1, ENDS[n % 5], slot=200 + n) for n, payment_id in enumerate(ids)]
        await asyncio.gather(*(payments.attempts.settle(one) for one in changes))
        statuses = {"attempt_expired": "pending"}
        for one in changes:
            payment = await payments.attempts.get_payment(one.payment_id)
            assert payment.status == statuses.get(one.end, one.end)
            assert payment.slot == one.slot

    async def test_two_ends_of_one_attempt_in_one_batch_are_one_end(self, payments: Payments) -> None:
        payment_id = await payments.signed()
        ends: tuple[Any, ...] = ("confirmed", "finalized", "attempt_expired", "expired", "confirmed")
        await asyncio.gather(*(payments.attempts.settle(change(payment_id, 1, end)) for end in ends))
        assert (await payments.attempts.get_payment(payment_id)).status == "finalized"
        assert await payments.reservation(payment_id) == ("landed", 200)
        assert await payments.attempt_states(payment_id) == ["finalized"]

    async def test_advanced_says_what_the_database_says(self, payments: Payments) -> None:
        for ends in [(end,) for end in ENDS] + [("confirmed", end) for end in ENDS[1:]]:
            payment_id = await payments.signed()
            payment = await payments.attempts.get_payment(payment_id)
            signature = str(payment.signature)
            for step, end in enumerate(ends):
                one: Change = change(
                    payment_id, 1, end, slot=200 + step, at=STARTED + timedelta(seconds=step)
                )
                at = await payments.attempts.settle(one)
                payment = advanced(payment, one, signature, at)
                assert payment == await payments.attempts.get_payment(payment_id), ends


class TestOpenPayments:
    async def test_what_is_not_final_comes_back_with_its_live_attempt(self, payments: Payments) -> None:
        recorded = await payments.recorded(created_at=STARTED)
        signed = await payments.signed(created_at=STARTED + timedelta(seconds=1))
        confirmed = await payments.signed(created_at=STARTED + timedelta(seconds=2))
        again = await payments.signed(created_at=STARTED + timedelta(seconds=3))
        await payments.attempts.settle(change(confirmed, 1, "confirmed"))
        await payments.attempts.settle(change(again, 1, "attempt_expired"))
        for end in FINAL_ENDS:
            await payments.attempts.settle(change(await payments.signed(), 1, end))
        found = await payments.attempts.open_payments()
        assert [one.payment.id for one in found] == [recorded, signed, confirmed, again]
        assert [one.attempts_made for one in found] == [0, 1, 1, 1]
        live = [one.attempt.number if one.attempt else None for one in found]
        assert live == [None, 1, 1, None]
        assert found[1].plan["source"] == ALICE.token_account
        again_attempt = attempt(again, 2)
        assert await payments.attempts.add(again_attempt)
        last = (await payments.attempts.open_payments())[-1]
        assert (last.attempt, last.attempts_made) == (again_attempt, 2)

    async def test_nothing_open_is_an_empty_list(self, payments: Payments) -> None:
        assert await payments.attempts.open_payments() == []


class TestTwoWorkers:
    """Each has connections of its own, as two processes have."""

    @pytest.fixture
    async def workers(
        self, lasting_database_url: str, manual_clock: ManualClock
    ) -> AsyncIterator[list[Payments]]:
        databases = [await Database.open(lasting_database_url, clock=manual_clock, migrate=True)]
        databases.append(await Database.open(lasting_database_url, clock=manual_clock))
        opened = [Payments(database, manual_clock) for database in databases]
        yield opened
        broken = await broken_rules(databases[0])
        for one in opened:
            await one.close()
        for database in databases:
            await database.close()
        assert broken == {}

    async def test_only_one_of_two_may_send(self, workers: list[Payments]) -> None:
        for _ in range(10):
            payment_id = await workers[0].recorded(1)
            added = await asyncio.gather(*(worker.attempts.add(attempt(payment_id)) for worker in workers))
            assert sorted(added) == [False, True]
            assert await workers[0].attempt_states(payment_id) == ["signed"]

    async def test_an_end_and_a_next_attempt_that_race_leave_no_live_attempt_behind(
        self, workers: list[Payments]
    ) -> None:
        for _ in range(10):
            payment_id = await workers[0].signed(1)
            added, _ = await asyncio.gather(
                workers[0].attempts.add(attempt(payment_id, 2)),
                workers[1].attempts.settle(change(payment_id, 1, "finalized")),
            )
            assert not added
            assert await workers[0].attempt_states(payment_id) == ["finalized"]

    async def test_contradicting_ends_that_race_leave_one(self, workers: list[Payments]) -> None:
        for _ in range(10):
            payment_id = await workers[0].signed(1)
            await asyncio.gather(
                workers[0].attempts.settle(change(payment_id, 1, "finalized")),
                workers[1].attempts.settle(change(payment_id, 1, "attempt_expired")),
            )
            (state,) = await workers[0].attempt_states(payment_id)
            status = (await workers[0].attempts.get_payment(payment_id)).status
            assert (state, status) in (("finalized", "finalized"), ("expired", "pending"))

    async def test_batches_that_cross_are_both_settled(self, workers: list[Payments]) -> None:
        ids = [await workers[0].signed(1, sender=BOB, recipient=ALICE) for _ in range(20)]
        await asyncio.gather(
            *(workers[0].attempts.settle(change(one, 1, "confirmed")) for one in ids),
            *(workers[1].attempts.settle(change(one, 1, "finalized")) for one in reversed(ids)),
        )
        statuses = {row["status"] for row in await rows_of(workers[0].database, token_transactions)}
        assert statuses == {"finalized"}
