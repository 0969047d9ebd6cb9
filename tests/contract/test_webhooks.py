"""Webhooks on every database: nothing lost with a commit, nothing sent twice by two, nothing thrown away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.clock import ManualClock
from deal_sdk.errors import (
    InsufficientBalanceError,
)
from deal_sdk.records import Database
from deal_sdk.records.webhook_tables import webhook_events
from deal_sdk.webhooks import verify_webhook
from tests.contract.payment_orders import attempt, change, intent, rows_of
from tests.contract.webhook_world import Process

URL = "https://hooks.example.com/deal"
OTHER = "https://other.example.com/deal"
SECRET = "a secret of the receiver's"


@pytest.fixture
def database_url(lasting_database_url: str) -> str:
    """SQLite and PostgreSQL; an ephemeral database is SQLite in a temporary file."""
    return lasting_database_url


@pytest.fixture
async def process(database: Database, manual_clock: ManualClock) -> AsyncIterator[Process]:
    opened = Process(database, manual_clock)
    yield opened
    await opened.close()


@pytest.fixture
async def neighbour(database: Database, manual_clock: ManualClock) -> AsyncIterator[Process]:
    """A second process on the same database."""
    opened = Process(database, manual_clock, seed=2)
    yield opened
    await opened.close()


async def recorded(process: Process, **details: Any) -> UUID:
    return (await process.intents.create(intent(**details))).payment.id


async def paid(process: Process) -> UUID:
    payment_id = await recorded(process)
    assert await process.attempts.add(attempt(payment_id))
    await process.attempts.settle(change(payment_id, 1, "confirmed"))
    await process.attempts.settle(change(payment_id, 1, "finalized"))
    return payment_id


async def publish(process: Process, name: str, **data: Any) -> str:
    """Publish on the bus and return the event's id once it is written."""
    process.bus_events.adjust()
    event = process.bus.publish(name, **data)
    await process.bus.drain()
    return event.id


class TestPayments:
    async def test_every_change_of_a_payment_is_told_in_order(self, process: Process) -> None:
        await process.webhooks.add(URL, ["payment.*"], secret=SECRET)
        payment_id = await paid(process)
        assert await process.deliverer.deliver_due() == 3
        events = process.sender.events()
        assert [event["type"] for event in events] == [
            "payment.recorded",
            "payment.confirmed",
            "payment.finalized",
        ]
        assert [event["sequence"] for event in events] == [1, 2, 3]
        assert {event["subject"] for event in events} == {str(payment_id)}
        told = [event["data"]["payment"]["status"] for event in events]
        assert told == ["pending", "confirmed", "finalized"]
        assert "instruction" not in events[0]["data"]["payment"]
        assert await process.deliverer.deliver_due() == 0

    async def test_requests_are_signed(self, process: Process) -> None:
        await process.webhooks.add(URL, secret=SECRET)
        await recorded(process)
        await process.deliverer.deliver_due()
        (request,) = process.sender.requests
        event = verify_webhook(request.body, request.headers["Deal-Signature"], SECRET, clock=process.clock)
        assert event["id"] == request.headers["Deal-Event-Id"]
        assert request.headers["Deal-Event-Type"] == "payment.recorded"

    async def test_two_ends_in_one_transaction_each_show_their_own_state(self, process: Process) -> None:
        await process.webhooks.add(URL, ["payment.confirmed", "payment.finalized"], secret=SECRET)
        payment_id = await recorded(process)
        await process.attempts.add(attempt(payment_id))
        await asyncio.gather(
            process.attempts.settle(change(payment_id, 1, "confirmed")),
            process.attempts.settle(change(payment_id, 1, "finalized")),
        )
        await process.deliverer.deliver_due()
        told = [(event["type"], event["data"]["payment"]["status"]) for event in process.sender.events()]
        assert told == [("payment.confirmed", "confirmed"), ("payment.finalized", "finalized")]

    async def test_a_repeated_report_is_told_once(self, process: Process) -> None:
        await process.webhooks.add(URL, ["payment.confirmed"], secret=SECRET)
        payment_id = await recorded(process)
        await process.attempts.add(attempt(payment_id))
        for _ in range(3):
            await process.attempts.settle(change(payment_id, 1, "confirmed"))
        assert await process.deliverer.deliver_due() == 1

    async def test_what_a_fork_took_back_is_told_again_under_another_id(self, process: Process) -> None:
        await process.webhooks.add(URL, ["payment.confirmed"], secret=SECRET)
        payment_id = await recorded(process)
        for number in (1, 2):
            await process.attempts.add(attempt(payment_id, number))
            await process.attempts.settle(change(payment_id, number, "confirmed"))
            await process.attempts.settle(change(payment_id, number, "attempt_expired"))
        await process.deliverer.deliver_due()
        events = process.sender.events()
        assert len({event["id"] for event in events}) == 2
        assert [event["sequence"] for event in events] == [2, 4]

    async def test_a_refused_payment_and_a_replayed_key_tell_nothing(self, process: Process) -> None:
        await process.webhooks.add(URL, secret=SECRET)
        with pytest.raises(InsufficientBalanceError):
            await recorded(process, balance=1)
        await recorded(process, key="one")
        await recorded(process, key="one")
        assert await process.states() == ["pending"]

    async def test_what_is_rolled_back_is_not_told(self, process: Process, database: Database) -> None:
        await process.webhooks.add(URL, secret=SECRET)

        async def unit(connection: AsyncConnection) -> None:
            await process.intents._create_in(connection, [intent()])
            assert await connection.scalar(sa.select(sa.func.count()).select_from(webhook_events)) == 1
            raise KeyError

        with pytest.raises(KeyError):
            await database.run(unit)
        assert await rows_of(database, webhook_events) == []
