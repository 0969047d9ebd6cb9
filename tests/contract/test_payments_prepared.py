"""Prepared transactions: signed or expired, never both, and prepared anew; the same on every database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from deal_sdk.chain import SignedTransaction, UnsignedTransaction
from deal_sdk.clock import ManualClock
from deal_sdk.errors import InsufficientBalanceError, PaymentsPausedError, PreparedTransactionNotFoundError
from deal_sdk.payments.attempts import AttemptStore
from deal_sdk.payments.intent_rows import Intent
from deal_sdk.payments.intents import IntentStore
from deal_sdk.payments.orders import Funds, Order
from deal_sdk.payments.prepared import Prepared
from deal_sdk.payments.prepared_store import PreparedStore
from deal_sdk.payments.rails import PauseSwitch
from deal_sdk.records import Database
from deal_sdk.records.purchase_tables import token_purchases
from deal_sdk.records.tables import balance_reservations, payment_attempts
from tests.contract.payment_orders import broken_rules, change, order, purchase, rows_of

pytestmark = pytest.mark.slow

PROOF = {"finalized_height": 251}
OURS, THEIRS = uuid4(), uuid4()


@pytest.fixture
def database_url(lasting_database_url: str) -> str:
    return lasting_database_url


class Desk:
    """What one process does with prepared transactions."""

    def __init__(self, database: Database, clock: ManualClock, *, lease_owner: object = None) -> None:
        self.database = database
        self.intents = IntentStore(database, clock, lease_owner=lease_owner)
        self.attempts = AttemptStore(database, clock, lease_owner=lease_owner)
        self.store = PreparedStore(database, intents=self.intents, attempts=self.attempts, clock=clock)

    async def prepare(self, one: Order, *, number: int = 1, balance: int = 100) -> Intent:
        prepared = Prepared(
            uuid4(), one.payment_id, number, "open", UnsignedTransaction(b"message", 250, 100)
        )
        return Intent(one, Funds(balance, 100), prepared)

    async def close(self) -> None:
        await self.intents.close()
        await self.attempts.close()


@pytest.fixture
async def desk(database: Database, manual_clock: ManualClock) -> AsyncIterator[Desk]:
    opened = Desk(database, manual_clock)
    yield opened
    await opened.close()
    assert await broken_rules(database) == {}


async def open_prepared(desk: Desk, amount: int = 60) -> tuple[Order, Prepared]:
    intent = await desk.prepare(order(amount, purchase=purchase()))
    await desk.intents.create(intent)
    assert intent.prepared is not None
    return intent.order, intent.prepared


def signed(name: str = "signature") -> SignedTransaction:
    return SignedTransaction(name, b"bytes", 250, 100)


async def reservation_state(desk: Desk, one: Order) -> str:
    (row,) = await rows_of(
        desk.database, balance_reservations, balance_reservations.c.payment_id == one.payment_id
    )
    return str(row["state"])


async def test_it_is_recorded_with_its_payment(desk: Desk) -> None:
    one, prepared = await open_prepared(desk)
    assert await desk.store.get(prepared.id) == prepared
    assert await desk.store.latest(one.payment_id) == prepared
    assert [found.prepared for found in await desk.store.waiting()] == [prepared]
    with pytest.raises(PreparedTransactionNotFoundError):
        await desk.store.get(uuid4())


async def test_a_signature_is_committed_once(desk: Desk) -> None:
    one, prepared = await open_prepared(desk)
    results = await asyncio.gather(*(desk.store.commit(prepared, signed(f"{n}")) for n in range(5)))
    assert sorted(results) == [False] * 4 + [True]
    (attempt,) = await rows_of(desk.database, payment_attempts)
    assert (attempt["number"], attempt["status"]) == (1, "signed")
    (found,) = await desk.store.waiting(one.payment_id)
    assert found.is_under_way
    assert await desk.store.expire(prepared.with_status("signed"), PROOF) is None


async def test_another_process_may_commit_it(
    desk: Desk, database: Database, manual_clock: ManualClock
) -> None:
    """The payment is then that process's to drive."""
    here, there = (Desk(database, manual_clock, lease_owner=owner) for owner in (OURS, THEIRS))
    one, prepared = await open_prepared(here)
    assert await there.store.commit(prepared, signed())
    assert [found.payment.id for found in await there.attempts.open_payments()] == [one.payment_id]
    assert await here.attempts.open_payments() == []
    await here.close()
    await there.close()


