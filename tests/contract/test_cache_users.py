"""What SPEC F promises of users' data: lifetimes, batches, invalidation and warming."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from deal_sdk.cache import (
    BalanceManager,
    CacheManager,
    UserCache,
    UserLifetimes,
    UserProfile,
    UserSources,
    WarmProgress,
    user_tag,
)
from deal_sdk.clock import ManualClock
from deal_sdk.errors import ConfigurationError, InvalidInputError, UserNotFoundError, WalletNotFoundError
from deal_sdk.limits import Store
from deal_sdk.limits.ids import UserKey
from deal_sdk.metrics import Metrics
from tests.contract.store_backends import keys_of

USERS = [UUID(int=number + 1) for number in range(100)]
ANA, BEN = USERS[:2]
NOBODY = UUID(int=10**6)


class Backend:
    """The sources of everything about users."""

    def __init__(self) -> None:
        self.tiers = dict.fromkeys(USERS, "Gift")
        self.credits = dict.fromkeys(USERS, 100)
        self.members = set(USERS)
        self.amounts = dict.fromkeys(USERS, 5 * 10**8)
        self.failing: set[UUID] = set()
        self.reads: dict[str, list[int]] = {"profiles": [], "credits": [], "membership": [], "chain": []}

    async def read_profiles(self, user_ids: Sequence[UUID]) -> Mapping[UUID, UserProfile]:
        self.reads["profiles"].append(len(user_ids))
        return {user_id: self.profile(user_id) for user_id in user_ids if user_id in self.tiers}

    def profile(self, user_id: UUID) -> UserProfile:
        born = datetime(2026, 1, 1, tzinfo=UTC)
        expires_at = datetime(2026, 2, 1, 12, 30, 0, 5, tzinfo=UTC) if user_id == ANA else None
        return UserProfile(user_id, f"chat-{user_id.int}", None, self.tiers[user_id], expires_at, born)

    async def read_credit_balances(self, user_ids: Sequence[UUID]) -> Mapping[UUID, int]:
        self.reads["credits"].append(len(user_ids))
        if self.failing & set(user_ids):
            raise ConnectionError
        return {user_id: self.credits[user_id] for user_id in user_ids if user_id in self.credits}

    async def is_member(self, user_id: UUID) -> bool:
        self.reads["membership"].append(1)
        if user_id in self.failing:
            raise ConnectionError
        return user_id in self.members

    async def read_balance(self, token_account: str) -> tuple[int, int]:
        self.reads["chain"].append(1)
        return self.amounts[UUID(token_account)], 100

    async def resolve(self, user_id: UserKey) -> str:
        if user_id not in self.amounts:
            raise WalletNotFoundError("the user has no active wallet")
        return str(user_id)

    async def reserved(self, token_account: str, slot: int) -> int:
        return 0


class World:
    """One process's user cache over a store."""

    def __init__(self, store: Store, backend: Backend, clock: ManualClock, **options: object) -> None:
        self.metrics = Metrics()
        shared = {"clock": clock, "metrics": self.metrics}
        self.values = CacheManager(store, "values", **shared)  # type: ignore[arg-type]
        self.balances = BalanceManager(
            store,
            reader=backend,
            resolver=backend,
            reservations=backend,
            clock=clock,
            metrics=self.metrics,
        )
        sources = UserSources(profiles=backend, credits=backend, membership=backend)
        self.users = UserCache(store, sources, self.balances, values=self.values, **shared, **options)  # type: ignore[arg-type]

    async def close(self) -> None:
        await self.users.close()
        await self.balances.close()
        await self.values.close()


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
async def world(store: Store, backend: Backend, clock: ManualClock) -> AsyncIterator[World]:
    world = World(store, backend, clock)
    yield world
    await world.close()


@pytest.fixture
def users(world: World) -> UserCache:
    return world.users


