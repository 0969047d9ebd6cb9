"""What an approval covers: chain less the delegate's payments under way, the same on every database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deal_sdk.clock import ManualClock
from deal_sdk.errors import DelegationError, InsufficientBalanceError
from deal_sdk.payments.approvals import refuse_delegate
from deal_sdk.payments.attempts import AttemptStore
from deal_sdk.payments.intent_rows import Intent
from deal_sdk.payments.intents import IntentStore, Recorded
from deal_sdk.payments.orders import Funds
from deal_sdk.records import Database
from deal_sdk.records.tables import balance_reservations
from tests.contract.payment_orders import (
    ALICE,
    CAROL,
    attempt,
    broken_rules,
    by_delegate,
    change,
    intent,
    order,
    rows_of,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def database_url(lasting_database_url: str) -> str:
    return lasting_database_url


@pytest.fixture
async def store(database: Database, manual_clock: ManualClock) -> AsyncIterator[IntentStore]:
    opened = IntentStore(database, manual_clock)
    yield opened
    await opened.close()
    assert await broken_rules(database) == {}


async def create_together(store: IntentStore, *intents: Intent) -> list[Any]:
    return await asyncio.gather(*(store.create(one) for one in intents), return_exceptions=True)


def problem_of(error: object) -> str:
    assert isinstance(error, DelegationError)
    return str(error.facts["problem"])


async def test_a_reservation_names_its_delegate(store: IntentStore, database: Database) -> None:
    await create_together(store, by_delegate(60), intent(5))
    rows = await rows_of(database, balance_reservations)
    assert {(row["amount"], row["delegate"]) for row in rows} == {(60, CAROL.address), (5, None)}


@pytest.mark.parametrize("together", [True, False])
async def test_payments_under_way_count_against_the_approval(store: IntentStore, together: bool) -> None:
    intents = [by_delegate(60), by_delegate(41), by_delegate(40)]
    results: list[Any] = (
        await create_together(store, *intents)
        if together
        else [(await create_together(store, one))[0] for one in intents]
    )
    assert [isinstance(result, Recorded) for result in results] == [True, False, True]
    assert problem_of(results[1]) == "exhausted"
    assert results[1].facts["required"] == "0.00000041"
    assert results[1].facts["available"] == "0.0000004"


async def test_the_owners_payments_take_balance_and_no_approval(store: IntentStore) -> None:
    results = await create_together(
        store, intent(950), by_delegate(51), by_delegate(50, delegated=50), by_delegate(1, delegated=50)
    )
    assert isinstance(results[1], InsufficientBalanceError)
    assert isinstance(results[2], Recorded)
    assert problem_of(results[3]) == "exhausted"


@pytest.mark.parametrize(("holder", "problem"), [(None, "missing"), ("dave-wallet", "replaced")])
async def test_only_the_accounts_delegate_may_pay(
    store: IntentStore, database: Database, holder: str | None, problem: str
) -> None:
    (error,) = await create_together(store, by_delegate(1, holder=holder))
    assert problem_of(error) == problem
    assert await rows_of(database, balance_reservations) == []


async def test_a_landed_payment_counts_until_the_chain_shows_it(
    store: IntentStore, database: Database, manual_clock: ManualClock
) -> None:
    attempts = AttemptStore(database, manual_clock)
    (first,) = await create_together(store, by_delegate(60))
    await attempts.add(attempt(first.payment.id))
    await attempts.settle(change(first.payment.id, 1, "finalized", slot=200))
    (stale,) = await create_together(store, by_delegate(60, slot=199))
    assert problem_of(stale) == "exhausted"
    (fresh,) = await create_together(store, by_delegate(40, delegated=40, slot=200))
    assert isinstance(fresh, Recorded)
    await attempts.close()


async def test_a_failed_payment_gives_the_approval_back(
    store: IntentStore, database: Database, manual_clock: ManualClock
) -> None:
    attempts = AttemptStore(database, manual_clock)
    (first,) = await create_together(store, by_delegate(100))
    await attempts.add(attempt(first.payment.id))
    await attempts.settle(change(first.payment.id, 1, "failed"))
    (again,) = await create_together(store, by_delegate(100))
    assert isinstance(again, Recorded)
    await attempts.close()


@settings(max_examples=60, deadline=None)
@given(
    delegated=st.integers(0, 2**64 - 1),
    held=st.integers(0, 2**64 - 1),
    amount=st.integers(1, 2**63 - 1),
)
def test_an_approval_is_never_overdrawn(delegated: int, held: int, amount: int) -> None:
    one = by_delegate(1).order
    funds = Funds(2**64 - 1, 1, CAROL.address, delegated)
    wanted = order(amount, plan=one.plan, sender=ALICE)
    refusal = refuse_delegate(wanted, funds, delegated - held)
    assert (refusal is None) == (held + amount <= delegated)


async def test_a_refusal_that_a_landing_may_explain_is_provisional(store: IntentStore) -> None:
    """The approval that was read may be less by the live payment already, which then counts twice."""
    await create_together(store, by_delegate(60))
    (perhaps, surely) = await create_together(store, by_delegate(40, delegated=40), by_delegate(101))
    assert (problem_of(perhaps), problem_of(surely)) == ("exhausted", "exhausted")
    assert (perhaps.is_provisional, surely.is_provisional) == (True, False)
