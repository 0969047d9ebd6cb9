"""Webhooks on every database: nothing lost with a commit, nothing sent twice by two, nothing thrown away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.clock import ManualClock
from deal_sdk.errors import (
    ConfigurationError,
    InsufficientBalanceError,
    InvalidInputError,
    WebhookNotFoundError,
)
from deal_sdk.records import Database
from deal_sdk.records.webhook_tables import webhook_deliveries, webhook_events, webhook_secrets
from deal_sdk.webhooks import WebhookReply, verify_webhook
from tests.contract.payment_orders import attempt, change, intent, rows_of
from tests.contract.webhook_world import BOUNDS, Process, no_reply

pytestmark = pytest.mark.slow

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


async def eventually(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        for _ in range(2_000):
            if await is_so():
                return
            await asyncio.sleep(0.01)


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


class TestDelivery:
    async def test_failures_are_retried_with_growing_waits_and_end_as_a_dead_letter(
        self, process: Process
    ) -> None:
        await process.webhooks.add(URL, secret=SECRET)
        process.sender.answers[URL] = lambda: WebhookReply(500)
        await recorded(process)
        waits = []
        for _ in range(BOUNDS.max_attempts):
            assert await process.deliverer.deliver_due() == 1
            (delivery,) = (await process.webhooks.deliveries()).items
            waits.append((delivery.next_attempt_at - process.clock.now()).total_seconds())
            await process.clock.advance(60)
        assert delivery.state == "dead"
        assert (delivery.attempts, delivery.last_status, delivery.last_error) == (4, 500, "HTTP 500")
        assert all(2.5 * 2**n <= wait <= 5 * 2**n for n, wait in enumerate(waits[:-1]))
        assert await process.deliverer.deliver_due() == 0
        assert len({request.event["id"] for request in process.sender.requests}) == 1

    async def test_a_dead_letter_is_replayed_with_its_own_id(self, process: Process) -> None:
        await process.webhooks.add(URL, secret=SECRET)
        process.sender.answers[URL] = lambda: WebhookReply(410)
        await recorded(process)
        await process.deliverer.deliver_due()
        (dead,) = (await process.webhooks.deliveries(state="dead")).items
        process.sender.answers.clear()
        (endpoint,) = await process.webhooks.list()
        assert endpoint.state == "disabled"
        await process.webhooks.enable(endpoint.id)
        assert await process.webhooks.replay() == 1
        await process.deliverer.deliver_due()
        assert await process.states() == ["delivered"]
        assert await process.webhooks.replay(dead.id) == 1
        await process.deliverer.deliver_due()
        assert {request.event["id"] for request in process.sender.requests} == {str(dead.event_id)}
        assert len(process.sender.requests) == 3

    async def test_retry_after_is_honoured_for_the_whole_endpoint(self, process: Process) -> None:
        await process.webhooks.add(URL, secret=SECRET)
        process.sender.answers[URL] = lambda: WebhookReply(429, 100.0)
        await recorded(process)
        await process.deliverer.deliver_due()
        process.sender.answers.clear()
        await recorded(process)
        await process.clock.advance(99)
        assert await process.deliverer.deliver_due() == 0
        await process.clock.advance(2)
        assert await process.deliverer.deliver_due() == 2

    async def test_a_dead_endpoint_is_left_alone_and_holds_up_no_other(self, process: Process) -> None:
        await process.webhooks.add(URL, secret=SECRET)
        await process.webhooks.add(OTHER, secret=SECRET)
        process.sender.answers[URL] = no_reply
        for _ in range(20):
            await recorded(process, balance=10**9)
        await process.deliverer.deliver_due()
        await process.deliverer.deliver_due()
        assert len(process.sender.events(OTHER)) == 20
        # Four at once were under way when the fifth failure in a row ended it.
        assert len(process.sender.events(URL)) <= 8
        await process.clock.advance(60)
        process.sender.requests.clear()
        await process.deliverer.deliver_due()
        assert len(process.sender.events(URL)) == 1, "a single one is tried after the pause"
        process.sender.answers.clear()
        for _ in range(12):
            await process.clock.advance(60)
            await process.deliverer.deliver_due()
        assert set(await process.states()) == {"delivered"}

    async def test_no_more_than_the_bound_goes_to_an_endpoint_at_once(self, process: Process) -> None:
        await process.webhooks.add(URL, secret=SECRET)
        for _ in range(12):
            await recorded(process, balance=10**9)
        await process.deliverer.deliver_due()
        assert process.sender.most_at_once <= BOUNDS.max_in_flight
        assert set(await process.states()) == {"delivered"}

    async def test_two_processes_share_the_work_and_do_nothing_twice(
        self, process: Process, neighbour: Process
    ) -> None:
        await process.webhooks.add(URL, secret=SECRET)
        for _ in range(40):
            await recorded(process, balance=10**9)
        await asyncio.gather(
            *(each.deliverer.deliver_due() for each in (process, neighbour) for _ in range(4))
        )
        told = [event["id"] for each in (process, neighbour) for event in each.sender.events()]
        assert len(told) == len(set(told)) == 40

    async def test_what_a_killed_process_held_is_delivered_by_another(
        self, process: Process, neighbour: Process
    ) -> None:
        await process.webhooks.add(URL, secret=SECRET)
        await recorded(process)
        process.sender.hold = asyncio.Event()
        killed = asyncio.create_task(process.deliverer.deliver_due())
        await process.sender.arrived.wait()
        killed.cancel()
        for task in tuple(process.deliverer._tasks):
            task.cancel()
        assert await neighbour.deliverer.deliver_due() == 0
        await neighbour.clock.advance(BOUNDS.timeout_seconds * 5 + 31)
        assert await neighbour.deliverer.deliver_due() == 1
        # A duplicate, under the same id.
        assert neighbour.sender.events() == process.sender.events()

    async def test_a_process_that_closes_gives_back_what_it_holds(
        self, process: Process, neighbour: Process
    ) -> None:
        await process.webhooks.add(URL, secret=SECRET)
        await recorded(process)
        process.sender.hold = asyncio.Event()
        passing = asyncio.create_task(process.deliverer.deliver_due())
        await process.sender.arrived.wait()
        closing = asyncio.create_task(process.deliverer.close())
        while not closing.done():
            await asyncio.sleep(0.01)
            await process.clock.advance(0.5)
        await passing
        assert await neighbour.deliverer.deliver_due() == 1

    async def test_the_loop_delivers_what_is_committed_without_waiting_for_its_poll(
        self, process: Process
    ) -> None:
        await process.webhooks.add(URL, secret=SECRET)
        await process.deliverer.start()
        await recorded(process)

        async def is_delivered() -> bool:
            return await process.states() == ["delivered"]

        await eventually(is_delivered)

    async def test_a_process_that_does_not_deliver_still_records(
        self, process: Process, neighbour: Process
    ) -> None:
        await neighbour.webhooks.add(URL, secret=SECRET)
        await process.deliverer.start(delivers=False)
        await recorded(process)
        assert await process.states() == ["pending"]
        assert await neighbour.deliverer.deliver_due() == 1


class TestEndpoints:
    async def test_without_endpoints_nothing_is_written(self, process: Process, database: Database) -> None:
        await paid(process)
        await publish(process, "suspicious_activity")
        assert await rows_of(database, webhook_events) == []

    async def test_patterns_choose_what_is_told(self, process: Process, database: Database) -> None:
        await process.webhooks.add(URL, ["payment.fin*", "wallet:*"], secret=SECRET)
        await paid(process)
        await publish(process, "wallet:limit-reached", address="A")
        await publish(process, "suspicious_activity", address="A")
        await process.deliverer.deliver_due()
        assert [event["type"] for event in process.sender.events()] == [
            "payment.finalized",
            "wallet:limit-reached",
        ]

    async def test_other_events_are_written_when_they_are_published(self, process: Process) -> None:
        await process.webhooks.add(URL, ["suspicious_activity"], secret=SECRET)
        event_id = await publish(process, "suspicious_activity", address="A", payments=9)
        await process.deliverer.deliver_due()
        (event,) = process.sender.events()
        assert event["id"] == event_id
        assert event["data"] == {"address": "A", "payments": 9}
        assert event["sequence"] is None

    async def test_a_disabled_endpoint_is_told_later_what_it_missed_before(self, process: Process) -> None:
        endpoint = (await process.webhooks.add(URL, secret=SECRET)).endpoint
        await recorded(process)
        await process.webhooks.disable(endpoint.id, "maintenance")
        await recorded(process)
        assert await process.deliverer.deliver_due() == 0
        assert [item.state_reason for item in await process.webhooks.list()] == ["maintenance"]
        await process.webhooks.enable(endpoint.id)
        assert await process.deliverer.deliver_due() == 1

    async def test_removing_an_endpoint_keeps_what_was_not_delivered(
        self, process: Process, neighbour: Process
    ) -> None:
        endpoint = (await process.webhooks.add(URL, secret=SECRET)).endpoint
        await neighbour.outbox.refresh()
        await recorded(process)
        await process.webhooks.remove(endpoint.id)
        assert await process.webhooks.list() == []
        (dead,) = (await process.webhooks.deliveries()).items
        assert (dead.state, dead.last_error) == ("dead", "endpoint removed; never tried")
        # A process that has not heard of it still writes, and a payment must not fail of that.
        await recorded(neighbour)
        await neighbour.deliverer._clean()
        assert await process.states() == ["dead", "dead"]
        assert await process.webhooks.replay() == 0
        for call in (process.webhooks.get, process.webhooks.enable, process.webhooks.remove):
            with pytest.raises(WebhookNotFoundError):
                await call(endpoint.id)

    async def test_another_process_hears_of_an_endpoint_within_its_poll(
        self, process: Process, neighbour: Process
    ) -> None:
        await neighbour.deliverer.start(delivers=False)
        await process.webhooks.add(URL, secret=SECRET)
        assert not neighbour.outbox.matching("payment.recorded")

        async def has_heard() -> bool:
            await neighbour.clock.advance(BOUNDS.poll_interval_seconds)
            return bool(neighbour.outbox.matching("payment.recorded"))

        await eventually(has_heard)

    async def test_a_secret_is_rotated_with_both_valid_for_a_while(self, process: Process) -> None:
        added = await process.webhooks.add(URL)
        assert added.secret is not None
        new = await process.webhooks.rotate_secret(added.endpoint.id, overlap_seconds=100)
        await recorded(process)
        await process.deliverer.deliver_due()
        (both,) = process.sender.requests
        for secret in (added.secret, new):
            verify_webhook(both.body, both.headers["Deal-Signature"], secret, clock=process.clock)
        await process.clock.advance(101)
        await recorded(process)
        await process.deliverer.deliver_due()
        header = process.sender.requests[1].headers["Deal-Signature"]
        assert header.count("v1=") == 1
        verify_webhook(process.sender.requests[1].body, header, new, clock=process.clock)

    async def test_secrets_are_nowhere_in_the_clear(self, process: Process, database: Database) -> None:
        added = await process.webhooks.add(URL)
        assert added.secret is not None
        assert added.secret not in repr(added)
        rows = await rows_of(database, webhook_secrets)
        assert len(rows) == 1
        assert all(added.secret.encode() not in bytes(rows[0][name]) for name in ("ciphertext", "nonce"))

    async def test_the_settings_secret_signs_for_endpoints_without_one(
        self, database: Database, manual_clock: ManualClock, process: Process
    ) -> None:
        with_setting = Process(database, manual_clock, fallback=SecretStr("the setting's own secret"))
        added = await with_setting.webhooks.add(URL)
        assert added.secret is None
        await recorded(with_setting)
        assert await process.deliverer.deliver_due() == 0, "it waits for a process that knows the secret"
        with pytest.raises(ConfigurationError):
            await process.secrets.of([added.endpoint.id])
        assert await with_setting.deliverer.deliver_due() == 1
        (request,) = with_setting.sender.requests
        header = request.headers["Deal-Signature"]
        verify_webhook(request.body, header, "the setting's own secret", clock=manual_clock)
        await with_setting.close()

    @pytest.mark.parametrize(
        ("url", "events"),
        [
            ("http://hooks.example.com", ["*"]),
            ("https://127.0.0.1/", ["*"]),
            ("https://user:password@hooks.example.com", ["*"]),
            (URL, []),
            (URL, ["payment[0]"]),
            (URL, ["x" * 129]),
        ],
    )
    async def test_what_cannot_be_used_is_refused(
        self, process: Process, url: str, events: list[str]
    ) -> None:
        with pytest.raises(InvalidInputError) as caught:
            await process.webhooks.add(url, events, secret=SECRET)
        assert "password" not in str(caught.value.to_dict())
        assert await process.webhooks.list() == []

    async def test_bad_arguments_are_refused(self, process: Process) -> None:
        endpoint = (await process.webhooks.add(URL, secret=SECRET)).endpoint
        with pytest.raises(InvalidInputError):
            await process.webhooks.add(URL, secret="short")
        with pytest.raises(InvalidInputError):
            await process.webhooks.rotate_secret(endpoint.id, overlap_seconds=-1)
        with pytest.raises(InvalidInputError):
            await process.webhooks.get("no id")
        with pytest.raises(InvalidInputError):
            await process.webhooks.deliveries(cursor="nonsense")
        with pytest.raises(WebhookNotFoundError):
            await process.webhooks.replay(7)


class TestCleaning:
    async def test_what_nobody_took_in_time_becomes_a_dead_letter(self, process: Process) -> None:
        await process.webhooks.add(URL, secret=SECRET)
        process.sender.answers[URL] = no_reply
        await recorded(process)
        await process.deliverer.deliver_due()
        await process.clock.advance(BOUNDS.max_age_seconds + 1)
        await process.deliverer._clean()
        (dead,) = (await process.webhooks.deliveries(state="dead")).items
        assert dead.last_error == "too old; no reply in time"
        assert await process.webhooks.replay() == 1
        process.sender.answers.clear()
        await process.deliverer._clean()
        assert await process.deliverer.deliver_due() == 1

    async def test_what_was_delivered_goes_after_its_time_and_dead_letters_stay(
        self, process: Process, database: Database
    ) -> None:
        await process.webhooks.add(URL, secret=SECRET)
        await process.webhooks.add(OTHER, ["payment.finalized"], secret=SECRET)
        bounds = replace(BOUNDS, max_attempts=1)
        process.deliverer._bounds = bounds
        process.sender.answers[OTHER] = lambda: WebhookReply(500)
        await paid(process)
        await process.deliverer.deliver_due()
        await process.clock.advance(BOUNDS.retention_seconds + 61)
        await process.deliverer._clean()
        assert [row["state"] for row in await rows_of(database, webhook_deliveries)] == ["dead"]
        assert [row["type"] for row in await rows_of(database, webhook_events)] == ["payment.finalized"]

    async def test_deliveries_are_shown_by_page_and_filter(self, process: Process) -> None:
        endpoint = (await process.webhooks.add(URL, secret=SECRET)).endpoint
        first = await paid(process)
        await paid(process)
        page = await process.webhooks.deliveries(limit=4)
        rest = await process.webhooks.deliveries(limit=4, cursor=page.next_cursor)
        assert (len(page.items), len(rest.items), rest.next_cursor) == (4, 2, None)
        about = await process.webhooks.deliveries(subject=str(first), endpoint_id=endpoint.id)
        assert len(about.items) == 3
        finals = await process.webhooks.deliveries(event_type="payment.finalized", state="pending")
        assert len(finals.items) == 2
