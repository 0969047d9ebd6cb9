"""Admission: funds, reservations and idempotency keys, the same on every database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from deal_sdk.clock import ManualClock
from deal_sdk.errors import ConstraintError, IdempotencyConflictError, InsufficientBalanceError
from deal_sdk.payments.attempts import AttemptStore
from deal_sdk.payments.intent_rows import Intent
from deal_sdk.payments.intents import IntentStore, Recorded
from deal_sdk.payments.orders import Plan
from deal_sdk.records import Database, UserDirectory
from deal_sdk.records.purchase_tables import token_purchases
from deal_sdk.records.tables import balance_reservations, token_accounts, token_rewards, token_transactions
from tests.contract.payment_orders import (
    ALICE,
    BOB,
    attempt,
    broken_rules,
    change,
    intent,
    order,
    party,
    purchase,
    rows_of,
)


@pytest.fixture
def database_url(lasting_database_url: str) -> str:
    """SQLite and PostgreSQL; an ephemeral database is SQLite in a temporary file."""
    return lasting_database_url


@pytest.fixture
async def store(database: Database, manual_clock: ManualClock) -> AsyncIterator[IntentStore]:
    opened = IntentStore(database, manual_clock)
    yield opened
    await opened.close()
    assert await broken_rules(database) == {}


async def create_together(store: IntentStore, *intents: Intent) -> list[Any]:
    """Hand over intents in one tick, so that they share a transaction."""
    return await asyncio.gather(*(store.create(one) for one in intents), return_exceptions=True)


def outcomes(results: list[Any]) -> list[str]:
    names = []
    for result in results:
        if isinstance(result, Recorded):
            names.append("new" if result.is_new else "replay")
        else:
            names.append(type(result).__name__)
    return names


class TestRecording:
    async def test_an_intent_is_a_pending_payment_with_its_reservation(
        self, database: Database, store: IntentStore
    ) -> None:
        one = intent(10, key="key-1", reason="lunch")
        recorded = await store.create(one)
        assert recorded.is_new
        (row,) = await rows_of(database, token_transactions)
        assert (row["id"], row["status"], row["amount"]) == (one.order.payment_id, "pending", 10)
        assert (row["reason"], row["idempotency_key"], row["fingerprint"]) == ("lunch", "key-1", "input")
        assert row["instruction"] == one.order.plan.to_json()
        assert recorded.payment.id == row["id"]
        assert recorded.payment.created_at == row["created_at"]
        (held,) = await rows_of(database, balance_reservations)
        assert (held["payment_id"], held["amount"], held["state"]) == (row["id"], 10, "live")
        assert held["token_account"] == ALICE.token_account
        (account,) = await rows_of(database, token_accounts)
        assert (account["address"], account["owner_address"]) == (ALICE.token_account, ALICE.address)

    async def test_what_is_returned_is_what_a_replay_reads(self, store: IntentStore) -> None:
        first = await store.create(intent(key="key-1"))
        again = await store.create(intent(key="key-1"))
        assert not again.is_new
        assert again.payment == first.payment

    async def test_nothing_is_reserved_where_nothing_is_debited(
        self, database: Database, store: IntentStore
    ) -> None:
        plan = Plan("mint", "treasury-wallet", None, BOB.token_account, BOB.address)
        minted = replace(order(10, type="mint", plan=plan), sender=None)
        await store.create(Intent(minted, None))
        assert await rows_of(database, balance_reservations) == []

    async def test_a_reward_and_a_purchase_come_with_their_payment(
        self, database: Database, store: IntentStore, manual_clock: ManualClock
    ) -> None:
        user = await UserDirectory(database).create()
        rewarded = party("rewarded", user.id)
        await create_together(
            store,
            intent(7, type="reward", reward_type="referral", recipient=rewarded),
            intent(8, purchase=replace(purchase(), max_amount_base_units=9), sender=party("buyer", user.id)),
        )
        (reward,) = await rows_of(database, token_rewards)
        assert (reward["user_id"], reward["reward_type"], reward["amount"]) == (user.id, "referral", 7)
        (bought,) = await rows_of(database, token_purchases)
        assert (bought["user_id"], bought["token_mint"], bought["state"]) == (
            str(user.id),
            "Mint",
            "reserved",
        )
        assert (bought["amount"], bought["max_purchases"]) == (8, 3)
        assert bought["subscription_id"] == "subscription-1"
        assert bought["terms"] == {"max_amount": 9}
        assert bought["reservation_id"] == str(bought["payment_id"])

    async def test_the_largest_amounts_add_up(self, store: IntentStore) -> None:
        largest, balance = 2**63 - 1, 2**64 - 1
        results = await create_together(store, *(intent(largest, balance=balance) for _ in range(3)))
        assert outcomes(results) == ["new", "new", "InsufficientBalanceError"]
        results = await create_together(store, *(intent(1, balance=balance) for _ in range(2)))
        assert outcomes(results) == ["new", "InsufficientBalanceError"]


class TestFunds:
    async def test_an_overdraft_names_its_figures_and_records_nothing(
        self, database: Database, store: IntentStore
    ) -> None:
        await store.create(intent(40_000_000, balance=100_000_000))
        with pytest.raises(InsufficientBalanceError) as caught:
            await store.create(intent(70_000_000, balance=100_000_000))
        assert (caught.value.required, caught.value.available, caught.value.deficit) == ("0.7", "0.6", "0.1")
        assert len(await rows_of(database, token_transactions)) == 1

    async def test_one_batch_is_admitted_in_its_order_until_the_balance_is_spent(
        self, database: Database, store: IntentStore
    ) -> None:
        results = await create_together(store, *(intent(amount, balance=20) for amount in (15, 6, 5, 1)))
        assert outcomes(results) == ["new", "InsufficientBalanceError", "new", "InsufficientBalanceError"]
        assert sum(row["amount"] for row in await rows_of(database, balance_reservations)) == 20

    async def test_accounts_do_not_spend_from_one_another(self, store: IntentStore) -> None:
        results = await create_together(
            store, intent(20, balance=20), intent(20, balance=20, sender=BOB, recipient=ALICE)
        )
        assert outcomes(results) == ["new", "new"]

    async def test_what_is_reserved_may_be_more_than_the_balance(self, store: IntentStore) -> None:
        await store.create(intent(20, balance=20))
        with pytest.raises(InsufficientBalanceError) as caught:
            await store.create(intent(1, balance=5))
        assert caught.value.available == "0"

    @pytest.mark.parametrize(
        ("slot", "available"),
        [
            pytest.param(199, 60, id="older than the landing: still held"),
            pytest.param(200, 100, id="read at the landing: counted in the balance"),
            pytest.param(201, 100, id="newer"),
        ],
    )
    async def test_a_landed_debit_counts_against_older_balances_only(
        self, database: Database, store: IntentStore, manual_clock: ManualClock, slot: int, available: int
    ) -> None:
        attempts = AttemptStore(database, manual_clock)
        landed = await store.create(intent(40, balance=100))
        await attempts.add(attempt(landed.payment.id))
        await attempts.settle(change(landed.payment.id, 1, "confirmed", slot=200))
        refused = intent(available + 1, balance=100, slot=slot)
        with pytest.raises(InsufficientBalanceError):
            await store.create(refused)
        assert (await store.create(intent(available, balance=100, slot=slot))).is_new
        await attempts.close()

    async def test_one_batch_judges_each_balance_by_its_own_slot(
        self, database: Database, store: IntentStore, manual_clock: ManualClock
    ) -> None:
        attempts = AttemptStore(database, manual_clock)
        landed = await store.create(intent(40, balance=100))
        await attempts.add(attempt(landed.payment.id))
        await attempts.settle(change(landed.payment.id, 1, "confirmed", slot=200))
        results = await create_together(
            store, intent(61, balance=100, slot=150), intent(60, balance=60, slot=250)
        )
        assert outcomes(results) == ["InsufficientBalanceError", "new"]
        await attempts.close()

    async def test_a_proven_failure_gives_the_balance_back(
        self, database: Database, store: IntentStore, manual_clock: ManualClock
    ) -> None:
        attempts = AttemptStore(database, manual_clock)
        failed = await store.create(intent(60, balance=100))
        expired = await store.create(intent(40, balance=100))
        await attempts.add(attempt(failed.payment.id))
        await attempts.add(attempt(expired.payment.id))
        await attempts.settle(change(failed.payment.id, 1, "failed"))
        assert (await store.create(intent(60, balance=100))).is_new
        await attempts.settle(change(expired.payment.id, 1, "expired"))
        assert (await store.create(intent(40, balance=100))).is_new
        await attempts.close()


class TestKeys:
    async def test_a_key_twice_in_one_batch_is_one_payment(
        self, database: Database, store: IntentStore
    ) -> None:
        results = await create_together(store, *(intent(10, balance=10, key="key-1") for _ in range(5)))
        assert outcomes(results) == ["new", "replay", "replay", "replay", "replay"]
        assert len({result.payment.id for result in results}) == 1
        assert len(await rows_of(database, balance_reservations)) == 1

    async def test_a_key_in_a_later_batch_is_the_same_payment_whatever_the_balance(
        self, store: IntentStore
    ) -> None:
        first = await store.create(intent(10, balance=10, key="key-1"))
        again = await store.create(intent(10, balance=0, key="key-1"))
        assert (again.payment.id, again.is_new) == (first.payment.id, False)

    async def test_other_input_under_a_key_is_an_error_in_the_same_batch_and_later(
        self, database: Database, store: IntentStore
    ) -> None:
        results = await create_together(
            store, intent(10, key="key-1"), intent(11, key="key-1", fingerprint="other")
        )
        assert outcomes(results) == ["new", "IdempotencyConflictError"]
        with pytest.raises(IdempotencyConflictError) as caught:
            await store.create(intent(11, key="key-1", fingerprint="other"))
        assert caught.value.facts["payment_id"] == str(results[0].payment.id)
        assert len(await rows_of(database, token_transactions)) == 1

    async def test_a_refused_payment_leaves_its_key_free(self, store: IntentStore) -> None:
        results = await create_together(
            store, intent(30, balance=20, key="key-1"), intent(20, balance=20, key="key-1", fingerprint="b")
        )
        assert outcomes(results) == ["InsufficientBalanceError", "new"]

    async def test_find_by_key_answers_before_anything_is_reserved(self, store: IntentStore) -> None:
        assert await store.find_by_key("key-1", "input") is None
        recorded = await store.create(intent(key="key-1"))
        assert await store.find_by_key("key-1", "input") == recorded.payment
        with pytest.raises(IdempotencyConflictError):
            await store.find_by_key("key-1", "other")

    async def test_payments_without_a_key_are_all_their_own(self, store: IntentStore) -> None:
        results = await create_together(store, *(intent(1) for _ in range(6)))
        assert len({result.payment.id for result in results}) == 6


class TestNeighbours:
    async def test_a_broken_constraint_undoes_nobody_else(
        self, database: Database, store: IntentStore
    ) -> None:
        stranger = party("stranger", uuid4())
        results = await create_together(
            store, intent(1), intent(2, recipient=stranger), intent(3, balance=0), intent(4)
        )
        assert outcomes(results) == ["new", "ConstraintError", "InsufficientBalanceError", "new"]
        assert isinstance(results[1], ConstraintError)
        assert results[1].kind == "foreign_key"
        assert sorted(row["amount"] for row in await rows_of(database, token_transactions)) == [1, 4]
        assert sorted(row["amount"] for row in await rows_of(database, balance_reservations)) == [1, 4]

    async def test_a_cancelled_caller_leaves_the_batch_whole(
        self, database: Database, store: IntentStore
    ) -> None:
        tasks = [asyncio.create_task(store.create(intent(1))) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[1], asyncio.CancelledError)
        assert len(await rows_of(database, token_transactions)) == 3

    async def test_more_than_one_transaction_takes(self, database: Database, store: IntentStore) -> None:
        results = await create_together(store, *(intent(1, balance=300) for _ in range(310)))
        assert outcomes(results).count("new") == 300
        assert outcomes(results).count("InsufficientBalanceError") == 10


class TestTwoProcesses:
    """Each store has connections of its own, as two processes have."""

    @pytest.fixture
    async def stores(
        self, lasting_database_url: str, manual_clock: ManualClock
    ) -> AsyncIterator[list[IntentStore]]:
        databases = [await Database.open(lasting_database_url, clock=manual_clock, migrate=True)]
        databases.append(await Database.open(lasting_database_url, clock=manual_clock))
        opened = [IntentStore(database, manual_clock) for database in databases]
        self.database = databases[0]
        yield opened
        broken = await broken_rules(databases[0])
        for one in opened:
            await one.close()
        for database in databases:
            await database.close()
        assert broken == {}

    async def test_a_key_that_races_is_one_payment_and_nobody_is_short(
        self, stores: list[IntentStore]
    ) -> None:
        for number in range(12):
            account = party(f"payer-{number}")
            results = await asyncio.gather(
                *(
                    stores[turn % 2].create(intent(10, balance=10, key=f"key-{number}", sender=account))
                    for turn in range(4)
                ),
                return_exceptions=True,
            )
            assert sorted(outcomes(list(results))) == ["new", "replay", "replay", "replay"]
            assert len({result.payment.id for result in results if isinstance(result, Recorded)}) == 1
        assert len(await rows_of(self.database, balance_reservations)) == 12

    async def test_a_key_that_races_with_other_input_conflicts(self, stores: list[IntentStore]) -> None:
        for number in range(6):
            results = await asyncio.gather(
                stores[0].create(intent(10, key=f"key-{number}", fingerprint="a")),
                stores[1].create(
                    intent(11, key=f"key-{number}", fingerprint="b", sender=BOB, recipient=ALICE)
                ),
                return_exceptions=True,
            )
            assert sorted(outcomes(list(results))) == ["IdempotencyConflictError", "new"]

    async def test_debits_that_race_never_overdraw(self, stores: list[IntentStore]) -> None:
        results = await asyncio.gather(
            *(stores[turn % 2].create(intent(3, balance=50)) for turn in range(40)), return_exceptions=True
        )
        assert outcomes(list(results)).count("new") == 16
        assert outcomes(list(results)).count("InsufficientBalanceError") == 24

    async def test_crossing_batches_never_wait_for_each_other(self, stores: list[IntentStore]) -> None:
        names = [f"payer-{number}" for number in range(8)]
        results = await asyncio.gather(
            *(stores[0].create(intent(1, sender=party(name), recipient=ALICE)) for name in names),
            *(stores[1].create(intent(1, sender=party(name), recipient=ALICE)) for name in reversed(names)),
            return_exceptions=True,
        )
        assert outcomes(list(results)) == ["new"] * 16
