"""Payments from outside: matched with their invoices, granted once, and each other one accounted for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlparse
from uuid import uuid4

import pytest
import sqlalchemy as sa

from deal_sdk.accounting import TierPlan, TierPlans
from deal_sdk.clock import ManualClock
from deal_sdk.errors import (
    DatabaseUnavailableError,
    IdempotencyConflictError,
    InvalidAmountError,
    InvalidInputError,
    InvoiceNotFoundError,
    PackageNotFoundError,
    UserNotFoundError,
)
from deal_sdk.events import Event
from deal_sdk.records import Database, TransactionRecorder, UserDirectory
from deal_sdk.records.webhook_tables import webhook_deliveries, webhook_endpoints, webhook_events
from tests.contract.invoice_world import PRICE, TREASURY, Process, World
from tests.contract.scripted_rpc import MINT, SECOND, THEIRS


@pytest.fixture
async def world(database: Database, manual_clock: ManualClock) -> AsyncIterator[World]:
    made = await World(database, manual_clock).open()
    yield made
    await made.close()
    assert await made.broken() == []


class TestWhatArrives:
    async def test_a_payment_with_the_reference_key_is_granted_once(self, world: World) -> None:
        invoice = await world.packages.invoice(world.user_id, "starter")
        assert (invoice.status, invoice.amount, invoice.received) == ("open", PRICE, 0)
        assert await world.arrives(PRICE, invoice) == ("exact", 0)
        paid = await world.now(invoice)
        assert (paid.status, paid.received) == ("paid", PRICE)
        assert paid.granted_at is not None
        assert await world.credits_of() == 500
        await world.sync.sync()
        await world.job.run_once()
        assert await world.packages.invoices.grant([invoice.id]) == 0
        assert await world.credits_of() == 500

    async def test_a_payment_with_the_reference_in_its_memo_is_too(self, world: World) -> None:
        invoice = await world.packages.invoice(world.user_id, "starter")
        world.pay(PRICE, memo=f"[60] thank you: {invoice.reference}; [2] ok")
        await world.sync.sync()
        assert await world.credits_of() == 500

    async def test_parts_add_up(self, world: World) -> None:
        invoice = await world.packages.invoice(world.user_id, "starter")
        assert await world.arrives(PRICE - 1, invoice) == ("underpaid", 0)
        assert await world.credits_of() == 0
        assert (await world.now(invoice)).received == PRICE - 1
        assert await world.arrives(1, invoice) == ("exact", 0)
        assert await world.credits_of() == 500

    async def test_what_is_too_much_is_noted(self, world: World) -> None:
        invoice = await world.packages.invoice(world.user_id, "starter")
        assert await world.arrives(PRICE + 7, invoice) == ("overpaid", 7)
        assert (await world.now(invoice)).received == PRICE + 7
        assert await world.credits_of() == 500

    async def test_a_second_payment_pays_for_nothing(self, world: World) -> None:
        invoice = await world.packages.invoice(world.user_id, "starter")
        assert await world.arrives(PRICE, invoice) == ("exact", 0)
        assert await world.arrives(PRICE, invoice) == ("duplicate", PRICE)
        assert (await world.now(invoice)).received == PRICE
        assert await world.credits_of() == 500

    async def test_one_after_the_expiry_waits_for_the_operator(self, world: World) -> None:
        invoice = await world.packages.invoice(world.user_id, "starter", expires_in_seconds=600)
        assert await world.arrives(PRICE, invoice, after_seconds=601) == ("late", PRICE)
        assert (await world.now(invoice)).status == "open"
        assert await world.credits_of() == 0
        for _ in range(2):
            accepted = await world.packages.invoices.accept(invoice.id)
            assert (accepted.status, accepted.received) == ("accepted", 0)
        assert await world.credits_of() == 500
        assert await world.arrives(PRICE, invoice) == ("duplicate", PRICE)

    async def test_the_block_decides_whether_it_was_late_and_not_when_it_was_read(
        self, world: World, manual_clock: ManualClock
    ) -> None:
        invoice = await world.packages.invoice(world.user_id, "starter", expires_in_seconds=600)
        await manual_clock.advance(86_400)
        assert await world.arrives(PRICE, invoice, after_seconds=600) == ("exact", 0)

    async def test_of_several_invoices_the_oldest_open_one_is_paid(self, world: World) -> None:
        first = await world.packages.invoice(world.user_id, "starter")
        await world.clock.advance(1)
        second = await world.packages.invoice(world.user_id, "starter")
        for paid in (first, second):
            world.pay(PRICE, second.reference, first.reference)
            await world.sync.sync()
            assert (await world.now(paid)).status == "paid"
        assert await world.credits_of() == 1_000

    async def test_what_names_no_invoice_of_the_wallet_is_a_deposit_alone(self, world: World) -> None:
        invoice = await world.packages.invoice(world.user_id, "starter")
        await world.sync._history.track(SECOND, "second", world.user_id)
        world.pay(PRICE, memo=f"[46] x{invoice.reference}")
        world.rpc.land("other", 50, {SECOND: (0, 5), THEIRS: (9, 4)}, names=(invoice.reference,))
        await world.sync.sync()
        assert await world.packages.invoices.payments(invoice.id) == []
        deposits = (await TransactionRecorder(world.database).query(type="deposit")).items
        assert sorted(deposit.amount for deposit in deposits) == [5, PRICE]

    async def test_many_invoices_in_one_pass(self, world: World) -> None:
        asked = [await world.packages.invoice(world.user_id, "starter") for _ in range(5)]
        for invoice in asked:
            world.pay(PRICE, invoice.reference)
        await world.sync.sync()
        assert await world.credits_of() == 2_500

    async def test_a_subscription_begins_with_its_payment(self, world: World) -> None:
        invoice = await world.packages.invoice_subscription(world.user_id, "Professional", "9", periods=2)
        assert await world.arrives(900_000_000, invoice) == ("exact", 0)
        user = await UserDirectory(world.database).get(world.user_id)
        assert (user.tier, user.tokens_balance) == ("Professional", 2_000)
        assert user.subscription_expires_at == world.clock.now() + timedelta(days=60)
        await world.job.run_once()
        assert await world.credits_of() == 2_000


class TestInvoices:
    async def test_its_link_is_a_solana_pay_request(self, world: World) -> None:
        invoice = await world.packages.invoice(world.user_id, "starter")
        link = urlparse(invoice.url)
        assert (link.scheme, link.path) == ("solana", TREASURY)
        assert parse_qs(link.query) == {
            "amount": ["2.5"],
            "spl-token": [MINT],
            "reference": [invoice.reference],
        }
        document = invoice.to_dict()
        assert json.loads(json.dumps(document)) == document
        assert (document["amount"], document["received"], document["granted_at"]) == ("2.5", "0", None)
        await world.arrives(PRICE, invoice)
        [settled] = await world.packages.invoices.payments(invoice.id)
        assert settled.to_dict(decimals=8)["amount"] == "2.5"

    async def test_a_key_stands_for_one_invoice_whatever_the_price_is_by_now(self, world: World) -> None:
        keyed: Any = {"idempotency_key": "order-1"}
        first, raced = await asyncio.gather(
            *(world.packages.invoice(world.user_id, "starter", **keyed) for _ in range(2))
        )
        assert first == raced
        await world.packages.offer("starter", 1, "99")
        assert await world.packages.invoice(world.user_id, "starter", **keyed) == first
        await world.packages.withdraw("starter")
        assert await world.packages.invoice(world.user_id, "starter", **keyed) == first
        with pytest.raises(IdempotencyConflictError):
            await world.packages.invoice(world.user_id, "other", **keyed)
        with pytest.raises(IdempotencyConflictError):
            await world.packages.invoice_subscription(world.user_id, "Business", "1", **keyed)
        assert await world.arrives(PRICE, first) == ("exact", 0)
        assert await world.credits_of() == 500
        assert [one.id for one in await world.packages.invoices.of_user(world.user_id)] == [first.id]

    async def test_what_cannot_be_asked_for_is_refused(self, world: World) -> None:
        packages, user_id = world.packages, world.user_id
        with pytest.raises(PackageNotFoundError):
            await packages.invoice(user_id, "nothing")
        with pytest.raises(UserNotFoundError):
            await packages.invoice(uuid4(), "starter")
        for seconds in (0, -1, True, 1.5, 366 * 86_400 + 1):
            with pytest.raises(InvalidInputError):
                await packages.invoice(user_id, "starter", expires_in_seconds=seconds)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError):
            await packages.invoice_subscription(user_id, "Gift", "1")
        with pytest.raises(InvalidInputError):
            await packages.invoice_subscription(user_id, "Business", "1", periods=0)
        with pytest.raises(InvalidAmountError):
            await packages.invoice_subscription(user_id, "Business", "0")
        with pytest.raises(InvoiceNotFoundError):
            await packages.invoices.get(uuid4())
        with pytest.raises(InvoiceNotFoundError):
            await packages.invoices.accept(uuid4())
        with pytest.raises(InvalidInputError):
            await packages.invoices.payments("none")

    async def test_one_that_cannot_be_granted_keeps_no_other_from_its_credits(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        sold = await world.packages.invoice_subscription(world.user_id, "Business", "1")
        unsold = TierPlan("Business", 10_000)
        world.renewals._subscriptions._plans = TierPlans({"Business": unsold})
        assert await world.arrives(100_000_000, sold) == ("exact", 0)
        invoice = await world.packages.invoice(world.user_id, "starter")
        await world.arrives(PRICE, invoice)
        await world.job.run_once()
        assert await world.credits_of() == 500
        assert (await world.now(sold)).granted_at is None
        assert f"invoice {sold.id} is paid and was not granted" in caplog.text
        world.renewals._subscriptions._plans = TierPlans()
        await world.job.run_once()
        assert await world.credits_of() == 10_500

    async def test_accounts_are_read_while_an_invoice_waits(self, world: World) -> None:
        await world.job.run_once()
        assert world.rpc.asked == []
        await world.packages.invoice(world.user_id, "starter", expires_in_seconds=60)
        await world.job.run_once()
        assert world.rpc.asked == ["list"]
        await world.clock.advance(61)
        await world.job.run_once()
        assert world.rpc.asked == ["list"]


class TestEvents:
    async def test_every_deposit_is_told_here_and_to_webhooks(self, world: World) -> None:
        told: list[Event] = []

        async def note(event: Event) -> None:
            told.append(event)

        world.bus.subscribe("deposit", note)
        endpoint = {
            **{"id": uuid4(), "url": "https://example.org", "patterns": ["deposit"], "state": "enabled"},
            **{"created_at": world.clock.now(), "updated_at": world.clock.now()},
        }
        await listen(world, endpoint)
        invoice = await world.packages.invoice(world.user_id, "starter")
        world.pay(5)
        world.pay(PRICE + 1, invoice.reference)
        await world.sync.sync()
        await world.bus.drain()
        assert [event.data["payment"]["amount"] for event in told] == ["0.00000005", "2.50000001"]
        assert [event.data["invoice"] for event in told] == [
            None,
            {"invoice_id": str(invoice.id), "outcome": "overpaid", "excess_base_units": 1},
        ]
        assert "fingerprint" not in told[0].data["payment"]
        written = await world.database.fetch(sa.select(webhook_events.c.type))
        assert [kind for (kind,) in written] == ["deposit", "deposit"]
        [(count,)] = await world.database.fetch(sa.select(sa.func.count()).select_from(webhook_deliveries))
        assert count == 2


async def listen(world: World, endpoint: dict[str, Any]) -> None:
    columns = {column.name for column in webhook_endpoints.columns}
    values = {name: value for name, value in endpoint.items() if name in columns}
    async with world.database.transaction() as connection:
        await connection.execute(webhook_endpoints.insert().values(values))
    world.outbox._version = "unread"
    await world.outbox.refresh()


class Dying:
    """A database that is gone after so many commits, before or after the last of them."""

    def __init__(self, database: Database, commits: int, dies: str) -> None:
        self._database, self._left, self._dies = database, commits, dies
        self.is_dead = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def run(self, unit: Callable[[Any], Awaitable[Any]]) -> Any:
        if self.is_dead:
            raise DatabaseUnavailableError("gone")
        self._left -= 1
        self.is_dead = self._left == 0

        async def cut_short(connection: Any) -> Any:
            result = await unit(connection)
            if self.is_dead and self._dies == "before":
                raise DatabaseUnavailableError("gone before the commit")
            return result

        result = await self._database.run(cut_short)
        if self.is_dead:
            raise DatabaseUnavailableError("gone after the commit")
        return result

    async def write(self, unit: Callable[[Any], Awaitable[Any]]) -> Any:
        return await self.run(unit)


@pytest.mark.parametrize("dies", ["before", "after"])
async def test_whatever_process_dies_at_whatever_commit_the_credits_arrive_once(
    database: Database, manual_clock: ManualClock, dies: str
) -> None:
    world = await World(database, manual_clock).open()
    commits = 1
    while True:
        user_id = (await UserDirectory(database).create()).id
        invoice = await world.packages.invoice(user_id, "starter")
        world.pay(PRICE, invoice.reference)
        dying = Dying(database, commits, dies)
        first, second = Process(dying, world.rpc, manual_clock), Process(database, world.rpc, manual_clock)
        try:
            await first.sync.sync()
        except DatabaseUnavailableError:
            assert dying.is_dead
        await first.close()
        await second.job.run_once()
        await second.sync.sync()
        await second.job.run_once()
        await second.close()
        assert await world.credits_of(user_id) == 500, commits
        paid = await world.now(invoice)
        assert (paid.status, paid.granted_at is not None) == ("paid", True)
        assert len(await world.packages.invoices.payments(invoice.id)) == 1
        if not dying.is_dead:
            break
        commits += 1
    # The deposit with its invoice, the credits, and the note that they are granted.
    assert commits == 4
    await world.close()
    assert await world.broken() == []


async def test_two_processes_that_read_one_payment_record_and_grant_it_once(
    database: Database, manual_clock: ManualClock
) -> None:
    world = await World(database, manual_clock).open()
    other = Process(database, world.rpc, manual_clock)
    invoices = [await world.packages.invoice(world.user_id, "starter") for _ in range(3)]
    for invoice in invoices:
        world.pay(PRICE, invoice.reference)
    await asyncio.gather(world.sync.sync(), other.sync.sync(), world.job.run_once(), other.job.run_once())
    await world.job.run_once()
    assert await world.credits_of() == 1_500
    await asyncio.gather(world.close(), other.close())
    assert await world.broken() == []
