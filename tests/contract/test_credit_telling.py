"""Events of credits are there if, and only if, the operations are that they tell of."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import orjson
import pytest
import sqlalchemy as sa

from deal_sdk.accounting import CREDIT_EVENTS, CreditOutbox, Journal, TokenAccountingService
from deal_sdk.clock import ManualClock
from deal_sdk.errors import DatabaseUnavailableError
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

    async def credits(self) -> TokenAccountingService:
        """Begin as a new process does."""
        crashing: Any = self.crashing
        self.outbox = Outbox(self.database, self.clock)
        await self.outbox.refresh()
        journal = Journal(crashing, recorder=CreditOutbox(self.outbox, self.clock))
        return TokenAccountingService(crashing, journal)

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
