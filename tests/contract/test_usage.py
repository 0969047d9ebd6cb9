"""Usage reports and statements on every database, against sums made by hand."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from deal_sdk.accounting import LedgerEntry, ReportInterval, UsageReports
from deal_sdk.accounting.commands import Command, complete
from deal_sdk.accounting.report_periods import MAX_REPORT_PERIODS, report_span
from deal_sdk.accounting.statements import StatementHold
from deal_sdk.accounting.usage_queries import (
    credit_sums,
    payment_sums,
    users_with_entries,
    users_with_payments,
)
from deal_sdk.clock import ManualClock
from deal_sdk.errors import InvalidInputError, StatementError, UserNotFoundError
from deal_sdk.records import Database
from deal_sdk.records.credit_tables import token_operations
from deal_sdk.records.tables import token_transactions
from tests.contract.credit_world import Books

BERLIN = ZoneInfo("Europe/Berlin")
YEAR_BEGINS = datetime(2026, 1, 1, tzinfo=UTC)
DAY_SECONDS = 86_400.0
INTERVALS: tuple[ReportInterval, ...] = ("day", "week", "month")


@pytest.fixture
async def books(database: Database) -> AsyncIterator[Books]:
    opened = Books(database)
    yield opened
    await opened.journal.close()


@pytest.fixture
def usage(database: Database) -> UsageReports:
    return UsageReports(database)


async def paid(database: Database, at: datetime, **values: Any) -> UUID:
    row = {
        **{"id": uuid4(), "type": "service_fee", "status": "finalized", "amount": 150_000_000},
        **{"created_at": at, "updated_at": at, "finalized_at": at},
        **values,
    }
    await database.run(lambda connection: connection.execute(token_transactions.insert().values(row)))
    return row["id"]


async def some_months(books: Books, clock: ManualClock, random: Random) -> list[UUID]:
    """Let three users spend, earn, get back and put aside over the change to summer time."""
    user_ids = [await books.user(500) for _ in range(3)]
    for _ in range(45):
        await clock.advance(random.uniform(0.1, 3.5) * DAY_SECONDS)
        user_id = random.choice(user_ids)
        kind = random.choice(["image", "chat", "grant", "refund"])
        amount = random.randint(1, 9)
        if kind == "grant":
            await books.credits.credit(user_id, "purchase", amount)
            continue
        spent = await books.credits.debit(user_id, kind.replace("refund", "image"), amount)
        if kind == "refund" and spent.ledger_entry_id is not None:
            await clock.advance(random.uniform(0, 1) * DAY_SECONDS)
            await books.credits.refund(user_id, random.randint(1, amount), spent.ledger_entry_id)
    return user_ids


async def entries_of(books: Books) -> list[LedgerEntry]:
    return [entry async for entry in books.ledger.iterate()]


def first_day(interval: str, day: date) -> date:
    if interval == "month":
        return day.replace(day=1)
    return day - timedelta(days=day.weekday()) if interval == "week" else day


class TestCredits:
    async def test_rows_are_the_sums_of_the_entries_of_each_period_of_a_place(
        self, books: Books, usage: UsageReports, manual_clock: ManualClock
    ) -> None:
        await some_months(books, manual_clock, Random(6))
        since, until = YEAR_BEGINS + timedelta(days=20), YEAR_BEGINS + timedelta(days=100)
        entries = await entries_of(books)
        kinds = {str(entry.id): entry.operation_type for entry in entries}
        for interval in INTERVALS:
            expected: dict[Any, int] = defaultdict(int)
            for entry in entries:
                if since <= entry.created_at < until:
                    said = (entry.metadata or {}).get("original_operation_id")
                    kind = kinds[said] if said else entry.operation_type
                    day = first_day(interval, entry.created_at.astimezone(BERLIN).date())
                    expected[entry.user_id, day, kind] += entry.amount
            asked = usage.credits.iterate(interval=interval, zone="Europe/Berlin", since=since, until=until)
            found = [row async for row in asked]
            sums = {(row.user_id, row.period.start.date(), row.operation_type): row.net for row in found}
            assert sums == expected
            assert len(sums) == len(found) > 5
            assert all(row.period.start.hour == 0 and row.period.start.tzinfo == BERLIN for row in found)
            keys = [(row.user_id, row.period.start, row.operation_type) for row in found]
            assert keys == sorted(keys)

    async def test_a_refund_counts_in_the_row_of_what_it_gives_back(
        self, books: Books, usage: UsageReports
    ) -> None:
        user_id = await books.user(100)
        spent = await books.credits.debit(user_id, "image", 30)
        await books.credits.debit(user_id, "image", 5)
        assert spent.ledger_entry_id is not None
        await books.credits.refund(user_id, 10, spent.ledger_entry_id, "blank")
        image, purchase = (await usage.credits.query(user_id=user_id)).items
        assert (image.spent, image.refunded, image.earned, image.net) == (35, 10, 0, -25)
        assert (image.count, image.refunds) == (2, 1)
        assert (purchase.operation_type, purchase.earned, purchase.count) == ("purchase", 100, 1)
        [only] = (await usage.credits.query(operation_type="image")).items
        assert only == image

    async def test_pages_go_on_by_cursor_and_hold_whole_users_who_did_something(
        self, books: Books, usage: UsageReports, manual_clock: ManualClock
    ) -> None:
        early = await books.user(1)
        await manual_clock.advance(40 * DAY_SECONDS)
        active = sorted([await books.user(count) for count in (3, 4, 5)])
        await books.credits.debit(active[0], "chat", 1)
        await books.user()
        page = await usage.credits.query(limit=2)
        assert {row.user_id for row in page.items} == set(active[:2])
        assert len(page.items) == 3
        last = await usage.credits.query(limit=2, cursor=page.next_cursor)
        assert [row.user_id for row in last.items] == active[2:]
        assert last.next_cursor is None
        january = await usage.credits.query(since=YEAR_BEGINS, until=YEAR_BEGINS + timedelta(days=31))
        assert [row.user_id for row in january.items] == [early]
        with pytest.raises(InvalidInputError, match="cursor"):
            await usage.payments.query(cursor=page.next_cursor)

    async def test_rows_become_json_csv_and_a_dataframe(
        self, books: Books, usage: UsageReports, tmp_path: Path
    ) -> None:
        user_id = await books.user(7)
        [row] = (await usage.credits.query()).items
        assert row.to_dict() == {
            "user_id": str(user_id),
            "period_start": "2026-01-01T00:00:00+00:00",
            "period_end": "2026-02-01T00:00:00+00:00",
            "operation_type": "purchase",
            "spent": 0,
            "earned": 7,
            "refunded": 0,
            "net": 7,
            "count": 1,
            "refunds": 0,
        }
        until = YEAR_BEGINS + timedelta(days=1)
        assert await usage.credits.export(tmp_path / "usage.json", "json", until=until) == 1
        assert json.loads((tmp_path / "usage.json").read_text()) == [row.to_dict()]
        assert await usage.credits.export(tmp_path / "usage.csv", until=until, zone="Asia/Tokyo") == 1
        assert (tmp_path / "usage.csv").read_text().splitlines()[1].endswith(",purchase,0,7,0,7,1,0")
        frame = await usage.credits.to_dataframe(until=until)
        assert list(frame["earned"]) == [7]
        assert frame["period_start"][0] == YEAR_BEGINS

    async def test_what_cannot_be_asked_for_is_refused(self, usage: UsageReports) -> None:
        now = YEAR_BEGINS
        refused: Sequence[dict[str, Any]] = (
            {"interval": "year"},
            {"zone": "Mars/Olympus"},
            {"zone": []},
            {"since": now, "until": now},
            {"since": now, "until": now - timedelta(days=1)},
            {"since": datetime(2026, 1, 1)},
            {"since": datetime(1, 1, 1, tzinfo=UTC)},
            {"until": datetime(9999, 12, 31, tzinfo=UTC)},
            {"interval": "day", "since": now - timedelta(days=MAX_REPORT_PERIODS + 1), "until": now},
            {"user_id": "nobody"},
            {"operation_type": ""},
            {"limit": 0},
            {"cursor": "?"},
        )
        for filters in refused:
            with pytest.raises(InvalidInputError):
                await usage.credits.query(**filters)
        with pytest.raises(InvalidInputError):
            await usage.payments.query(operation_type="image")

    async def test_the_reading_begins_at_the_span_by_an_index(self, database: Database, books: Books) -> None:
        user_id = await books.user(10)
        span = report_span("day", "UTC", None, None, now=YEAR_BEGINS + timedelta(days=1))
        for query in (credit_sums(span, [user_id], None), users_with_entries(span, sa.true(), 10)):
            plan = await plan_of(database, query)
            if database.dialect == "sqlite":
                assert "SCAN token_operations" not in plan
                assert "SCAN later" not in plan
                assert "sqlite_autoindex_token_operations_2 (account_id=? AND sequence>?)" in plan
            else:
                assert "Seq Scan on token_operations" not in plan
                assert "uq_token_operations_account_id_sequence" in plan


async def plan_of(database: Database, query: sa.Select[Any]) -> str:
    """Return how a database goes about a query, as if its tables were large."""
    async with database.reading() as connection:
        if database.dialect == "postgresql":
            await connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            await connection.exec_driver_sql("SET LOCAL enable_bitmapscan = off")

        sent: list[tuple[str, Any]] = []

        def note(_: Any, __: Any, text: str, values: Any, *___: Any) -> None:
            sent.append((text, values))

        sa.event.listen(connection.sync_connection, "before_cursor_execute", note)
        await connection.execute(query)
        text, values = sent[-1]
        word = "EXPLAIN QUERY PLAN" if database.dialect == "sqlite" else "EXPLAIN (COSTS OFF)"
        result = await connection.exec_driver_sql(f"{word} {text}", values)
        return "\n".join(str(value) for row in result for value in row)


class TestPayments:
    async def test_rows_are_what_became_final_in_each_period(
        self, database: Database, books: Books, usage: UsageReports
    ) -> None:
        alice, bob = await books.user(), await books.user()
        at = YEAR_BEGINS + timedelta(days=3)
        fee = await paid(database, at, from_user_id=alice)
        await paid(database, at, from_user_id=alice, amount=50_000_000)
        await paid(database, at, type="transfer", to_user_id=alice, refund_of=fee, amount=100_000_000)
        await paid(database, at, type="reward", to_user_id=bob, amount=300_000_000)
        await paid(database, at, type="transfer", from_user_id=bob, to_user_id=bob)
        await paid(database, at, type="reward", to_user_id=bob, status="failed")
        await paid(database, at - timedelta(days=4), type="reward", to_user_id=bob)
        since, until = YEAR_BEGINS, YEAR_BEGINS + timedelta(days=31)
        found = [row async for row in usage.payments.iterate(since=since, until=until)]
        by_key = {(row.user_id, row.type): row for row in found}
        assert len(found) == len(by_key) == 3
        fees = by_key[alice, "service_fee"]
        assert (fees.paid, fees.refunded, fees.net) == (200_000_000, 100_000_000, -100_000_000)
        assert (fees.count, fees.refunds) == (2, 1)
        rewards = by_key[bob, "reward"]
        assert (rewards.received, rewards.count, rewards.net) == (300_000_000, 1, 300_000_000)
        own = by_key[bob, "transfer"]
        assert (own.paid, own.received, own.net, own.count) == (150_000_000, 150_000_000, 0, 1)
        assert fees.to_dict()["net"] == "-1"
        frame = await usage.payments.to_dataframe(since=since, until=until, operation_type="service_fee")
        assert list(frame["paid"]) == [Decimal(2)]

    async def test_a_users_payments_are_found_by_indexes(self, database: Database, books: Books) -> None:
        user_id = await books.user()
        span = report_span("month", "UTC", None, None, now=YEAR_BEGINS)
        for query in (payment_sums(span, [user_id], None), users_with_payments(span, sa.true(), 10)):
            plan = await plan_of(database, query)
            for side in ("from_user_id", "to_user_id"):
                assert f"ix_token_transactions_{side}" in plan
            assert "SCAN token_transactions" not in plan
            assert "Seq Scan on token_transactions" not in plan

    async def test_pages_go_on_by_cursor(
        self, database: Database, books: Books, usage: UsageReports, manual_clock: ManualClock
    ) -> None:
        people = sorted([await books.user() for _ in range(3)])
        for user_id in people:
            await paid(database, YEAR_BEGINS, from_user_id=user_id)
        await manual_clock.advance(DAY_SECONDS)
        page = await usage.payments.query(limit=2)
        last = await usage.payments.query(limit=2, cursor=page.next_cursor)
        assert [row.user_id for row in (*page.items, *last.items)] == people
        assert last.next_cursor is None


class Cells(HTMLParser):
    """Reads the cells of a page's tables, and every tag that there is."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.rows: list[list[str]] = []
        self._is_inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._is_inside = True

    def handle_endtag(self, tag: str) -> None:
        self._is_inside = self._is_inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._is_inside:
            self.rows[-1][-1] += data