@pytest.mark.parametrize("times", [3])
async def test_signed_or_expired_and_never_both(desk: Desk, times: int) -> None:
    for round_number in range(times):
        one, prepared = await open_prepared(desk, 10)
        committed, expired = await asyncio.gather(
            desk.store.commit(prepared, signed(f"round {round_number}")), desk.store.expire(prepared, PROOF)
        )
        assert committed == (expired is None)
        assert await reservation_state(desk, one) == ("live" if committed else "released")


async def test_an_expiry_releases_everything_with_its_proof(desk: Desk) -> None:
    _, prepared = await open_prepared(desk)
    payment = await desk.store.expire(prepared, PROOF)
    assert payment is not None
    assert (payment.status, payment.evidence) == ("expired", PROOF)
    (bought,) = await rows_of(desk.database, token_purchases)
    assert bought["state"] == "cancelled"
    assert await desk.store.expire(prepared, PROOF) is None
    assert not await desk.store.commit(prepared, signed())
    assert await desk.store.waiting() == []


async def test_it_is_prepared_anew_once(desk: Desk) -> None:
    one, prepared = await open_prepared(desk)
    await desk.store.expire(prepared, PROOF)
    again = [await desk.prepare(one, number=2) for _ in range(3)]
    revived = await asyncio.gather(*(desk.store.revive(intent) for intent in again))
    assert {payment.status for payment in revived} == {"pending"}
    latest = await desk.store.latest(one.payment_id)
    assert latest is not None
    assert (latest.number, latest.status) == (2, "open")
    assert await reservation_state(desk, one) == "live"
    (bought,) = await rows_of(desk.database, token_purchases)
    assert bought["state"] == "reserved"
    assert await desk.store.commit(latest, signed())


async def test_an_attempt_that_expired_leaves_it_to_the_proof(desk: Desk) -> None:
    one, prepared = await open_prepared(desk)
    await desk.store.commit(prepared, signed())
    await desk.attempts.settle(change(one.payment_id, 1, "attempt_expired"))
    (found,) = await desk.store.waiting()
    assert (found.is_under_way, found.prepared.status) == (False, "signed")
    # The same message under another signature may have landed: it is the next attempt.
    assert await desk.store.commit(found.prepared, signed("another"))
    numbers = [row["number"] for row in await rows_of(desk.database, payment_attempts)]
    assert sorted(numbers) == [1, 2]


async def test_a_balance_that_is_gone_leaves_it_expired(desk: Desk) -> None:
    one, prepared = await open_prepared(desk)
    await desk.store.expire(prepared, PROOF)
    other, _ = await open_prepared(desk)
    with pytest.raises(InsufficientBalanceError):
        await desk.store.revive(await desk.prepare(one, number=2))
    assert (await desk.store.payment(one.payment_id)).status == "expired"
    assert await reservation_state(desk, other) == "live"


async def test_a_pause_stops_signatures_and_no_expiry(desk: Desk) -> None:
    one, prepared = await open_prepared(desk)
    switch = PauseSwitch(desk.database)
    await switch.pause("audit")
    with pytest.raises(PaymentsPausedError):
        await desk.store.commit(prepared, signed())
    assert (await desk.store.get(prepared.id)).status == "open"
    assert await desk.store.expire(prepared, PROOF) is not None
    with pytest.raises(PaymentsPausedError):
        await desk.store.revive(await desk.prepare(one, number=2))
    await switch.release()