class TestLifetimes:
    async def test_a_profile_is_served_for_five_minutes(
        self, users: UserCache, backend: Backend, clock: ManualClock
    ) -> None:
        assert await users.profile(ANA) == backend.profile(ANA)
        backend.tiers[ANA] = "Business"
        # A tenth at most is cut off, so that users warmed together do not end together.
        await clock.advance(269)
        assert (await users.profile(ANA)).tier == "Gift"
        await clock.advance(31)
        assert (await users.profile(ANA)).tier == "Business"

    async def test_credits_are_served_for_one_minute(
        self, users: UserCache, backend: Backend, clock: ManualClock
    ) -> None:
        assert await users.credit_balance(ANA) == 100
        backend.credits[ANA] = 90
        await clock.advance(53)
        assert await users.credit_balance(ANA) == 100
        await clock.advance(7)
        assert await users.credit_balance(ANA) == 90

    async def test_a_channel_subscription_is_served_for_ten_minutes(
        self, users: UserCache, backend: Backend, clock: ManualClock
    ) -> None:
        assert await users.channel_subscription(ANA) is True
        backend.members.discard(ANA)
        await clock.advance(539)
        assert await users.channel_subscription(ANA) is True
        await clock.advance(61)
        assert await users.channel_subscription(ANA) is False
        assert await users.channel_subscription(ANA) is False
        assert len(backend.reads["membership"]) == 2

    async def test_a_deal_balance_is_served_for_five_minutes(
        self, users: UserCache, backend: Backend, clock: ManualClock
    ) -> None:
        assert await users.deal_balance(ANA) == Decimal(5)
        backend.amounts[ANA] = 10**8
        await clock.advance(299)
        assert await users.deal_balance(ANA) == Decimal(5)
        await clock.advance(1)
        assert await users.deal_balance(ANA) == Decimal(1)

    async def test_other_lifetimes_can_be_chosen(
        self, store: Store, backend: Backend, clock: ManualClock
    ) -> None:
        world = World(store, backend, clock, lifetimes=UserLifetimes(credit_balance_seconds=1.0))
        await world.users.credit_balance(ANA)
        backend.credits[ANA] = 90
        await clock.advance(1)
        assert await world.users.credit_balance(ANA) == 90
        await world.close()


class TestSingleReads:
    async def test_many_who_ask_for_one_user_read_once(self, users: UserCache, backend: Backend) -> None:
        found = await asyncio.gather(*(users.profile(str(ANA)) for _ in range(20)))
        assert {profile.id for profile in found} == {ANA}
        assert backend.reads["profiles"] == [1]

    async def test_a_user_who_is_not_there_is_an_error_and_seen_as_soon_as_created(
        self, users: UserCache, backend: Backend
    ) -> None:
        for read in (users.profile, users.credit_balance):
            with pytest.raises(UserNotFoundError):
                await read(NOBODY)
        with pytest.raises(WalletNotFoundError):
            await users.deal_balance(NOBODY)
        backend.tiers[NOBODY] = "Gift"
        assert (await users.profile(NOBODY)).tier == "Gift"

    async def test_what_is_no_user_id_is_refused(self, users: UserCache) -> None:
        for user_id in ("", "ana", 7, None):
            with pytest.raises(InvalidInputError):
                await users.profile(user_id)  # type: ignore[arg-type]
            with pytest.raises(InvalidInputError):
                await users.credit_balances([user_id])  # type: ignore[list-item]

    async def test_a_membership_that_fails_is_no_answer_and_asked_again(
        self, users: UserCache, backend: Backend
    ) -> None:
        backend.failing.add(ANA)
        with pytest.raises(ConnectionError):
            await users.channel_subscription(ANA)
        backend.failing.clear()
        assert await users.channel_subscription(ANA) is True

    async def test_without_a_membership_it_says_what_is_missing(
        self, store: Store, world: World, backend: Backend, clock: ManualClock
    ) -> None:
        sources = UserSources(profiles=backend, credits=backend)
        users = UserCache(store, sources, world.balances, values=world.values, clock=clock, metrics=Metrics())
        with pytest.raises(ConfigurationError):
            await users.channel_subscription(ANA)
        users.use_membership(backend)
        assert await users.channel_subscription(ANA)
        await users.close()

    async def test_credits_of_another_source_can_be_plugged_in(
        self, users: UserCache, backend: Backend
    ) -> None:
        accounting = Backend()
        accounting.credits[ANA] = 7
        users.use_credits(accounting)
        assert await users.credit_balance(ANA) == 7

    async def test_a_profile_of_another_form_is_read_again(
        self, users: UserCache, backend: Backend, store: Store
    ) -> None:
        await users.profile(ANA)
        (key,) = await keys_of(store)
        text = await store.command("HGET", key, "v")
        await store.command("HSET", key, "v", text.split(b"\n")[0] + b'\n{"id":"someone"}')
        assert await users.profile(ANA) == backend.profile(ANA)
        assert await users.profile(ANA) == backend.profile(ANA)


class TestBatches:
    async def test_a_hundred_users_are_one_read_of_the_source_and_then_none(
        self, users: UserCache, backend: Backend
    ) -> None:
        for _ in range(2):
            profiles = await users.profiles([*USERS, NOBODY])
            assert profiles == {user_id: backend.profile(user_id) for user_id in USERS}
            assert await users.credit_balances(USERS) == dict.fromkeys(USERS, 100)
            assert await users.channel_subscriptions(USERS) == dict.fromkeys(USERS, True)
            assert await users.deal_balances([*USERS, NOBODY]) == dict.fromkeys(USERS, Decimal(5))
        # Who is not there is asked for each time.
        assert backend.reads["profiles"] == [101, 1]
        assert backend.reads["credits"] == [100]
        assert len(backend.reads["membership"]) == len(backend.reads["chain"]) == 100

    async def test_a_membership_that_fails_for_one_leaves_that_one_out(
        self, users: UserCache, backend: Backend
    ) -> None:
        backend.failing.add(BEN)
        assert await users.channel_subscriptions([ANA, BEN]) == {ANA: True}
        backend.failing.clear()
        assert await users.channel_subscriptions([ANA, BEN]) == {ANA: True, BEN: True}


