"""What is told of credits after their commits, and what is left when the database is gone in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from deal_sdk.accounting import AuditRecord, CreditWatch, Journal, MonthlyRenewalService, RenewalWatch
from deal_sdk.accounting.auditing import Audit
from deal_sdk.accounting.book import Book
from deal_sdk.accounting.commands import Command, complete
from deal_sdk.accounting.journal_rows import write_book
from deal_sdk.clock import ManualClock
from deal_sdk.errors import DatabaseUnavailableError, InvalidInputError
from deal_sdk.events import Event, EventBus
from deal_sdk.metrics import Metrics
from deal_sdk.records import Database
from deal_sdk.records.tables import users
from tests.contract.crashing import Crashing
from tests.contract.credit_world import Books


@pytest.fixture
async def books(database: Database) -> AsyncIterator[Books]:
    opened = Books(database)
    yield opened
    await opened.journal.close()
    assert await opened.broken() == []


async def held(books: Books, user_id: UUID, amount: int) -> UUID:
    hold = Command("hold", user_id, "video", amount, "revenue", hold_id=UUID(int=amount), lifetime_seconds=60)
    assert (await books.journal.run(complete(hold))).success
    return UUID(int=amount)


def post(user_id: UUID, hold_id: UUID, amount: int) -> Command:
    return complete(Command("post", user_id, "hold", amount, "revenue", hold_id=hold_id))


class TestEvents:
    async def test_what_is_spent_and_what_could_not_be_is_told(
        self, books: Books, manual_clock: ManualClock
    ) -> None:
        bus, told = EventBus(manual_clock), []

        async def note(event: Event) -> None:
            told.append((event.type, dict(event.data)))

        bus.subscribe("*", note)
        user_id = await books.user(100)
        books.journal.observe(CreditWatch(Metrics(), bus))
        await books.credits.debit(user_id, "image", 30)
        await books.credits.debit(user_id, "image", 71)
        hold_id = await held(books, user_id, 40)
        # A post says nothing of what it is for; the hold did.
        await books.journal.run(post(user_id, hold_id, 25))
        await books.journal.run(post(user_id, hold_id, 25))
        too_much = Command("hold", user_id, "video", 99, "revenue", hold_id=UUID(int=9), lifetime_seconds=9)
        await books.journal.run(complete(too_much))
        await bus.drain()
        user = str(user_id)
        assert told == [
            ("token_spend", {"user": user, "operation": "image", "amount": 30}),
            ("insufficient_tokens", {"user": user, "operation": "image", "balance": 70}),
            ("token_spend", {"user": user, "operation": "video", "amount": 25}),
            ("insufficient_tokens", {"user": user, "operation": "video", "balance": 45}),
        ]
        await bus.close()

    async def test_every_operation_is_counted_and_timed(
        self, books: Books, manual_clock: ManualClock
    ) -> None:
        user_id, metrics = await books.user(100), Metrics()
        bus = EventBus(manual_clock)
        books.journal.observe(CreditWatch(metrics, bus))
        for amount in (30, 30, 99):
            await books.credits.debit(user_id, "image", amount)
        await books.credits.credit(user_id, "purchase", 1)
        count = metrics.registry.get_sample_value
        name = "credit_operations_total"
        assert count(name, {"operation": "debit", "success": "true"}) == 2
        assert count(name, {"operation": "debit", "success": "false"}) == 1
        assert count(name, {"operation": "credit", "success": "true"}) == 1
        assert count("credit_operation_duration_seconds_count") == 4
        await bus.close()

    async def test_an_audit_has_a_record_of_every_operation(self, books: Books) -> None:
        records: list[AuditRecord] = []

        async def audit(record: AuditRecord) -> None:
            records.append(record)

        user_id = await books.user(100)
        books.journal.observe(Audit(audit))
        spent = await books.credits.debit(user_id, "image", 30)
        await books.credits.debit(user_id, "image", 300, idempotency_key="twice")
        assert spent.ledger_entry_id is not None
        await books.credits.refund(user_id, 5, spent.ledger_entry_id)
        await books.credits.reset_balance(user_id, 60)
        hold_id = await held(books, user_id, 40)
        await books.journal.run(post(user_id, hold_id, 0))
        assert [(r.kind, r.operation_type, r.amount, r.success, r.new_balance) for r in records] == [
            ("debit", "image", 30, True, 70),
            ("debit", "image", 300, False, 70),
            ("refund", "refund", 5, True, 75),
            ("reset", "monthly_reset", 15, True, 60),
            ("hold", "video", 40, True, 60),
            ("post", "video", 40, True, 20),
        ]
        assert records[1].code == "insufficient_tokens"
        assert records[0].to_dict()["ledger_entry_id"] == str(spent.ledger_entry_id)
        assert all(record.user_id == user_id and record.duration_seconds >= 0 for record in records)

    async def test_a_change_of_tier_that_hangs_when_told_is_not_waited_for(
        self, database: Database, books: Books, manual_clock: ManualClock, monkeypatch: Any, caplog: Any
    ) -> None:
        monkeypatch.setattr("deal_sdk.accounting.renewal_watching.OBSERVER_TIMEOUT_SECONDS", 0.05)

        async def hang(_: UUID) -> None:
            await asyncio.Event().wait()

        watch = RenewalWatch(Metrics(), EventBus(manual_clock), on_tier_change=hang)
        service = MonthlyRenewalService(database, books.journal, watch=watch)
        sold = await service.subscribe(await books.user(), "Professional", "payment-1")
        assert sold.success
        assert "a callback after a change of tier failed" in caplog.text


class TestADatabaseThatIsGone:
    @pytest.mark.parametrize("dies", ["before", "after"])
    async def test_the_key_tells_whether_it_was_spent(
        self, database: Database, books: Books, dies: str
    ) -> None:
        user_id = await books.user(100)
        crashing = Crashing(database)
        journal = Journal(crashing)  # type: ignore[arg-type]
        command = complete(Command("debit", user_id, "image", 30, "revenue"), idempotency_key="one")
        crashing.dies = dies
        with pytest.raises(DatabaseUnavailableError):
            await journal.run(command)
        assert await books.balance(user_id) == (100 if dies == "before" else 70)
        again = await journal.run(command)
        assert (again.success, again.new_balance, again.replayed) == (True, 70, dies == "after")
        assert await books.balance(user_id) == 70
        await journal.close()


@pytest.mark.postgres
async def test_a_connection_that_is_cut_in_the_middle_leaves_nothing(
    migrated_postgres_url: str, manual_clock: ManualClock
) -> None:
    database = await Database.open(migrated_postgres_url, clock=manual_clock)
    books = Books(database)
    user_id = await books.user(100)
    debit = complete(Command("debit", user_id, "image", 30, "revenue"))

    async def cut(connection: Any, book: Book) -> Any:
        book.apply(debit)
        await write_book(connection, database, book)
        mine = await connection.scalar(sa.text("SELECT pg_backend_pid()"))
        async with database.reading() as other:
            await other.execute(sa.select(sa.func.pg_terminate_backend(mine)))
        await connection.execute(sa.select(users.c.id))
        raise AssertionError("the connection is gone")

    with pytest.raises(DatabaseUnavailableError):
        await books.journal.run_unit([debit], cut)
    assert await books.balance(user_id) == 100
    assert (await books.journal.run(debit)).new_balance == 70
    assert await books.broken() == []
    await books.journal.close()
    await database.close()


class TestWhatCannotBeAskedFor:
    async def test_reversed_dates_are_refused(self, books: Books, manual_clock: ManualClock) -> None:
        user_id = await books.user(5)
        now = manual_clock.now()
        reversed_: Any = {"since": now, "until": now - timedelta(seconds=1)}
        for ask in (
            lambda: books.ledger.get_user_entries(user_id, **reversed_),
            lambda: books.ledger.get_entries_by_type("purchase", **reversed_),
            lambda: books.ledger.get_total_spent(user_id, **reversed_),
            lambda: books.ledger.get_total_earned(user_id, **reversed_),
            lambda: books.ledger.get_user_statistics(user_id, **reversed_),
            lambda: books.ledger.query(**reversed_),
        ):
            with pytest.raises(InvalidInputError, match="since"):
                await ask()
        assert (await books.ledger.get_user_statistics(user_id, since=now, until=now)).count == 0

    async def test_a_tier_without_a_plan_is_no_empty_run(self, database: Database, books: Books) -> None:
        service = MonthlyRenewalService(database, books.journal)
        for tier in ("Profesional", "", 7):
            with pytest.raises(InvalidInputError, match="tier"):
                await service.renew_all_eligible(tier)  # type: ignore[arg-type]
            with pytest.raises(InvalidInputError, match="tier"):
                _ = [user async for user in service.get_users_due_for_renewal(tier)]  # type: ignore[arg-type]
