"""Events of credits are there if, and only if, the operations are that they tell of."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import orjson
import pytest
import sqlalchemy as sa

from deal_sdk import Deal
from deal_sdk.accounting import (
    CREDIT_EVENTS,
    RENEWAL_EVENTS,
    CreditOutbox,
    Journal,
    MonthlyRenewalService,
    RenewalWatch,
    TokenAccountingService,
)
from deal_sdk.clock import ManualClock
from deal_sdk.errors import DatabaseUnavailableError
from deal_sdk.events import EventBus
from deal_sdk.metrics import Metrics
from deal_sdk.records import Database
from deal_sdk.records.webhook_tables import webhook_deliveries, webhook_endpoints, webhook_events
from deal_sdk.webhooks import Outbox
from deal_sdk.webhooks.outbox import endpoints_changed
from tests.contract.crashing import Crashing
from tests.contract.credit_world import Books


class World:
    """Credits over a database that can die, and an endpoint that wants to hear of some events."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.database = database
        self.clock = clock
        self.crashing = Crashing(database)
        self.books = Books(database)

    async def listen(self, *patterns: str) -> None:
        now = self.clock.now()
        row = {"id": uuid4(), "url": "https://receiver.example/", "patterns": list(patterns)}
        async with self.database.transaction() as connection:
            await connection.execute(
                webhook_endpoints.insert().values(**row, state="enabled", created_at=now, updated_at=now)
            )
            await endpoints_changed(self.database, connection)

    async def open(self) -> tuple[Outbox, Journal]:
        """Begin as a new process does."""
        crashing: Any = self.crashing
        outbox = Outbox(self.database, self.clock)
        await outbox.refresh()
        return outbox, Journal(crashing, recorder=CreditOutbox(outbox, self.clock))

    async def credits(self) -> TokenAccountingService:
        crashing: Any = self.crashing
        self.outbox, journal = await self.open()
        return TokenAccountingService(crashing, journal)

    async def renewals(self) -> MonthlyRenewalService:
        self.outbox, journal = await self.open()
        watch = RenewalWatch(Metrics(), EventBus(self.clock), outbox=self.outbox)
        crashing: Any = self.crashing
        return MonthlyRenewalService(crashing, journal, watch=watch)

    async def told(self) -> list[tuple[str, dict[str, Any]]]:
        joined = sa.join(webhook_events, webhook_deliveries)
        query = sa.select(webhook_events.c.type, webhook_events.c.body).select_from(joined)
        async with self.database.reading() as connection:
            rows = (await connection.execute(query.order_by(webhook_deliveries.c.id))).all()
        return [(row.type, orjson.loads(row.body)["data"]) for row in rows]


@pytest.fixture
def world(database: Database, manual_clock: ManualClock) -> World:
    return World(database, manual_clock)


async def test_what_is_spent_and_what_is_refused_is_told(world: World) -> None:
    await world.listen(*CREDIT_EVENTS)
    user = await world.books.user(credits=10)
    credits = await world.credits()
    assert (await credits.debit(user, "video", 4)).success
    assert not (await credits.debit(user, "video", 40)).success
    assert world.outbox.written.is_set()
    facts = {"user": str(user), "operation": "video"}
    assert await world.told() == [
        ("token_spend", {**facts, "amount": 4}),
        ("insufficient_tokens", {**facts, "balance": 6}),
    ]


async def test_nobody_is_told_twice_nor_of_what_nobody_wants(world: World) -> None:
    await world.listen("token_*")
    user = await world.books.user(credits=10)
    credits = await world.credits()
    for _ in range(2):
        await credits.debit(user, "video", 4, idempotency_key="once")
    await credits.debit(user, "video", 40)
    assert [event_type for event_type, _ in await world.told()] == ["token_spend"]


@pytest.mark.parametrize(("dies", "count"), [("before", 0), ("after", 1)])
async def test_a_process_that_dies_tells_of_what_it_committed(world: World, dies: str, count: int) -> None:
    await world.listen("*")
    user = await world.books.user(credits=10)
    credits = await world.credits()
    world.crashing.dies = dies
    with pytest.raises(DatabaseUnavailableError):
        await credits.debit(user, "video", 4, idempotency_key="key")
    assert len(await world.told()) == count
    assert await world.books.balance(user) == 10 - 4 * count
    # The next process makes the same call, and finds it made or makes it.
    assert (await (await world.credits()).debit(user, "video", 4, idempotency_key="key")).success
    assert [event_type for event_type, _ in await world.told()] == ["token_spend"]
    assert await world.books.balance(user) == 6


async def test_what_is_sold_renewed_and_expired_is_told(world: World, manual_clock: ManualClock) -> None:
    await world.listen(*RENEWAL_EVENTS)
    user = await world.books.user()
    renewals = await world.renewals()
    sold = await renewals.subscribe(user, "Professional", "payment-1", periods=2)
    await renewals.subscribe(user, "Professional", "payment-1", periods=2)
    assert sold.subscription_expires_at is not None
    await manual_clock.advance(31 * 86_400)
    assert (await renewals.renew_user(user)).success
    assert not (await renewals.renew_user(user)).success
    await manual_clock.advance(31 * 86_400)
    assert (await renewals.renew_all_eligible()).processed == 1
    assert world.outbox.written.is_set()
    until = sold.subscription_expires_at.isoformat()
    facts = {"user": str(user), "balance": 4_000}
    assert await world.told() == [
        (
            "subscription_started",
            {**facts, "balance": 2_000, "tier": "Professional", "amount": 2_000, "expires_at": until},
        ),
        ("credits_renewed", {**facts, "amount": 2_000, "periods": 1}),
        ("subscription_expired", facts),
    ]


@pytest.mark.parametrize(("dies", "count"), [("before", 0), ("after", 1)])
async def test_a_renewal_that_dies_is_told_of_if_it_was_committed(
    world: World, dies: str, count: int
) -> None:
    await world.listen("*")
    user = (await world.books.users.create(tier="Business")).id
    for call in ("renew_user", "subscribe"):
        renewals = await world.renewals()
        given = (user,) if call == "renew_user" else (user, "Professional", "payment-1")
        before = len(await world.told())
        world.crashing.dies = dies
        with pytest.raises(DatabaseUnavailableError):
            await getattr(renewals, call)(*given)
        assert len(await world.told()) == before + count
        await getattr(await world.renewals(), call)(*given)
        assert len(await world.told()) == before + 1


async def test_a_renewal_is_told_to_webhooks_once() -> None:
    async with Deal.open() as deal:
        await deal.webhooks.add("log:info", ["credits_renewed"])
        user = await deal.users.create(tier="Business")
        assert (await deal.renewals.renew_user(user.id)).success
        await deal.events.drain()
        assert [one.event_type for one in (await deal.webhooks.deliveries()).items] == ["credits_renewed"]