class TestInvalidation:
    async def test_a_users_data_ends_together_in_every_process_and_nobody_elses(
        self, world: World, store: Store, backend: Backend, clock: ManualClock
    ) -> None:
        other = World(store, backend, clock)
        for user_id in (ANA, BEN):
            await world.users.profile(user_id)
            await world.users.credit_balance(user_id)
            await world.users.channel_subscription(user_id)
        backend.tiers[ANA], backend.credits[ANA] = "Business", 1
        backend.tiers[BEN] = "Business"
        backend.members.clear()
        assert await other.users.invalidate(ANA)

        assert (await world.users.profile(ANA)).tier == "Business"
        assert await world.users.credit_balance(ANA) == 1
        assert await world.users.channel_subscription(ANA) is False
        assert (await world.users.profile(BEN)).tier == "Gift"
        assert await world.users.channel_subscription(BEN) is True
        await other.close()

    async def test_the_callers_own_entries_end_with_their_user_by_tag(self, world: World) -> None:
        await world.values.set("avatar", "ana.png", tags=[user_tag(ANA)])
        await world.values.set("theme", "dark", tags=[user_tag(BEN)])
        await world.users.invalidate(ANA)
        assert await world.values.get_many(["avatar", "theme"]) == {"theme": "dark"}

    async def test_credits_end_alone(self, users: UserCache, backend: Backend) -> None:
        await users.profile(ANA)
        await users.credit_balance(ANA)
        backend.credits[ANA], backend.tiers[ANA] = 1, "Business"
        await users.invalidate_credit_balance(ANA)
        assert await users.credit_balance(ANA) == 1
        assert (await users.profile(ANA)).tier == "Gift"


class TestWarming:
    async def test_very_many_users_are_warmed_with_progress(
        self, store: Store, backend: Backend, clock: ManualClock
    ) -> None:
        batches = 5
        everybody = [UUID(int=number + 1) for number in range(batches * 300)]
        backend.tiers = dict.fromkeys(everybody, "Gift")
        world = World(store, backend, clock)
        seen: list[WarmProgress] = []
        done = await world.users.warm(everybody, facts=["profile"], batch_size=300, progress=seen.append)

        total = len(everybody)
        assert done == WarmProgress(done=total, total=total, warm=total, absent=0, failed=0)
        assert [progress.done for progress in seen] == [300 * number for number in range(1, batches + 1)]
        assert len(await world.users.profiles(everybody[::100])) == total // 100
        assert backend.reads["profiles"] == [300] * batches
        await world.close()

    async def test_what_is_warm_is_not_read_again_and_what_fails_fails_alone(
        self, users: UserCache, backend: Backend
    ) -> None:
        await users.credit_balances(USERS[:10])
        backend.failing.add(USERS[25])
        backend.reads["credits"].clear()
        facts = ["profile", "credit_balance", "channel_subscription", "deal_balance"]
        done = await users.warm([*USERS[:40], NOBODY], facts=facts, batch_size=10)  # type: ignore[arg-type]
        # Nobody has neither profile nor credits nor wallet; of the failing one the membership is not known.
        assert done == WarmProgress(done=164, total=164, warm=150, absent=4, failed=10)
        assert backend.reads["credits"] == [10, 10, 10, 1]

    async def test_it_can_be_cancelled(self, users: UserCache, backend: Backend) -> None:
        stopped = asyncio.Event()

        async def hang(user_ids: Sequence[UUID]) -> Mapping[UUID, int]:
            stopped.set()
            await asyncio.Event().wait()
            return {}

        backend.read_credit_balances = hang  # type: ignore[method-assign]
        warming = asyncio.create_task(users.warm(USERS, facts=["credit_balance"]))
        await stopped.wait()
        warming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await warming

    async def test_bounds_and_facts_are_checked(self, users: UserCache) -> None:
        for options in (
            {"facts": ["height"]},
            {"facts": []},
            {"facts": "profile"},
            {"batch_size": 0},
            {"batch_size": 1_001},
            {"max_in_flight": 0},
        ):
            with pytest.raises(InvalidInputError):
                await users.warm(USERS, **options)  # type: ignore[arg-type]


async def test_each_kind_has_its_own_hits_and_misses(world: World) -> None:
    for _ in range(2):
        await world.users.profile(ANA)
        await world.users.credit_balances([ANA, BEN])
    text = world.metrics.render().decode()
    assert 'cache_requests_total{cache="profiles",outcome="hit"} 1.0' in text
    assert 'cache_requests_total{cache="credit_balances",outcome="miss"} 2.0' in text
    assert 'cache_requests_total{cache="credit_balances",outcome="hit"} 2.0' in text
