"""Purchases by calendar, category and amount, near and at their limits, in shadow, and summed up."""

from __future__ import annotations

import asyncio
import json
import shutil
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from deal_sdk.clock import ManualClock
from deal_sdk.errors import InvalidInputError, PurchaseLimitExceededError, StoreUnavailableError
from deal_sdk.events import EventBus
from deal_sdk.limits import (
    AmountRule,
    CalendarWindow,
    Gate,
    PurchaseRecords,
    PurchaseRequest,
    PurchaseRule,
    PurchaseTerms,
    RateRule,
    Reservation,
    Store,
    TokenPurchaseTracker,
    open_store,
)
from deal_sdk.metrics import Metrics
from deal_sdk.records import Database
from deal_sdk.records.purchase_tables import token_purchases
from deal_sdk.records.tables import users
from tests.contract.store_backends import opened

USER = "user-123"
BEYOND_DOUBLES = 2**53 + 1
LARGEST = 2**63 - 1


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(
    params=[
        "memory-sqlite",
        pytest.param("redis-sqlite", marks=pytest.mark.redis),
    ]
)
def backends(request: pytest.FixtureRequest) -> tuple[str, str]:
    store, database = str(request.param).split("-")
    return store, database


@pytest.fixture
async def store(
    request: pytest.FixtureRequest, backends: tuple[str, str], clock: ManualClock
) -> AsyncIterator[Store]:
    async with opened(request, clock, name=backends[0]) as store:
        yield store


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the current schema, made once: to make it takes longer than most tests here."""
    path = tmp_path_factory.mktemp("terms") / "empty.db"

    async def make() -> None:
        await (await Database.open(f"sqlite:///{path}", clock=ManualClock(), migrate=True)).close()

    asyncio.run(make())
    return path


@pytest.fixture
async def database(empty_database: Path, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Database]:
    path = tmp_path / "deal.db"
    shutil.copy(empty_database, path)
    database = await Database.open(f"sqlite:///{path}", clock=clock, migrate=False)
    yield database
    await database.close()


@pytest.fixture
def events(clock: ManualClock) -> EventBus:
    return EventBus(clock)


@pytest.fixture
def gate(store: Store, database: Database, clock: ManualClock, events: EventBus) -> Gate:
    return Gate(store, clock=clock, metrics=Metrics(), history=PurchaseRecords(database), events=events)


@pytest.fixture
def tracker(gate: Gate, store: Store, database: Database, clock: ManualClock) -> TokenPurchaseTracker:
    return TokenPurchaseTracker(gate, store, PurchaseRecords(database), clock=clock)


async def at(clock: ManualClock, moment: datetime) -> None:
    await clock.advance((moment - clock.now()).total_seconds())


async def lose_everything(store: Store) -> None:
    await store.command("FLUSHALL")


def spending(amount: int, maximum: int = LARGEST, **options: object) -> AmountRule:
    return AmountRule(USER, "MINT", amount, maximum, **options)


class TestCalendars:
    @pytest.mark.parametrize(
        ("day", "hours"), [((2027, 3, 28), 23), ((2027, 10, 31), 25), ((2027, 6, 1), 24)]
    )
    async def test_a_day_has_the_hours_of_its_place(
        self, tracker: TokenPurchaseTracker, clock: ManualClock, day: tuple[int, int, int], hours: int
    ) -> None:
        terms = PurchaseTerms(calendar=CalendarWindow("day", "Europe/Berlin"))
        offset = 2 if day[1] in (6, 10) else 1
        await at(clock, datetime(*day, tzinfo=UTC) - timedelta(hours=offset))
        first = await tracker.increment_and_validate_purchase(USER, "MINT", 1, terms=terms)
        await clock.advance(hours * 3_600 - 1)
        refused = await tracker.increment_and_validate_purchase(USER, "MINT", 1, terms=terms)
        await clock.advance(1)
        next_day = await tracker.increment_and_validate_purchase(USER, "MINT", 1, terms=terms)

        assert first.success
        assert (refused.success, refused.retry_after_seconds) == (False, 1)
        assert (next_day.success, next_day.new_count) == (True, 1)

    async def test_a_week_begins_on_monday(self, tracker: TokenPurchaseTracker, clock: ManualClock) -> None:
        terms = PurchaseTerms(calendar=CalendarWindow("week", "America/New_York"))
        await at(clock, datetime(2027, 5, 9, 12, tzinfo=UTC))
        sunday = await tracker.increment_and_validate_purchase(USER, "MINT", 1, terms=terms)
        await at(clock, datetime(2027, 5, 10, 3, 59, 59, tzinfo=UTC))
        still_sunday = await tracker.increment_and_validate_purchase(USER, "MINT", 1, terms=terms)
        await clock.advance(1)
        monday = await tracker.increment_and_validate_purchase(USER, "MINT", 1, terms=terms)

        assert (sunday.success, still_sunday.success, monday.success) == (True, False, True)

    async def test_a_new_kind_of_period_begins_with_what_is_recorded(
        self, tracker: TokenPurchaseTracker, clock: ManualClock
    ) -> None:
        day = PurchaseTerms(calendar=CalendarWindow("day"))
        await tracker.increment_and_validate_purchase(USER, "MINT", 1)
        assert not (await tracker.can_user_purchase_token(USER, "MINT", 1, terms=day)).can_purchase
        await clock.advance(86_400)
        assert (await tracker.can_user_purchase_token(USER, "MINT", 1, terms=day)).can_purchase

    async def test_are_rebuilt_from_the_record(
        self, tracker: TokenPurchaseTracker, store: Store, clock: ManualClock
    ) -> None:
        terms = PurchaseTerms(calendar=CalendarWindow("day", "Asia/Kolkata"))
        await at(clock, datetime(2027, 5, 9, 18, 29, tzinfo=UTC))
        await tracker.increment_and_validate_purchase(USER, "MINT", 5, terms=terms)
        await clock.advance(60)
        await tracker.increment_and_validate_purchase(USER, "MINT", 5, terms=terms)
        await lose_everything(store)

        check = await tracker.can_user_purchase_token(USER, "MINT", 5, terms=terms)
        assert check.current_count == 1

    async def test_clocks_days_apart_are_noticed(self, store: Store, database: Database) -> None:
        ahead = ManualClock()
        await ahead.advance(10 * 86_400)
        gate = Gate(store, clock=ahead, metrics=Metrics())
        with pytest.raises(StoreUnavailableError) as raised:
            await gate.take([PurchaseRule(USER, "MINT", 1, calendar=CalendarWindow("day"))])
        assert raised.value.facts["reason"] == "clock"


class TestAmounts:
    async def test_are_exact_beyond_the_numbers_of_lua(self, gate: Gate) -> None:
        assert (await gate.take([spending(BEYOND_DOUBLES)])).states[0].current == BEYOND_DOUBLES
        assert (await gate.take([spending(BEYOND_DOUBLES)])).states[0].current == 2 * BEYOND_DOUBLES
        full = await gate.take([spending(LARGEST - 2 * BEYOND_DOUBLES)])
        assert (full.allowed, full.states[0].current) == (True, LARGEST)
        refused = await gate.take([spending(1)])
        assert (refused.allowed, refused.refusals[0].current) == (False, LARGEST)
        with pytest.raises(PurchaseLimitExceededError):
            refused.raise_if_refused()

    async def test_a_refused_amount_consumes_nothing(self, gate: Gate) -> None:
        await gate.take([spending(60, 100)])
        assert not (await gate.take([spending(41, 100)])).allowed
        assert (await gate.take([spending(40, 100)])).allowed

    async def test_an_amount_above_the_limit_never_passes(self, gate: Gate) -> None:
        refused = await gate.take([spending(101, 100)])
        assert (refused.allowed, refused.refusals[0].current) == (False, 0)

    @pytest.mark.parametrize("amount", [1, 10**9 - 1, 10**9, BEYOND_DOUBLES, LARGEST])
    async def test_what_is_given_back_is_what_was_taken(self, gate: Gate, amount: int) -> None:
        kept = 0 if amount == LARGEST else 7
        if kept:
            await gate.take([spending(kept)])
        await gate.reserve("payment-1", [spending(amount)])
        await gate.cancel(Reservation("payment-1", USER))
        (state,) = await gate.peek([spending(1)])
        assert state.current == kept

    async def test_have_the_period_of_the_first(self, gate: Gate, clock: ManualClock) -> None:
        await gate.take([spending(50, 100)])
        await clock.advance(86_399)
        await gate.take([spending(50, 100)])
        refused = await gate.take([spending(1, 100)])
        await clock.advance(1)
        assert refused.retry_after_seconds == 1
        assert (await gate.take([spending(100, 100)])).allowed

    async def test_are_rebuilt_from_the_record(self, tracker: TokenPurchaseTracker, store: Store) -> None:
        terms = PurchaseTerms(amount_base_units=BEYOND_DOUBLES, max_amount_base_units=2 * BEYOND_DOUBLES)
        await tracker.increment_and_validate_purchase(USER, "MINT", 9, terms=terms)
        await lose_everything(store)

        second = await tracker.increment_and_validate_purchase(USER, "MINT", 9, terms=terms)
        third = await tracker.increment_and_validate_purchase(USER, "MINT", 9, terms=terms)
        assert second.success
        assert (third.success, third.refused_by) == (False, ("amount:MINT",))

    async def test_a_corrupt_sum_refuses(self, gate: Gate, store: Store) -> None:
        await store.command("SET", "token_purchases:token_buy_amount:{user-123}:MINT", "much")
        with pytest.raises(StoreUnavailableError):
            await gate.take([spending(1)])


class TestCategories:
    async def test_count_their_tokens_together(self, tracker: TokenPurchaseTracker) -> None:
        terms = PurchaseTerms(category="memes", max_in_category=2)
        for mint in ("A", "B"):
            assert (await tracker.increment_and_validate_purchase(USER, mint, 5, terms=terms)).success
        refused = await tracker.increment_and_validate_purchase(USER, "C", 5, terms=terms)
        other = PurchaseTerms(category="stable", max_in_category=2)

        assert (refused.success, refused.refused_by) == (False, ("purchase:memes",))
        assert (await tracker.increment_and_validate_purchase(USER, "D", 5, terms=other)).success

    async def test_are_rebuilt_from_the_record(self, tracker: TokenPurchaseTracker, store: Store) -> None:
        terms = PurchaseTerms(
            category="memes", max_in_category=9, amount_base_units=5, max_amount_in_category_base_units=12
        )
        for mint in ("A", "B"):
            await tracker.increment_and_validate_purchase(USER, mint, 5, terms=terms)
        await lose_everything(store)
        refused = await tracker.increment_and_validate_purchase(USER, "C", 5, terms=terms)
        assert refused.refused_by == ("amount:memes",)

    def test_need_what_they_count(self) -> None:
        for terms in (
            {"max_in_category": 1},
            {"max_amount_base_units": 1},
            {"period_seconds": 5, "calendar": CalendarWindow("day")},
        ):
            with pytest.raises(InvalidInputError):
                PurchaseTerms(**terms)


class TestPeriodsOfUsers:
    async def test_a_user_has_its_own_period(self, tracker: TokenPurchaseTracker, clock: ManualClock) -> None:
        terms = PurchaseTerms(period_seconds=60)
        await tracker.increment_and_validate_purchase(USER, "MINT", 1, terms=terms)
        await tracker.increment_and_validate_purchase("other", "MINT", 1)
        await clock.advance(60)
        assert (await tracker.increment_and_validate_purchase(USER, "MINT", 1, terms=terms)).success
        assert not (await tracker.increment_and_validate_purchase("other", "MINT", 1)).success

    async def test_a_policy_keeps_its_period(
        self, tracker: TokenPurchaseTracker, database: Database, clock: ManualClock
    ) -> None:
        user, now = uuid.uuid4(), clock.now()
        async with database.transaction() as connection:
            row = {"id": user, "tier": "Gift", "created_at": now, "updated_at": now}
            await connection.execute(users.insert().values(row))
        window = CalendarWindow("week", "Europe/Berlin")
        await tracker.set_policy(user, "MINT", 3, calendar=window, max_amount_base_units=LARGEST)
        policy = await tracker.get_policy(user, "MINT")
        assert policy is not None
        assert policy.terms(5).calendar == window
        assert policy.terms(5).max_amount_base_units == LARGEST
        with pytest.raises(InvalidInputError):
            policy.terms()
        with pytest.raises(InvalidInputError):
            await tracker.set_policy(user, "MINT", 3, period_seconds=0)

    async def test_cleaning_up_keeps_what_a_long_period_needs(
        self, tracker: TokenPurchaseTracker, clock: ManualClock
    ) -> None:
        await tracker.increment_and_validate_purchase(
            USER, "MINT", 1, terms=PurchaseTerms(period_seconds=200_000)
        )
        await clock.advance(100_000)
        assert await tracker.cleanup_expired_records() == 0
        await clock.advance(100_000)
        assert await tracker.cleanup_expired_records() == 1


class TestTelling:
    async def test_says_near_at_nine_tenths_and_reached_at_the_last(
        self, tracker: TokenPurchaseTracker, events: EventBus
    ) -> None:
        async with events.listen() as heard:
            for _ in range(11):
                await tracker.increment_and_validate_purchase(USER, "MINT", 10, "subscription-9")
            told = [await anext(heard) for _ in range(3)]
        assert [(event.type, event.data["current"], event.data.get("refused")) for event in told] == [
            ("purchase_limit_near", 9, None),
            ("purchase_limit_reached", 10, False),
            ("purchase_limit_reached", 10, True),
        ]
        assert {event.data["subscription_id"] for event in told} == {"subscription-9"}

    async def test_a_callback_hears_amounts_as_well(self, gate: Gate, events: EventBus) -> None:
        heard: list[tuple[str, int]] = []

        async def handler(event: object) -> None:
            heard.append((event.data["limit"], event.data["current"]))

        events.subscribe("purchase_limit_near", handler)
        await gate.take([spending(89, 100)])
        await gate.take([spending(6, 100)])
        await gate.take([spending(1, 100)])
        await events.drain()
        assert heard == [("amount:MINT", 95)]
        await events.close()


class TestShadows:
    async def test_count_and_never_refuse(self, gate: Gate, events: EventBus) -> None:
        rule = RateRule(USER, "search", "Gift", 2, 9, shadow=True)
        async with events.listen() as heard:
            decisions = [await gate.take([rule]) for _ in range(3)]
            hit = await anext(heard)
        assert [decision.allowed for decision in decisions] == [True] * 3
        assert [refusal.limit for refusal in decisions[2].shadowed] == ["rate:search:per_minute"]
        assert (hit.type, hit.data["shadow"]) == ("rate_limit_hit", True)

    async def test_leave_other_limits_alone(self, gate: Gate) -> None:
        shadow = PurchaseRule(USER, "A", 1, shadow=True)
        real = PurchaseRule(USER, "B", 2)
        for number in range(2):
            assert (await gate.reserve(f"payment-{number}", [shadow, real])).allowed
        assert not (await gate.reserve("payment-3", [shadow, real])).allowed
        await gate.cancel(Reservation("payment-1", USER))
        assert [state.current for state in await gate.peek([shadow, real])] == [1, 1]

    async def test_a_purchase_in_shadow_always_succeeds(self, tracker: TokenPurchaseTracker) -> None:
        terms = PurchaseTerms(shadow=True)
        for _ in range(3):
            assert (await tracker.increment_and_validate_purchase(USER, "MINT", 1, terms=terms)).success
        check = await tracker.can_user_purchase_token(USER, "MINT", 1, terms=terms)
        assert (check.can_purchase, check.refused_by) == (True, ("purchase:MINT",))

    async def test_a_purchase_in_shadow_succeeds_without_the_store(
        self, database: Database, clock: ManualClock
    ) -> None:
        async with open_store("redis://127.0.0.1:1/0") as store:
            records = PurchaseRecords(database)
            gate = Gate(store, clock=clock, metrics=Metrics(), history=records)
            tracker = TokenPurchaseTracker(gate, store, records, clock=clock)
            shadow = PurchaseTerms(shadow=True)
            bought = await tracker.increment_and_validate_purchase(USER, "MINT", 1, terms=shadow)
            refused = await tracker.increment_and_validate_purchase(USER, "MINT", 1)
        assert (bought.success, refused.success) == (True, False)
        assert (await tracker.get_token_purchase_stats()).total_purchases == 1


class TestRefunds:
    async def test_give_back_once_and_strike_the_row(
        self, tracker: TokenPurchaseTracker, database: Database
    ) -> None:
        bought = await tracker.increment_and_validate_purchase(USER, "MINT", 1)
        assert bought.reservation is not None
        assert await tracker.refund_purchase(bought.reservation)
        assert not await tracker.refund_purchase(bought.reservation)
        assert (await tracker.can_user_purchase_token(USER, "MINT", 1)).can_purchase
        states = await database.fetch(sa.select(token_purchases.c.state))
        assert [row.state for row in states] == ["cancelled"]

    async def test_end_with_their_time(self, tracker: TokenPurchaseTracker, clock: ManualClock) -> None:
        bought = await tracker.increment_and_validate_purchase(USER, "MINT", 1, refundable_seconds=30)
        await clock.advance(30)
        assert not await tracker.refund_purchase(bought.reservation)
        assert not (await tracker.can_user_purchase_token(USER, "MINT", 1)).can_purchase


class TestResets:
    async def test_begin_every_term_anew(self, tracker: TokenPurchaseTracker) -> None:
        terms = PurchaseTerms(
            category="memes", max_in_category=1, amount_base_units=5, max_amount_base_units=5
        )
        await tracker.increment_and_validate_purchase(USER, "MINT", 1, terms=terms)
        await tracker.reset_purchase_count(USER, "MINT", terms=terms)
        assert (await tracker.increment_and_validate_purchase(USER, "MINT", 1, terms=terms)).success


class TestReports:
    @pytest.fixture
    async def bought(self, tracker: TokenPurchaseTracker, clock: ManualClock) -> None:
        for user, mint, amount in (("a", "A", LARGEST), ("b", "A", 3), ("a", "B", 4)):
            terms = PurchaseTerms(amount_base_units=amount, category="memes" if mint == "A" else None)
            await tracker.increment_and_validate_purchases([PurchaseRequest(user, mint, 9, "s", terms)])
            await clock.advance(86_400)

    async def test_sum_up_by_what_is_asked(self, tracker: TokenPurchaseTracker, bought: None) -> None:
        by_user = await tracker.analyze_purchases(["user_id"])
        assert [(row["user_id"], row["purchases"], row["tokens"]) for row in by_user.rows] == [
            ("a", 2, 2),
            ("b", 1, 1),
        ]
        assert by_user.rows[0]["amount_base_units"] == LARGEST + 4
        (everything,) = (await tracker.analyze_purchases([])).rows
        assert (everything["users"], everything["tokens"], everything["purchases"]) == (2, 2, 3)
        by_day = await tracker.analyze_purchases(["day", "token_mint"])
        assert len({row["day"] for row in by_day.rows}) == 3

    async def test_keep_every_digit(self, tracker: TokenPurchaseTracker, bought: None) -> None:
        report = await tracker.analyze_purchases(["user_id", "token_mint"])
        parsed = json.loads(report.to_json())
        assert parsed[0]["amount_base_units"] == str(LARGEST)
        frame = await report.to_dataframe()
        assert list(frame["amount_base_units"]) == [LARGEST, 4, 3]
        assert Decimal(frame["amount_base_units"].sum()) == LARGEST + 7

    async def test_take_a_period(
        self, tracker: TokenPurchaseTracker, bought: None, clock: ManualClock
    ) -> None:
        since = clock.now() - timedelta(days=2)
        (row,) = (await tracker.analyze_purchases([], since=since, until=clock.now())).rows
        assert row["purchases"] == 2
        assert (await tracker.analyze_purchases([], since=clock.now())).rows == []

    async def test_refuse_what_they_do_not_know(self, tracker: TokenPurchaseTracker) -> None:
        for by in (["colour"], ["day", "day"]):
            with pytest.raises(InvalidInputError):
                await tracker.analyze_purchases(by)


async def test_two_hundred_tasks_get_exactly_ten_purchases(tracker: TokenPurchaseTracker) -> None:
    outcomes = await asyncio.gather(
        *(tracker.increment_and_validate_purchase(USER, "MINT", 10) for _ in range(200))
    )
    assert sum(outcome.success for outcome in outcomes) == 10
    assert sorted(outcome.new_count for outcome in outcomes if outcome.success) == list(range(1, 11))
