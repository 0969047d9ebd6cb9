"""What an erasure waits for on every database, and what becomes of events that webhooks were told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
import sqlalchemy as sa

from deal_sdk.accounting import Journal
from deal_sdk.accounting.erasure import ErasureReport, erase
from deal_sdk.accounting.told_events import emptied_body, erase_told_events
from deal_sdk.clock import ManualClock
from deal_sdk.errors import UserBusyError
from deal_sdk.records import Database, UserDirectory
from deal_sdk.records.erasure_tables import user_erasures
from deal_sdk.records.tables import token_transactions
from deal_sdk.records.webhook_tables import webhook_events
from deal_sdk.webhooks import OutgoingEvent, WebhookReply
from tests.contract import test_accruals
from tests.contract.invoice_world import PRICE, World
from tests.contract.payment_orders import rows_of
from tests.contract.webhook_world import Process

URL = "https://93.184.216.34/hook"
SECRET = "whsec_" + "c2VjcmV0" * 5
NAME = "Alice of Example Street"


async def busy(database: Database, journal: Journal, user_id: UUID) -> dict[str, Any]:
    """Try to erase a user who is busy, and return what is waited for; nothing was erased."""
    with pytest.raises(UserBusyError) as refusal:
        await erase(database, journal, user_id)
    assert (await UserDirectory(database).get(user_id)).erased_at is None
    assert await rows_of(database, user_erasures) == []
    return {name: count for name, count in refusal.value.facts.items() if name != "user_id"}


class TestInvoicesAndPackages:
    @pytest.fixture
    async def world(self, database: Database, manual_clock: ManualClock) -> AsyncIterator[World]:
        made = await World(database, manual_clock).open()
        yield made
        await made.close()
        assert await made.broken() == []

    async def erase(self, world: World) -> ErasureReport:
        return await erase(world.database, world.journal, world.user_id)

    async def test_an_open_invoice_refuses_until_it_is_granted(self, world: World) -> None:
        async def leave(invoice_ids: Collection[UUID]) -> None:
            assert invoice_ids

        invoice = await world.packages.invoice(world.user_id, "starter")
        assert await busy(world.database, world.journal, world.user_id) == {"open_invoices": 1}
        world.sync.deposits.on_paid = leave
        await world.arrives(PRICE, invoice)
        assert (await world.now(invoice)).status == "paid"
        assert await busy(world.database, world.journal, world.user_id) == {"open_invoices": 1}
        await world.job.run_once()
        assert not (await self.erase(world)).replayed

    async def test_an_expired_invoice_refuses_no_more(self, world: World) -> None:
        await world.packages.invoice(world.user_id, "starter", expires_in_seconds=60)
        assert await busy(world.database, world.journal, world.user_id) == {"open_invoices": 1}
        await world.clock.advance(61)
        assert not (await self.erase(world)).replayed

    async def test_a_package_whose_credits_are_to_come_refuses(self, world: World) -> None:
        [package] = await world.packages.list()
        now = world.clock.now()
        row = {
            "id": uuid4(),
            "type": "purchase",
            "status": "confirmed",
            "from_user_id": world.user_id,
            "amount": PRICE,
            "reason": f"credit package {package.id}",
            "created_at": now,
            "updated_at": now,
        }
        async with world.database.transaction() as connection:
            await connection.execute(token_transactions.insert().values(row))
        assert await busy(world.database, world.journal, world.user_id) == {"open_payments": 1}
        async with world.database.transaction() as connection:
            await connection.execute(token_transactions.update().values(status="finalized"))
        assert await busy(world.database, world.journal, world.user_id) == {"packages_without_credits": 1}
        assert await world.packages.grant_missing() == 1
        await self.erase(world)
        [kept] = await rows_of(world.database, token_transactions)
        assert kept["reason"] == row["reason"]


async def test_unsettled_fees_refuse_until_their_payment_is_final(
    database: Database, manual_clock: ManualClock
) -> None:
    user = await UserDirectory(database).create()
    world = test_accruals.World(database, manual_clock, user.id)
    journal = Journal(database)
    await world.accrue()
    assert await busy(database, journal, user.id) == {"unsettled_fees": 1}
    payment_id = await world.settle()
    assert await busy(database, journal, user.id) == {"open_payments": 1}
    await world.end(payment_id, "finalized")
    assert not (await erase(database, journal, user.id)).replayed
    await journal.close()
    await world.close()


class TestToldEvents:
    @pytest.fixture
    async def process(self, database: Database, manual_clock: ManualClock) -> AsyncIterator[Process]:
        opened = Process(database, manual_clock)
        await opened.webhooks.add(URL, secret=SECRET)
        yield opened
        await opened.close()

    async def tell(self, process: Process, *users: UUID) -> None:
        told = [
            OutgoingEvent(uuid4(), "order_shipped", {"user": user, "name": NAME}, process.clock.now(), "7", 1)
            for user in users
        ]
        async with process.database.transaction() as connection:
            await process.outbox.write(connection, told)

    async def test_they_are_delivered_as_they_were_and_emptied_after(
        self, process: Process, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("deal_sdk.accounting.told_events.MAX_EVENTS_PER_COMMIT", 2)
        journal = Journal(database)
        user, other = [(await UserDirectory(database).create()).id for _ in range(2)]
        await self.tell(process, user, other, user, user)
        assert await busy(database, journal, user) == {"undelivered_webhooks": 3}
        assert await erase_told_events(database, user) == 0
        assert await process.deliverer.deliver_due() == 4
        assert {event["data"]["name"] for event in process.sender.events()} == {NAME}
        before = {row["id"]: row for row in await rows_of(database, webhook_events)}
        await erase(database, journal, user)
        assert await erase_told_events(database, user) == 3
        assert await erase_told_events(database, user) == 0
        for row in await rows_of(database, webhook_events):
            was = orjson.loads(before[row["id"]]["body"])
            if was["data"]["user"] == str(other):
                assert row == before[row["id"]]
                continue
            assert orjson.loads(row["body"]) == {**was, "data": {"erased": True, "user": str(user)}}
        await journal.close()

    async def test_a_dead_letter_that_is_sent_again_says_that_it_was_erased(
        self, process: Process, database: Database
    ) -> None:
        user = (await UserDirectory(database).create()).id
        process.sender.answers[URL] = lambda: WebhookReply(410)
        await self.tell(process, user)
        await process.deliverer.deliver_due()
        assert await process.states() == ["dead"]
        assert await erase_told_events(database, user) == 1
        process.sender.answers.clear()
        [endpoint] = await process.webhooks.list()
        await process.webhooks.enable(endpoint.id)
        assert await process.webhooks.replay() == 1
        await process.deliverer.deliver_due()
        first, again = process.sender.events()
        assert (again["id"], again["type"]) == (first["id"], first["type"])
        assert again["data"] == {"erased": True, "user": str(user)}

    async def test_one_that_is_put_back_meanwhile_is_left_as_it_was(
        self, process: Process, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        user = (await UserDirectory(database).create()).id
        await self.tell(process, user)
        await process.deliverer.deliver_due()
        [before] = await rows_of(database, webhook_events)
        run = database.run

        async def put_back_first(unit: Any) -> Any:
            async with database.transaction() as connection:
                await connection.execute(sa.text("UPDATE webhook_deliveries SET state = 'pending'"))
            return await run(unit)

        monkeypatch.setattr(database, "run", put_back_first)
        assert await erase_told_events(database, user) == 0
        assert await rows_of(database, webhook_events) == [before]


def test_an_event_that_was_emptied_stays_the_same_bytes() -> None:
    user_id = uuid4()
    emptied = emptied_body(b'{"id": "7", "data": {"name": "Alice"}}', user_id)
    assert emptied_body(emptied, user_id) == emptied
