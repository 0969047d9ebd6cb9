"""Attempts that are slow to land say what is known of them, on every database, and a verdict clears it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from deal_sdk.chain import DeliveryNote, Following, SignedTransaction
from deal_sdk.clock import ManualClock
from deal_sdk.errors import DatabaseUnavailableError
from deal_sdk.payments import AttemptStore, DeliveryNotes, IntentStore
from deal_sdk.payments.attempts import Change, LiveAttempt
from deal_sdk.records import Attempt, Database, Transaction, TransactionRecorder
from tests.contract.payment_orders import intent

REFUSED = {"broadcasts": 3, "endpoint": "scripted", "error": {"code": "rpc_unavailable"}}


class Payments:
    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.attempts = AttemptStore(database, clock)
        self.intents = IntentStore(database, clock)
        self.notes = DeliveryNotes(database, clock)
        self.recorder = TransactionRecorder(database)

    async def signed(self, number: int) -> tuple[Transaction, SignedTransaction]:
        payment = (await self.intents.create(intent(number))).payment
        signed = SignedTransaction(f"signature-{number}", b"bytes", 250, 100)
        assert await self.attempts.add(LiveAttempt(payment.id, 1, signed))
        return payment, signed

    async def note(self, signed: SignedTransaction, status: Any) -> DeliveryNote:
        note = DeliveryNote(Following(signed.signature, signed, 0.0), status, REFUSED)
        note.following.noted_status = status
        self.notes.take([note])
        assert self.notes._task is not None
        await self.notes._task
        return note

    async def attempt(self, payment: Transaction) -> Attempt:
        (attempt,) = await self.recorder.attempts(payment.id)
        return attempt

    async def settle(self, payment: Transaction, end: Any, clock: ManualClock) -> None:
        await self.attempts.settle(Change(payment.id, 1, end, 200, {"slot": 200}, clock.now()))


@pytest.fixture
async def payments(database: Database, manual_clock: ManualClock):
    opened = Payments(database, manual_clock)
    yield opened
    await opened.notes.close()
    await opened.attempts.close()
    await opened.intents.close()


async def test_sent_and_unknown_are_noted_and_cleared_by_the_verdict(payments, manual_clock):
    payment, signed = await payments.signed(1)
    assert (await payments.attempt(payment)).status == "signed"
    await payments.note(signed, "unknown")
    attempt = await payments.attempt(payment)
    assert (attempt.status, attempt.evidence) == ("unknown", REFUSED)
    assert attempt.to_dict()["signature"] == signed.signature
    await payments.note(signed, "sent")
    assert (await payments.attempt(payment)).status == "sent"
    # It stays alive: a restart carries on the same bytes and signs nothing new.
    (found,) = await payments.attempts.open_payments([payment.id])
    assert found.attempt is not None
    assert found.attempt.transaction == signed
    other = SignedTransaction("another", b"other", 250, 100)
    assert not await payments.attempts.add(LiveAttempt(payment.id, 2, other))
    await payments.settle(payment, "finalized", manual_clock)
    attempt = await payments.attempt(payment)
    assert (attempt.status, attempt.evidence) == ("finalized", {"slot": 200})


@pytest.mark.parametrize("end", ["confirmed", "finalized", "failed", "expired"])
async def test_a_note_that_comes_after_the_verdict_changes_nothing(payments, manual_clock, end):
    payment, signed = await payments.signed(1)
    await payments.settle(payment, end, manual_clock)
    before = await payments.attempt(payment)
    await payments.note(signed, "unknown")
    assert await payments.attempt(payment) == before


async def test_many_notes_share_a_transaction_and_each_finds_its_row(payments):
    made = [await payments.signed(number) for number in range(1, 6)]
    payments.notes.take(
        [
            DeliveryNote(Following(signed.signature, signed, 0.0), "sent" if index % 2 else "unknown", {})
            for index, (_, signed) in enumerate(made)
        ]
    )
    await payments.notes._task
    found = [(await payments.attempt(payment)).status for payment, _ in made]
    assert found == ["unknown", "sent", "unknown", "sent", "unknown"]


async def test_a_payment_without_an_attempt_has_none(payments):
    payment = (await payments.intents.create(intent(1))).payment
    assert await payments.recorder.attempts(payment.id) == []


async def test_a_note_that_the_database_refuses_is_made_again(payments, database, monkeypatch):
    payment, signed = await payments.signed(1)

    async def away(unit: Any) -> None:
        raise DatabaseUnavailableError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(database, "run", away)
        note = await payments.note(signed, "sent")
    assert note.following.noted_status is None
    assert (await payments.attempt(payment)).status == "signed"
    await asyncio.sleep(0)