class TestStatements:
    async def test_months_lead_from_one_balance_to_the_next_and_to_the_ledgers(
        self, books: Books, usage: UsageReports, manual_clock: ManualClock
    ) -> None:
        people = await some_months(books, manual_clock, Random(7))
        entries = await entries_of(books)
        for user_id, zone in zip(people, ("UTC", "Europe/Berlin", "America/Los_Angeles"), strict=True):
            closing = 0
            for year, month in ((2025, 12), (2026, 1), (2026, 2), (2026, 3)):
                statement = await usage.statement(user_id, year, month, zone=zone)
                assert statement.opening_balance == closing
                closing = statement.closing_balance
                assert statement.opening_balance + sum(e.amount for e in statement.entries) == closing
                end = statement.period.end - timedelta(microseconds=1)
                assert closing == await books.ledger.balance_at(user_id, end)
                assert sum(total.net for total in statement.totals) == closing - statement.opening_balance
                begin = statement.period.start
                inside = [e for e in entries if e.user_id == user_id and begin <= e.created_at <= end]
                assert list(statement.entries) == inside
            assert closing == await books.balance(user_id)

    async def test_the_page_shows_everything_and_escapes_it(
        self, database: Database, books: Books, usage: UsageReports, manual_clock: ManualClock
    ) -> None:
        evil = "<script>alert(1)</script>"
        user = await books.users.create(external_id=evil, username='"&<b>')
        await books.credits.credit(user.id, evil, 1_000)
        await manual_clock.advance(32 * DAY_SECONDS)
        spent = await books.credits.debit(user.id, "image", 30)
        assert spent.ledger_entry_id is not None
        await books.credits.refund(user.id, 10, spent.ledger_entry_id, evil)
        hold = Command("hold", user.id, "video", 50, "revenue", hold_id=uuid4(), lifetime_seconds=600)
        assert (await books.journal.run(complete(hold))).success
        at = manual_clock.now()
        await paid(database, at, from_user_id=user.id, reason=evil, to_address="A" * 44)
        statement = await usage.statement(user.id, 2026, 2)
        page = statement.to_html(heading=f"Bot {evil}")
        found = Cells(page)
        assert found.tags.isdisjoint({"script", "b", "img", "link", "iframe"})
        assert "http://" not in page
        assert "https://" not in page
        assert "@media print" in page
        assert ["", "Opening balance", "", "", "1,000"] in found.rows
        assert ["", "Closing balance", "", "-20", "980"] in found.rows
        assert [row[1:] for row in found.rows if len(row) == 5 and row[2] == evil] == [
            ["refund", evil, "+10", "980"]
        ]
        assert ["image", "1", "0", "30", "10", "-20"] in found.rows
        assert any(row[1:] == ["video", "50"] for row in found.rows)
        assert any(row[1:] == ["service_fee", "A" * 44, evil, "-1.5"] for row in found.rows)
        assert ["service_fee", "1", "0", "1.5", "0"] in found.rows
        assert "the month is not over" in page
        document = statement.to_dict()
        assert json.loads(json.dumps(document)) == document
        assert document["is_complete"] is False
        assert isinstance(statement.holds[0], StatementHold)

    async def test_a_month_without_anything_is_a_statement_too(
        self, books: Books, usage: UsageReports, manual_clock: ManualClock
    ) -> None:
        user_id = await books.user(5)
        await manual_clock.advance(70 * DAY_SECONDS)
        statement = await usage.statement(str(user_id), 2026, 2)
        assert (statement.opening_balance, statement.closing_balance, statement.entries) == (5, 5, ())
        assert statement.is_complete
        assert "not over" not in statement.to_html()

    async def test_what_has_no_statement_is_refused(self, books: Books, usage: UsageReports) -> None:
        user_id = await books.user()
        for year, month, zone in (
            *((2026, 13, "UTC"), (2026, 0, "UTC"), (1, 1, "UTC"), (2026, True, "UTC")),
            *((2026, 2, "UTC"), (2026, 1, "Nowhere")),
        ):
            with pytest.raises(InvalidInputError):
                await usage.statement(user_id, year, month, zone=zone)
        with pytest.raises(UserNotFoundError):
            await usage.statement(uuid4(), 2026, 1)

    async def test_a_ledger_that_does_not_tie_out_gives_none(
        self, database: Database, books: Books, usage: UsageReports
    ) -> None:
        user_id = await books.user(10)
        await books.credits.debit(user_id, "image", 3)
        altered = (
            sa.update(token_operations)
            .where(token_operations.c.account_id == user_id, token_operations.c.sequence == 2)
            .values(balance_before=9, balance_after=6)
        )
        await database.run(lambda connection: connection.execute(altered))
        with pytest.raises(StatementError, match="do not continue") as refusal:
            await usage.statement(user_id, 2026, 1)
        assert (refusal.value.facts["expected"], refusal.value.facts["found"]) == (10, 9)

    async def test_months_after_a_fold_begin_with_what_was_folded(
        self, books: Books, usage: UsageReports, manual_clock: ManualClock
    ) -> None:
        user_id = await books.user(10)
        await manual_clock.advance(40 * DAY_SECONDS)
        await books.ledger.delete_old_entries(YEAR_BEGINS + timedelta(days=35))
        with pytest.raises(StatementError, match="folded") as refusal:
            await usage.statement(user_id, 2026, 1)
        assert refusal.value.facts["folded_until"] == YEAR_BEGINS.isoformat()
        quiet = await usage.statement(user_id, 2026, 2)
        assert (quiet.opening_balance, quiet.closing_balance) == (10, 10)
        await books.credits.debit(user_id, "image", 3)
        statement = await usage.statement(user_id, 2026, 2)
        assert (statement.opening_balance, statement.closing_balance, len(statement.entries)) == (10, 7, 1)
        [row] = (await usage.credits.query()).items
        assert (row.operation_type, row.spent) == ("image", 3)

    async def test_a_month_that_nobody_could_print_is_refused(
        self, books: Books, usage: UsageReports, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        user_id = await books.user(10)
        await books.credits.debit(user_id, "image", 3)
        monkeypatch.setattr("deal_sdk.accounting.statements.MAX_STATEMENT_ENTRIES", 1)
        with pytest.raises(StatementError, match="export"):
            await usage.statement(user_id, 2026, 1)
