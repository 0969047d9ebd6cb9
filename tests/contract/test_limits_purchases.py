"""The purchase tracker's promises, on the in-process store and on a real Redis."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import sqlalchemy as sa

from deal_sdk.clock import ManualClock
from deal_sdk.errors import InvalidInputError, UserNotFoundError
from deal_sdk.limits import (
    Gate,
    PurchaseCheck,
    PurchaseIncrement,
    PurchaseRecords,
    PurchaseRequest,
    Store,
    TokenPurchaseTracker,
)
from deal_sdk.metrics import Metrics
from deal_sdk.records import Database
from deal_sdk.records.purchase_tables import token_purchases
from deal_sdk.records.tables import users
from tests.contract.store_backends import opened

USER = "user-123"
COUNT_KEY = "token_purchases:token_buy_count:{user-123}:MINT"
RECORD_KEY = "token_purchases:token_purchase_record:{user-123}:MINT"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(
    params=[
        "memory-sqlite",
        pytest.param("redis-sqlite", marks=pytest.mark.redis),
        pytest.param("cluster-sqlite", marks=pytest.mark.redis),
        pytest.param("memory-postgres", marks=pytest.mark.postgres),
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


@pytest.fixture
def database_url(request: pytest.FixtureRequest, backends: tuple[str, str]) -> str:
    if backends[1] == "sqlite":
        return "sqlite+aiosqlite://"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def database(database_url: str, clock: ManualClock) -> AsyncIterator[Database]:
    database = await Database.open(database_url, clock=clock, migrate=True)
    yield database
    await database.close()


@pytest.fixture
def tracker(store: Store, database: Database, clock: ManualClock) -> TokenPurchaseTracker:
    records = PurchaseRecords(database)
    gate = Gate(store, clock=clock, metrics=Metrics(), history=records)
    return TokenPurchaseTracker(gate, store, records, clock=clock)


async def lose_everything(store: Store) -> None:
    await store.command_everywhere("FLUSHALL")


class TestCheck:
    async def test_says_how_many_are_left(self, tracker: TokenPurchaseTracker) -> None:
        assert await tracker.can_user_purchase_token(USER, "MINT", 2) == PurchaseCheck(True, 0, 2, 2)
        await tracker.increment_and_validate_purchase(USER, "MINT", 2)
        assert await tracker.can_user_purchase_token(USER, "MINT", 2) == PurchaseCheck(True, 1, 2, 1)
        await tracker.increment_and_validate_purchase(USER, "MINT", 2)
        assert await tracker.can_user_purchase_token(USER, "MINT", 2) == PurchaseCheck(False, 2, 2, 0)
        assert await tracker.can_user_purchase_token(USER, "MINT", 1) == PurchaseCheck(False, 2, 1, 0)

    async def test_refuses_what_could_never_be_counted(self, tracker: TokenPurchaseTracker) -> None:
        for user, mint, maximum in (
            (USER, "", 1),
            ("", "MINT", 1),
            (USER, "MINT", 0),
            (USER, "MINT", -1),
            (USER, "MINT", True),
            (USER, "M" * 1_000_000, 1),
        ):
            with pytest.raises(InvalidInputError):
                await tracker.can_user_purchase_token(user, mint, maximum)
            with pytest.raises(InvalidInputError):
                await tracker.increment_and_validate_purchase(user, mint, maximum)

    async def test_answers_many_in_order(self, tracker: TokenPurchaseTracker) -> None:
        await tracker.increment_and_validate_purchase("b", "MINT", 1)
        requests = [PurchaseRequest(user, "MINT", 1) for user in "abc"]

        checks = await tracker.can_users_purchase_tokens(requests)
        assert [check.can_purchase for check in checks] == [True, False, True]


class TestIncrement:
    async def test_changes_nothing_at_the_limit(self, tracker: TokenPurchaseTracker) -> None:
        first = await tracker.increment_and_validate_purchase(USER, "MINT", 1, "subscription-9")
        second = await tracker.increment_and_validate_purchase(USER, "MINT", 1, "subscription-9")

        assert first == PurchaseIncrement(True, 1, False)
        assert second == PurchaseIncrement(False, 1, True)
        assert (await tracker.get_token_purchase_stats()).total_purchases == 1

    async def test_lets_exactly_the_maximum_of_racing_callers_through(
        self, tracker: TokenPurchaseTracker
    ) -> None:
        outcomes = await asyncio.gather(
            *(tracker.increment_and_validate_purchase(USER, "MINT", 10) for _ in range(200))
        )

        assert sum(outcome.success for outcome in outcomes) == 10
        assert sorted(outcome.new_count for outcome in outcomes if outcome.success) == list(range(1, 11))
        assert (await tracker.get_token_purchase_stats()).total_purchases == 10

    async def test_counts_many_at_once_each_by_itself(self, tracker: TokenPurchaseTracker) -> None:
        requests = [PurchaseRequest(user, "MINT", 1) for user in ("a", "b", "a")]

        outcomes = await tracker.increment_and_validate_purchases(requests)
        assert outcomes[1].success
        assert sorted(outcome.success for outcome in (outcomes[0], outcomes[2])) == [False, True]

    async def test_counts_none_of_many_when_one_is_no_request(self, tracker: TokenPurchaseTracker) -> None:
        requests = [PurchaseRequest(USER, "MINT", 1), PurchaseRequest(USER, "", 1)]

        with pytest.raises(InvalidInputError):
            await tracker.increment_and_validate_purchases(requests)
        assert (await tracker.can_user_purchase_token(USER, "MINT", 1)).current_count == 0

    async def test_takes_back_what_could_not_be_recorded(
        self, tracker: TokenPurchaseTracker, database: Database
    ) -> None:
        await tracker.increment_and_validate_purchase(USER, "MINT", 3)
        async with database.transaction() as connection:
            await connection.execute(sa.text("ALTER TABLE token_purchases RENAME TO elsewhere"))

        refused = await tracker.increment_and_validate_purchase(USER, "MINT", 3)
        assert refused == PurchaseIncrement(False, 0, False)
        assert (await tracker.can_user_purchase_token(USER, "MINT", 3)).current_count == 1

    async def test_begins_a_new_period_without_counting_the_old_one(
        self, tracker: TokenPurchaseTracker, clock: ManualClock
    ) -> None:
        await tracker.increment_and_validate_purchase(USER, "MINT", 2)
        await clock.advance(86_000)
        await tracker.increment_and_validate_purchase(USER, "MINT", 2)
        await clock.advance(400)

        outcome = await tracker.increment_and_validate_purchase(USER, "MINT", 2)
        assert outcome == PurchaseIncrement(True, 1, False)


class TestLostCounters:
    async def test_are_rebuilt_before_the_next_purchase(
        self, tracker: TokenPurchaseTracker, store: Store, clock: ManualClock
    ) -> None:
        for _ in range(2):
            await tracker.increment_and_validate_purchase(USER, "MINT", 3)
        await clock.advance(3_600)
        await lose_everything(store)

        assert await tracker.can_user_purchase_token(USER, "MINT", 3) == PurchaseCheck(True, 2, 3, 1)
        outcomes = await asyncio.gather(
            *(tracker.increment_and_validate_purchase(USER, "MINT", 3) for _ in range(5))
        )
        assert sum(outcome.success for outcome in outcomes) == 1
        record = await tracker.get_purchase_record(USER, "MINT")
        assert record is not None
        assert record.period_ends_at == clock.now() + timedelta(seconds=86_400 - 3_600)

    async def test_of_an_ended_period_stay_gone(
        self, tracker: TokenPurchaseTracker, store: Store, clock: ManualClock
    ) -> None:
        await tracker.increment_and_validate_purchase(USER, "MINT", 1)
        await clock.advance(86_400)
        await lose_everything(store)

        assert (await tracker.increment_and_validate_purchase(USER, "MINT", 1)).success


class TestRecords:
    async def test_shows_the_running_period(self, tracker: TokenPurchaseTracker, clock: ManualClock) -> None:
        assert await tracker.get_purchase_record(USER, "MINT") is None
        await tracker.increment_and_validate_purchase(USER, "MINT", 5, "subscription-9")

        record = await tracker.get_purchase_record(USER, "MINT")
        assert record is not None
        assert (record.user_id, record.token_mint, record.subscription_id) == (USER, "MINT", "subscription-9")
        assert (record.current_count, record.max_count) == (1, 5)
        assert record.last_purchase_at == clock.now()
        await clock.advance(86_400)
        assert await tracker.get_purchase_record(USER, "MINT") is None

    async def test_lists_a_users_tokens_without_a_scan(
        self, tracker: TokenPurchaseTracker, store: Store
    ) -> None:
        for mint in ("B", "A"):
            await tracker.increment_and_validate_purchase(USER, mint, 5)
        await tracker.increment_and_validate_purchase("other", "C", 5)

        records = await tracker.get_user_token_purchases(USER)
        assert [record.token_mint for record in records] == ["A", "B"]

    async def test_sums_up(self, tracker: TokenPurchaseTracker) -> None:
        for user, mint in (("a", "A"), ("a", "B"), ("b", "A"), ("b", "A")):
            await tracker.increment_and_validate_purchase(user, mint, 5)

        stats = await tracker.get_token_purchase_stats()
        assert (stats.total_tokens, stats.total_users, stats.total_purchases) == (2, 2, 4)

    async def test_cleans_up_what_no_period_can_need(
        self, tracker: TokenPurchaseTracker, clock: ManualClock
    ) -> None:
        await tracker.increment_and_validate_purchase(USER, "OLD", 5)
        await clock.advance(43_200)
        await tracker.increment_and_validate_purchase(USER, "NEW", 5)
        await clock.advance(43_200)

        assert await tracker.cleanup_expired_records() == 1
        assert (await tracker.get_token_purchase_stats()).total_purchases == 1

    async def test_a_reset_begins_anew_also_after_a_loss(
        self, tracker: TokenPurchaseTracker, store: Store
    ) -> None:
        await tracker.increment_and_validate_purchase(USER, "MINT", 1)
        await tracker.reset_purchase_count(USER, "MINT")
        assert await tracker.get_purchase_record(USER, "MINT") is None
        assert (await tracker.can_user_purchase_token(USER, "MINT", 1)).can_purchase
        await lose_everything(store)

        assert (await tracker.can_user_purchase_token(USER, "MINT", 1)).can_purchase
        assert await tracker.increment_and_validate_purchase(USER, "MINT", 1) == PurchaseIncrement(
            True, 1, False
        )

    async def test_a_reset_leaves_other_tokens_alone(self, tracker: TokenPurchaseTracker) -> None:
        await tracker.increment_and_validate_purchase(USER, "MINT", 1)
        await tracker.increment_and_validate_purchase(USER, "OTHER", 1)
        await tracker.reset_purchase_count(USER, "MINT")

        assert not (await tracker.can_user_purchase_token(USER, "OTHER", 1)).can_purchase

    async def test_rows_carry_what_was_counted(
        self, tracker: TokenPurchaseTracker, database: Database
    ) -> None:
        await tracker.increment_and_validate_purchase(USER, "MINT", 4, "subscription-9")

        async with database.reading() as connection:
            row = (await connection.execute(sa.select(token_purchases))).mappings().one()
        assert (row["user_id"], row["token_mint"], row["subscription_id"]) == (USER, "MINT", "subscription-9")
        assert (row["max_purchases"], row["state"], row["payment_id"]) == (4, "counted", None)


class TestPolicies:
    async def test_are_stored_and_replaced(
        self, tracker: TokenPurchaseTracker, database: Database, clock: ManualClock
    ) -> None:
        user_id = uuid.uuid4()
        now = clock.now()
        async with database.transaction() as connection:
            row = {"id": user_id, "tier": "Gift", "created_at": now, "updated_at": now}
            await connection.execute(users.insert().values(row))

        assert await tracker.get_policy(user_id, "MINT") is None
        await tracker.set_policy(user_id, "MINT", 3)
        await tracker.set_policy(str(user_id), "MINT", 4, "subscription-9")
        policy = await tracker.get_policy(user_id, "MINT")
        assert policy is not None
        assert (policy.user_id, policy.max_purchases) == (user_id, 4)
        assert policy.subscription_id == "subscription-9"

    async def test_need_a_user_and_a_maximum(self, tracker: TokenPurchaseTracker) -> None:
        with pytest.raises(UserNotFoundError):
            await tracker.set_policy(uuid.uuid4(), "MINT", 3)
        with pytest.raises(InvalidInputError):
            await tracker.set_policy(uuid.uuid4(), "MINT", 0)
        with pytest.raises(InvalidInputError):
            await tracker.get_policy("no uuid", "MINT")


async def test_purchases_are_summed_up_by_their_day_in_utc(
    tracker: TokenPurchaseTracker, clock: ManualClock
) -> None:
    # The manual clock begins at midnight.
    for seconds in (0, 86_399, 1, 3 * 86_400):
        await clock.advance(seconds)
        await tracker.increment_and_validate_purchase(USER, "MINT", 9)

    report = await tracker.analyze_purchases(["day"])
    assert [(row["day"], row["purchases"]) for row in report.to_dicts()] == [
        ("2026-01-01", 2),
        ("2026-01-02", 1),
        ("2026-01-05", 1),
    ]
