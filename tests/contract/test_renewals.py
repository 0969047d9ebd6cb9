"""Monthly credits by the names and rules that callers rely on, on every database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.accounting import (
    CREDIT_INVARIANTS,
    ChannelMembership,
    Journal,
    Memberships,
    MonthlyRenewalService,
    Period,
    RenewalReport,
    RenewalWatch,
    Terms,
    TierPlan,
    TierPlans,
    TokenAccountingService,
    TokenLedger,
    broken_links,
)
from deal_sdk.accounting.book import Book
from deal_sdk.accounting.commands import MAX_CREDITS, Command
from deal_sdk.accounting.hashing import FIRST_HASH
from deal_sdk.accounting.journal_rows import write_book
from deal_sdk.accounting.membership import ANSWER_TIMEOUT_SECONDS
from deal_sdk.cache import CacheManager
from deal_sdk.client.renewals import RenewalJob
from deal_sdk.clock import ManualClock
from deal_sdk.errors import DatabaseUnavailableError, IdempotencyConflictError, InvalidInputError
from deal_sdk.events import EventBus
from deal_sdk.limits import open_store
from deal_sdk.metrics import Metrics
from deal_sdk.records import Database, UserDirectory
from deal_sdk.records.credit_tables import credit_accounts, credit_transfers, token_operations
from deal_sdk.records.lot_tables import credit_lot_burns, credit_lots
from deal_sdk.records.renewal_tables import credit_renewals, credit_schedules, subscription_history
from deal_sdk.records.tables import users
from tests.servers.postgres_server import PostgresServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE_SECONDS = 60
DAY = 86_400
PERIOD = 30 * DAY
START = datetime(2026, 1, 1, tzinfo=UTC)


class Channel(ChannelMembership):
    """Answers as the test says; those not named are members."""

    def __init__(self) -> None:
        self.outside: set[UUID] = set()
        self.fails = False
        self.hangs = False
        self.was_asked = asyncio.Event()
        self.asked: list[tuple[UUID, str | None]] = []

    async def is_member(self, user_id: UUID, external_id: str | None) -> bool:
        self.asked.append((user_id, external_id))
        self.was_asked.set()
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails:
            raise RuntimeError("the messenger does not answer")
        return user_id not in self.outside


class World:
    """Renewals on one database, and the clock that moves them."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.database = database
        self.clock = clock
        self.channel = Channel()
        self.metrics = Metrics()
        self.events = EventBus(clock)
        self.users = UserDirectory(database)
        self.journal = Journal(database)
        self.credits = TokenAccountingService(database, self.journal)
        self.ledger = TokenLedger(database, self.journal)
        self.changed: list[UUID] = []
        self.renewals = self.service()

    def service(self, terms: Terms | None = None, *, journal: Journal | None = None) -> MonthlyRenewalService:
        return MonthlyRenewalService(
            self.database,
            journal or self.journal,
            plans=TierPlans({"Team": TierPlan("Team", 7, price_rub=10)}),
            terms=terms,
            memberships=Memberships(self.channel, clock=self.clock),
            watch=RenewalWatch(self.metrics, self.events, on_tier_change=self._note),
        )

    async def user(self, tier: str = "Gift", **more: Any) -> UUID:
        return (await self.users.create(tier=tier, **more)).id

    async def balance(self, user_id: UUID) -> int:
        return (await self.credits.get_balance(user_id)).tokens_balance

    async def set(self, user_id: UUID, **values: Any) -> None:
        async with self.database.transaction() as connection:
            await connection.execute(sa.update(users).where(users.c.id == user_id).values(values))

    async def count(self, table: sa.Table) -> int:
        return int((await self.database.fetch(sa.select(sa.func.count()).select_from(table)))[0][0])

    async def broken(self) -> list[Any]:
        found: list[Any] = []
        async with self.database.reading() as connection:
            for query in CREDIT_INVARIANTS.values():
                found += (await connection.execute(query)).all()
            found += [row async for row in broken_links(connection, most=10)]
        return found

    def outcomes(self, outcome: str) -> float:
        return self.metrics.registry.get_sample_value("renewals_total", {"outcome": outcome}) or 0.0

    async def _note(self, user_id: UUID) -> None:
        self.changed.append(user_id)
        raise RuntimeError("a callback that fails")


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)],
)
async def shared_database(request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """One database of each kind for all tests, because its migrations take longer than they do."""
    if request.param == "sqlite":
        opened = await Database.open("sqlite+aiosqlite://", clock=ManualClock())
        yield opened
        await opened.close()
        return
    server: PostgresServer = request.getfixturevalue("_postgres_of_session")
    name = server.create_database()
    opened = await Database.open(server.url(name), clock=ManualClock(), migrate=True)
    yield opened
    await opened.close()
    server.drop_database(name)


@pytest_asyncio.fixture(loop_scope="module")
async def world(shared_database: Database) -> AsyncIterator[World]:
    clock = ManualClock(START)
    shared_database._clock = clock
    opened = World(shared_database, clock)
    yield opened
    await opened.journal.close()
    await opened.events.close()
    broken = await opened.broken()
    await empty(shared_database)
    assert broken == []


async def empty(database: Database) -> None:
    """Take everybody and everything out, so that the next test begins with nothing."""
    operators = credit_accounts.update().values(
        balance=0, entries=0, head_hash=FIRST_HASH, updated_at=datetime(1970, 1, 1, tzinfo=UTC)
    )
    tables = (
        credit_renewals,
        credit_schedules,
        subscription_history,
        token_operations,
        credit_lot_burns,
        credit_lots,
        credit_transfers,
    )
    async with database.transaction() as connection:
        for table in tables:
            await connection.execute(table.delete())
        await connection.execute(credit_accounts.delete().where(credit_accounts.c.kind == "user"))
        await connection.execute(users.delete())
        await connection.execute(operators)


class TestExpiry:
    async def test_credits_of_a_period_expire_after_so_many(self, world: World) -> None:
        renewals = world.service(Terms(expire_after_periods=2))
        user_id = await world.user()
        await renewals.renew_user(user_id)
        await world.clock.advance(PERIOD)
        await renewals.renew_user(user_id)
        lots = await world.credits.get_lots(user_id)
        assert [(lot.remaining, lot.expires_at) for lot in lots] == [
            (100, START + timedelta(days=60)),
            (100, START + timedelta(days=90)),
        ]
        await world.credits.debit(user_id, "video", 30)
        await world.clock.advance(PERIOD)
        third = await renewals.renew_user(user_id)
        assert (third.tokens_added, third.new_balance) == (100, 200)
        types = [entry.operation_type for entry in await world.ledger.get_user_entries(user_id, limit=2)]
        assert types == ["monthly_reset", "credit_expiry"]

    async def test_a_missed_period_whose_credits_would_be_gone_grants_none(self, world: World) -> None:
        renewals = world.service(Terms(expire_after_periods=1))
        user_id = await world.user()
        await renewals.renew_user(user_id)
        await world.clock.advance(3 * PERIOD)
        dry = await renewals.renew_all_eligible(dry_run=True)
        assert dry.tokens_added == 100
        result = await renewals.renew_user(user_id)
        assert (result.periods, result.tokens_added, result.new_balance) == (3, 100, 100)
        assert await world.count(credit_renewals) == 4

    async def test_a_tier_that_is_sold_expires_too(self, world: World) -> None:
        renewals = world.service(Terms(expire_after_periods=1))
        user_id = await world.user()
        await renewals.subscribe(user_id, "Professional", "invoice-1", periods=2)
        await renewals.subscribe(user_id, "Professional", "invoice-2")
        lots = await world.credits.get_lots(user_id)
        assert [(lot.remaining, lot.expires_at) for lot in lots] == [
            (2_000, START + timedelta(days=30)),
            (2_000, START + timedelta(days=60)),
        ]

    async def test_what_is_reset_cannot_expire(self, world: World) -> None:
        with pytest.raises(InvalidInputError):
            Terms(mode="reset", expire_after_periods=1)


class TestOneUser:
    async def test_gift_grants_100_once_a_period(self, world: World) -> None:
        user_id = await world.user(external_id="chat-7")
        assert await world.renewals.check_eligibility(user_id) == (True, "Renewal is due", START)
        result = await world.renewals.renew_user(user_id)
        assert (result.success, result.tokens_added, result.new_balance) == (True, 100, 100)
        assert (result.error, result.code, result.periods) == (None, None, 1)
        assert world.channel.asked == [(user_id, "chat-7")] * 2
        again = await world.renewals.renew_user(str(user_id))
        assert (again.success, again.tokens_added, again.code) == (False, 0, "not_due")
        assert again.error == "Renewal is not due yet"
        until = START + timedelta(days=30)
        assert await world.renewals.check_eligibility(user_id) == (False, "Renewal is not due yet", until)
        await world.clock.advance(PERIOD)
        assert (await world.renewals.renew_user(user_id)).new_balance == 200

    async def test_a_renewal_adds_an_entry_monthly_reset(self, world: World) -> None:
        user_id = await world.user("Professional")
        await world.credits.credit(user_id, "purchase", 5)
        await world.renewals.renew_user(user_id)
        entry, _ = await world.ledger.get_user_entries(user_id)
        assert (entry.operation_type, entry.amount, entry.balance_after) == ("monthly_reset", 2_000, 2_005)
        assert entry.metadata == {
            "plan": "Professional",
            "period_index": 0,
            "period_start": START.isoformat(),
        }
        [row] = await world.database.fetch(sa.select(credit_renewals))
        assert (row.plan, row.period_index, row.tokens_added, row.entry_id) == (
            *("Professional", 0, 2_000),
            entry.id,
        )
        assert (row.period_start, row.period_end) == (START, START + timedelta(days=30))
        assert world.outcomes("renewed") == 1

    @pytest.mark.parametrize(
        ("tier", "credits"), [("Gift", 100), ("Professional", 2_000), ("Business", 10_000)]
    )
    async def test_each_tier_grants_its_credits(self, world: World, tier: str, credits: int) -> None:
        assert (await world.renewals.renew_user(await world.user(tier))).tokens_added == credits

    async def test_an_unknown_user_is_told(self, world: World) -> None:
        user_id = uuid4()
        assert await world.renewals.check_eligibility(user_id) == (False, "User not found", None)
        result = await world.renewals.renew_user(user_id)
        assert (result.success, result.error, result.code) == (False, "User not found", "user_not_found")
        assert result.failed
        with pytest.raises(InvalidInputError):
            await world.renewals.renew_user("nobody")

    async def test_a_tier_without_a_plan_grants_nothing(self, world: World) -> None:
        user_id = await world.user()
        await world.set(user_id, tier="Unheard")
        result = await world.renewals.renew_user(user_id)
        assert (result.code, result.error) == ("unknown_tier", "Tier has no plan")

    async def test_a_caller_s_own_tier_grants_what_it_says(self, world: World) -> None:
        user_id = await world.user()
        await world.set(user_id, tier="Team")
        assert (await world.renewals.renew_user(user_id)).tokens_added == 7

    async def test_a_balance_at_its_bound_is_an_error(self, world: World) -> None:
        user_id = await world.user("Professional")
        await world.credits.credit(user_id, "purchase", MAX_CREDITS)
        result = await world.renewals.renew_user(user_id)
        assert (result.code, result.failed) == ("balance_too_large", True)
        assert await world.count(credit_renewals) == 0
        assert world.outcomes("failed") == 1


class TestTerms:
    async def test_a_reset_sets_the_balance(self, world: World) -> None:
        service = world.service(Terms(mode="reset"))
        user_id = await world.user("Professional")
        await world.credits.credit(user_id, "purchase", 5_000)
        assert (await service.renew_user(user_id)).tokens_added == -3_000
        await world.clock.advance(PERIOD)
        unchanged = await service.renew_user(user_id)
        assert (unchanged.success, unchanged.tokens_added, unchanged.new_balance) == (True, 0, 2_000)
        assert await world.count(credit_renewals) == 2

    @pytest.mark.parametrize(("held", "added"), [(0, 2_000), (500, 2_000), (1_000, 1_500), (9_000, 0)])
    async def test_a_cap_bounds_what_is_carried_over(self, world: World, held: int, added: int) -> None:
        service = world.service(Terms(rollover_cap=500))
        user_id = await world.user("Professional")
        if held:
            await world.credits.credit(user_id, "purchase", held)
        result = await service.renew_user(user_id)
        assert (result.success, result.tokens_added, result.new_balance) == (True, added, held + added)
        assert (await service.renew_user(user_id)).code == "not_due"

    async def test_months_keep_the_day_of_their_anchor(self, world: World) -> None:
        service = world.service(Terms(Period.parse("month")))
        await world.clock.advance(30 * DAY)
        user_id = await world.user("Professional")
        days = []
        for _ in range(4):
            assert (await service.renew_user(user_id)).success
            at = (await service.check_eligibility(user_id)).next_renewal_date
            assert at is not None
            days.append((at.month, at.day))
            await world.clock.advance((at - world.clock.now()).total_seconds())
        assert days == [(2, 28), (3, 31), (4, 30), (5, 31)]

    async def test_another_period_begins_after_the_one_that_was_granted(self, world: World) -> None:
        user_id = await world.user()
        await world.renewals.renew_user(user_id)
        service = world.service(Terms(Period.parse("month")))
        assert (await service.renew_user(user_id)).code == "not_due"
        await world.clock.advance(PERIOD)
        assert (await service.renew_user(user_id)).tokens_added == 100
        at = (await service.check_eligibility(user_id)).next_renewal_date
        assert at == datetime(2026, 2, 28, tzinfo=UTC)


class TestOutage:
    async def test_each_missed_period_is_caught_up(self, world: World) -> None:
        user_id = await world.user("Professional")
        await world.renewals.renew_user(user_id)
        await world.clock.advance(3 * PERIOD + DAY)
        result = await world.renewals.renew_user(user_id)
        assert (result.periods, result.tokens_added, result.new_balance) == (3, 6_000, 8_000)
        assert await world.count(credit_renewals) == 4
        at = (await world.renewals.check_eligibility(user_id)).next_renewal_date
        assert at == START + timedelta(days=120)

    async def test_what_is_caught_up_is_bounded(self, world: World) -> None:
        service = world.service(Terms(catch_up_periods=2))
        user_id = await world.user("Professional")
        await service.renew_user(user_id)
        await world.clock.advance(40 * PERIOD)
        assert (await service.renew_user(user_id)).periods == 3
        indexes = await world.database.fetch(sa.select(credit_renewals.c.period_index).order_by(sa.text("1")))
        assert [row[0] for row in indexes] == [0, 38, 39, 40]

    async def test_what_was_paid_for_is_caught_up_after_the_expiry(self, world: World) -> None:
        user_id = await world.user()
        await world.renewals.subscribe(user_id, "Professional", "invoice-1", periods=3)
        await world.clock.advance(10 * PERIOD)
        result = await world.renewals.renew_user(user_id)
        assert (result.periods, result.new_balance, result.expired) == (2, 6_000, True)
        assert (await world.users.get(user_id)).tier == "Gift"


class TestChannel:
    async def test_gift_needs_the_channel(self, world: World) -> None:
        user_id = await world.user()
        world.channel.outside.add(user_id)
        result = await world.renewals.renew_user(user_id)
        assert (result.code, result.error) == ("channel_required", "Channel subscription required")
        eligible, reason, _ = await world.renewals.check_eligibility(user_id)
        assert (eligible, reason) == (False, "Channel subscription required")
        world.channel.outside.clear()
        assert (await world.renewals.renew_user(user_id)).tokens_added == 100
        found = await world.users.get(user_id)
        assert (found.channel_subscribed_at, found.last_gift_claim_at) == (START, START)

    async def test_a_paid_tier_does_not(self, world: World) -> None:
        world.channel.fails = True
        assert (await world.renewals.renew_user(await world.user("Business"))).success
        assert world.channel.asked == []

    async def test_its_error_means_not_now(self, world: World) -> None:
        user_id = await world.user()
        await world.renewals.renew_user(user_id)
        await world.clock.advance(2 * PERIOD)
        world.channel.fails = True
        report = await world.renewals.renew_all_eligible()
        assert (report.successful, report.failed, report.skipped) == (0, 0, {"membership_unknown": 1})
        assert (await world.renewals.renew_user(user_id)).code == "membership_unknown"
        world.channel.fails = False
        # Nobody knew of a break, so nothing is lost.
        assert (await world.renewals.renew_user(user_id)).periods == 2

    async def test_one_that_hangs_is_given_up(self, world: World) -> None:
        user_id = await world.user()
        world.channel.hangs = True
        renewal = asyncio.create_task(world.renewals.renew_user(user_id))
        await world.channel.was_asked.wait()
        await world.clock.advance(ANSWER_TIMEOUT_SECONDS)
        assert (await renewal).code == "membership_unknown"

    async def test_without_one_nobody_is_eligible(self, world: World) -> None:
        service = MonthlyRenewalService(world.database, world.journal)
        assert (await service.renew_user(await world.user())).code == "membership_unknown"

    async def test_whoever_comes_back_begins_anew(self, world: World) -> None:
        user_id = await world.user()
        await world.renewals.renew_user(user_id)
        await world.clock.advance(2 * PERIOD + DAY)
        world.channel.outside.add(user_id)
        assert (await world.renewals.renew_all_eligible()).skipped == {"channel_required": 1}
        assert (await world.users.get(user_id)).channel_subscribed_at is None
        await world.clock.advance(4 * PERIOD)
        world.channel.outside.clear()
        assert (await world.renewals.renew_user(user_id)).periods == 1
        at = (await world.renewals.check_eligibility(user_id)).next_renewal_date
        assert at == world.clock.now() + timedelta(days=30)

    async def test_answers_are_cached_600_seconds(self, world: World) -> None:
        store = open_store("memory://")
        cache = CacheManager(store, "values", clock=world.clock)
        memberships = Memberships(world.channel, clock=world.clock, cache=cache)
        service = MonthlyRenewalService(world.database, world.journal, memberships=memberships)
        user_id = await world.user()
        world.channel.outside.add(user_id)
        for seconds, asked in ((0, 1), (599, 1), (1, 2)):
            await world.clock.advance(seconds)
            assert (await service.renew_user(user_id)).code == "channel_required"
            assert len(world.channel.asked) == asked
        world.channel.outside.clear()
        await memberships.forget(user_id)
        assert (await service.renew_user(user_id)).success
        await cache.close()
        await store.close()

    async def test_an_error_is_not_cached(self, world: World) -> None:
        store = open_store("memory://")
        cache = CacheManager(store, "values", clock=world.clock)
        memberships = Memberships(world.channel, clock=world.clock, cache=cache)
        service = MonthlyRenewalService(world.database, world.journal, memberships=memberships)
        user_id = await world.user()
        world.channel.fails = True
        assert (await service.renew_user(user_id)).code == "membership_unknown"
        world.channel.fails = False
        assert (await service.renew_user(user_id)).success
        await cache.close()
        await store.close()


class TestSubscriptions:
    async def test_it_sets_the_tier_and_grants_once(self, world: World) -> None:
        user_id = await world.user()
        made = await world.renewals.subscribe(user_id, "Professional", "invoice-1")
        until = START + timedelta(days=30)
        assert (made.success, made.tokens_added, made.new_balance) == (True, 2_000, 2_000)
        assert (made.subscription_expires_at, made.replayed) == (until, False)
        again = await world.renewals.subscribe(user_id, "Professional", "invoice-1")
        assert again.replayed
        assert again.to_dict() == made.to_dict() | {"replayed": True}
        found = await world.users.get(user_id)
        assert (found.tier, found.subscription_expires_at, found.tokens_balance) == (
            *("Professional", until),
            2_000,
        )
        assert world.changed == [user_id]
        [row] = await world.database.fetch(sa.select(subscription_history))
        assert (row.tier, row.previous_tier, row.payment_reference) == ("Professional", "Gift", "invoice-1")
        assert (row.price_rub, row.starts_at, row.expires_at, row.tokens_granted) == (
            1_990,
            START,
            until,
            2_000,
        )
        assert (await world.renewals.renew_user(user_id)).code == "not_due"

    async def test_a_payment_is_for_one_subscription(self, world: World) -> None:
        first, second = await world.user(), await world.user()
        await world.renewals.subscribe(first, "Professional", "invoice-1")
        for user_id, tier, periods in (
            (second, "Professional", 1),
            (first, "Business", 1),
            (first, "Professional", 2),
        ):
            with pytest.raises(IdempotencyConflictError):
                await world.renewals.subscribe(user_id, tier, "invoice-1", periods=periods)
        assert await world.count(subscription_history) == 1

    async def test_one_payment_at_once_from_two_processes_counts_once(self, world: World) -> None:
        user_id = await world.user()
        other = Journal(world.database)
        services = [world.renewals, world.service(journal=other)]
        results = await asyncio.gather(
            *(service.subscribe(user_id, "Business", "invoice-1") for service in services * 4)
        )
        await other.close()
        assert sum(not result.replayed for result in results) == 1
        assert await world.balance(user_id) == 10_000

    async def test_on_expiry_the_tier_becomes_gift(self, world: World) -> None:
        user_id = await world.user()
        await world.renewals.subscribe(user_id, "Professional", "invoice-1")
        await world.clock.advance(PERIOD)
        assert await world.renewals.check_eligibility(user_id) == (False, "Subscription expired", None)
        report = await world.renewals.renew_all_eligible()
        assert (report.successful, report.skipped) == (0, {"subscription_expired": 1})
        assert (await world.users.get(user_id)).tier == "Gift"
        assert await world.balance(user_id) == 2_000
        assert world.changed == [user_id, user_id]
        assert (await world.renewals.renew_user(user_id)).tokens_added == 100

    async def test_a_paid_tier_past_its_expiry_does_not_renew(self, world: World) -> None:
        user_id = await world.user("Business")
        await world.set(user_id, subscription_expires_at=START)
        result = await world.renewals.renew_user(user_id)
        assert (result.success, result.code, result.expired) == (False, "subscription_expired", True)
        assert await world.balance(user_id) == 0

    async def test_every_period_paid_for_is_granted_once(self, world: World) -> None:
        user_id = await world.user()
        await world.renewals.subscribe(user_id, "Professional", "invoice-1", periods=2)
        await world.clock.advance(5 * DAY)
        extended = await world.renewals.subscribe(user_id, "Professional", "invoice-2")
        assert extended.subscription_expires_at == START + timedelta(days=90)
        for _ in range(6):
            await world.clock.advance(20 * DAY)
            await world.renewals.renew_user(user_id)
        entries = await world.ledger.get_user_entries(user_id)
        paid = [entry.amount for entry in entries if entry.amount == 2_000]
        assert len(paid) == 3

    async def test_an_upgrade_begins_at_once_and_a_return_counts_on(self, world: World) -> None:
        user_id = await world.user()
        await world.renewals.renew_user(user_id)
        await world.renewals.subscribe(user_id, "Professional", "invoice-1")
        await world.clock.advance(DAY)
        upgraded = await world.renewals.subscribe(user_id, "Business", "invoice-2")
        assert upgraded.subscription_expires_at == START + timedelta(days=31)
        await world.clock.advance(31 * DAY)
        await world.renewals.renew_all_eligible()
        back = await world.renewals.subscribe(user_id, "Professional", "invoice-3")
        assert (back.success, back.new_balance) == (True, 14_100)
        rows = await world.database.fetch(
            sa.select(credit_renewals.c.plan, credit_renewals.c.period_index).order_by(credit_renewals.c.id)
        )
        assert [tuple(row) for row in rows] == [
            *(("Gift", 0), ("Professional", 0), ("Business", 0)),
            ("Professional", 1),
        ]

    async def test_gift_is_not_claimed_twice_by_going_to_and_fro(self, world: World) -> None:
        user_id = await world.user()
        await world.renewals.renew_user(user_id)
        await world.users.set_tier(user_id, "Professional")
        await world.renewals.renew_user(user_id)
        await world.users.set_tier(user_id, "Gift")
        assert (await world.renewals.renew_user(user_id)).code == "not_due"
        assert await world.balance(user_id) == 2_100

    async def test_an_upgrade_grants_what_was_paid_and_missed(self, world: World) -> None:
        user_id = await world.user()
        await world.renewals.subscribe(user_id, "Professional", "invoice-1", periods=3)
        await world.clock.advance(PERIOD + DAY)
        assert (await world.renewals.subscribe(user_id, "Business", "invoice-2")).new_balance == 14_000

    @pytest.mark.parametrize(
        ("tier", "reference", "periods"),
        [
            ("Gift", "x", 1),
            ("None", "x", 1),
            ("Business", "", 1),
            ("Business", "x", 0),
            ("Business", "x", 1.5),
        ],
    )
    async def test_bad_input_is_raised(self, world: World, tier: str, reference: str, periods: Any) -> None:
        user_id = await world.user()
        with pytest.raises(InvalidInputError):
            await world.renewals.subscribe(user_id, tier, reference, periods=periods)

    async def test_an_unknown_user_is_refused(self, world: World) -> None:
        result = await world.renewals.subscribe(uuid4(), "Business", "invoice-1")
        assert (result.success, result.code) == (False, "user_not_found")
        assert await world.count(subscription_history) == 0


class TestAllUsers:
    async def test_a_run_renews_who_is_due(self, world: World) -> None:
        gift, paid, outside = await world.user(), await world.user("Professional"), await world.user()
        world.channel.outside.add(outside)
        told: list[tuple[int, int, int]] = []
        report = await world.renewals.renew_all_eligible(progress=lambda *counts: told.append(counts))
        assert (report.processed, report.successful, report.failed) == (3, 2, 0)
        assert (report.tokens_added, report.skipped) == (2_100, {"channel_required": 1})
        assert told == [(3, 2, 0)]
        assert [await world.balance(one) for one in (gift, paid, outside)] == [100, 2_000, 0]
        again = await world.renewals.renew_all_eligible()
        assert (again.processed, again.successful) == (1, 0)

    async def test_a_tier_and_a_limit_narrow_it(self, world: World) -> None:
        people = [await world.user("Professional") for _ in range(3)] + [await world.user("Business")]
        world.channel.outside = {await world.user() for _ in range(3)}
        report = await world.renewals.renew_all_eligible("Professional", 2)
        assert report.successful == 2
        assert (await world.renewals.renew_all_eligible(limit=1)).successful == 1
        assert (await world.renewals.renew_all_eligible()).successful == 1
        assert sum([await world.balance(one) for one in people]) == 16_000
        with pytest.raises(InvalidInputError):
            await world.renewals.renew_all_eligible(limit=0)

    async def test_a_dry_run_writes_nothing(self, world: World) -> None:
        await world.user("Professional")
        expired = await world.user("Business")
        await world.set(expired, subscription_expires_at=START)
        report = await world.renewals.renew_all_eligible(dry_run=True)
        assert (report.dry_run, report.successful, report.tokens_added) == (True, 1, 2_000)
        assert report.skipped == {"subscription_expired": 1}
        assert [await world.count(table) for table in (credit_renewals, credit_schedules)] == [0, 0]
        assert (await world.users.get(expired)).tier == "Business"
        assert world.outcomes("renewed") == 0

    async def test_errors_are_listed_and_the_others_renewed(self, world: World) -> None:
        people = [await world.user("Professional") for _ in range(5)]
        full = sorted(people)[2]
        await world.credits.credit(full, "purchase", MAX_CREDITS)
        report = await world.renewals.renew_all_eligible()
        assert (report.processed, report.successful, report.failed) == (5, 4, 1)
        [error] = report.errors
        assert (error.user_id, error.code) == (full, "balance_too_large")
        assert report.to_dict()["errors"] == [error.to_dict()]

    async def test_without_going_on_the_first_error_ends_it(self, world: World) -> None:
        people = sorted([await world.user("Professional") for _ in range(5)])
        await world.credits.credit(people[2], "purchase", MAX_CREDITS)
        report = await world.renewals.renew_all_eligible(continue_on_error=False)
        assert (report.successful, report.failed, report.stopped) == (2, 1, True)
        assert [await world.balance(one) for one in people[3:]] == [0, 0]

    async def test_what_the_database_refuses_is_one_user_s_error(self, world: World) -> None:
        people = sorted([await world.user("Professional") for _ in range(4)])
        # A row that only damage can make: the period is granted, and the series does not know.
        row = {"id": uuid4(), "user_id": people[1], "plan": "Professional", "period_index": 1}
        row |= {"period_start": START, "period_end": START, "tokens_added": 0, "created_at": START}
        await world.renewals.renew_all_eligible()
        async with world.database.transaction() as connection:
            await connection.execute(credit_renewals.insert(), [row])
        await world.clock.advance(PERIOD)
        report = await world.renewals.renew_all_eligible()
        assert (report.successful, report.failed) == (3, 1)
        assert report.errors[0].user_id == people[1]
        assert await world.balance(people[1]) == 2_000

    async def test_a_lost_database_is_raised(self, world: World) -> None:
        await world.user("Professional")
        await world.journal.close()
        with pytest.raises(DatabaseUnavailableError):
            await world.renewals.renew_all_eligible()

    async def test_due_users_are_streamed_in_pages(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("deal_sdk.accounting.renewals.PAGE_USERS", 2)
        people = sorted([await world.user("Business") for _ in range(5)])
        found = [user.user_id async for user in world.renewals.get_users_due_for_renewal()]
        assert found == people
        first = [user.user_id async for user in world.renewals.get_users_due_for_renewal("Business", 3)]
        assert first == people[:3]
        assert (await world.renewals.renew_all_eligible(limit=3)).successful == 3
        left = [user.to_dict() async for user in world.renewals.get_users_due_for_renewal()]
        assert [UUID(user["user_id"]) for user in left] == people[3:]

    async def test_a_callback_that_fails_changes_nothing(self, world: World) -> None:
        await world.user("Professional")

        def fail(*_: int) -> None:
            raise RuntimeError("a callback that fails")

        assert (await world.renewals.renew_all_eligible(progress=fail)).successful == 1

    async def test_the_status_counts(self, world: World) -> None:
        await world.renewals.renew_user(await world.user("Professional"))
        await world.user("Business")
        status = await world.renewals.status()
        assert status.to_dict() == {
            "cron_expression": "0 2 * * *",
            "next_run_at": "2026-01-01T02:00:00+00:00",
            "due": {"Business": 1},
            "renewed": 1,
            "last_renewal_at": START.isoformat(),
        }


class TestJob:
    async def test_it_runs_at_once_then_daily_and_sooner_after_trouble(self, world: World) -> None:
        user_id = await world.user()
        job = RenewalJob(world.renewals, world.clock)
        world.channel.fails = True
        await job.run_once()
        assert job.interval_seconds == 600
        world.channel.fails = False
        await job.run_once()
        assert (await world.balance(user_id), job.interval_seconds) == (100, 2 * 3_600)
        await world.clock.advance(2 * 3_600)
        assert job.interval_seconds == DAY


class TestManyAtOnce:
    async def test_two_workers_renew_each_user_once(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("deal_sdk.accounting.renewals.PAGE_USERS", 40)
        now = world.clock.now()
        rows = [
            {
                "id": uuid4(),
                "tier": ("Professional", "Gift")[number % 2],
                "created_at": now,
                "updated_at": now,
            }
            for number in range(240)
        ]
        async with world.database.transaction() as connection:
            await connection.execute(users.insert(), rows)
        journals = [Journal(world.database) for _ in range(2)]
        services = [world.service(journal=journal) for journal in journals]
        reports: list[RenewalReport] = await asyncio.gather(
            *(service.renew_all_eligible() for service in services)
        )
        await asyncio.gather(*(journal.close() for journal in journals))
        assert sum(report.successful for report in reports) == 240
        assert sum(report.failed for report in reports) == 0
        assert await world.count(credit_renewals) == 240
        total = sa.select(sa.func.sum(users.c.tokens_balance))
        assert int((await world.database.fetch(total))[0][0]) == 120 * 2_100

    async def test_debits_beside_a_renewal_lose_nothing(self, world: World) -> None:
        user_id = await world.user("Professional")
        await world.credits.credit(user_id, "purchase", 100)
        other = Journal(world.database)
        services = [world.renewals, world.service(journal=other)]
        await asyncio.gather(
            *(service.renew_user(user_id) for service in services * 3),
            *(world.credits.debit(user_id, "image_generation", 1) for _ in range(20)),
        )
        await other.close()
        assert await world.balance(user_id) == 2_080

    @pytest.mark.postgres
    @pytest.mark.parametrize("shared_database", ["postgres"], indirect=True)
    async def test_what_is_read_under_a_lock_is_what_its_holder_left(self, world: World) -> None:
        user_id = await world.user("Professional")
        await world.credits.credit(user_id, "purchase", 100)
        first, second = (await world.ledger.get_user_entries(user_id)), []
        command = Command("credit", user_id, "purchase", 5, "issuance")
        locked, go_on = asyncio.Event(), asyncio.Event()

        async def hold(connection: AsyncConnection, book: Book) -> Any:
            result = book.apply(command)
            await write_book(connection, world.database, book)
            locked.set()
            await go_on.wait()
            return None, [(command, result)]

        async def follow(connection: AsyncConnection, book: Book) -> Any:
            second.append((book.users[user_id].balance, book.users[user_id].entries))
            return None, []

        holder = asyncio.create_task(world.journal.run_unit([command], hold))
        await locked.wait()
        follower = asyncio.create_task(world.journal.run_unit([command], follow))
        await until_somebody_waits(world.database)
        go_on.set()
        await asyncio.gather(holder, follower)
        assert second == [(105, len(first) + 1)]


async def until_somebody_waits(database: Database) -> None:
    """Return once a statement waits for another transaction's lock."""
    query = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (await database.fetch(query))[0][0]:
            pass
