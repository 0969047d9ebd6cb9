"""The rate limiter's promises, on the in-process store and on a real Redis."""

from __future__ import annotations

import asyncio

import pytest

from deal_sdk.clock import ManualClock
from deal_sdk.errors import InvalidInputError
from deal_sdk.limits import Gate, RateDecision, RateLimiter, Store
from deal_sdk.metrics import Metrics
from deal_sdk.settings import DEFAULT_TIER_LIMITS


@pytest.fixture
def limiter(store: Store, clock: ManualClock) -> RateLimiter:
    return RateLimiter(Gate(store, clock=clock, metrics=Metrics()), store, tiers=DEFAULT_TIER_LIMITS)


class TestRateLimiter:
    async def test_answers_with_what_is_left(self, limiter: RateLimiter) -> None:
        decision = await limiter.check_limit("user", "Gift")

        assert decision == RateDecision(True, remaining=9, limit=10, reset_after=60, retry_after=0)

    @pytest.mark.parametrize(("tier", "burst"), [("Gift", 3), ("Professional", 10), ("Business", 20)])
    async def test_denies_beyond_the_burst(self, limiter: RateLimiter, tier: str, burst: int) -> None:
        decisions = [await limiter.check_limit("user", tier) for _ in range(burst + 1)]

        assert [decision.allowed for decision in decisions] == [True] * burst + [False]
        assert decisions[-1].denied_by == "burst"
        assert decisions[-1].retry_after == pytest.approx(1 / burst, abs=0.002)

    async def test_denies_beyond_the_minute(self, limiter: RateLimiter, clock: ManualClock) -> None:
        for _ in range(10):
            assert (await limiter.check_limit("user", "Gift")).allowed
            await clock.advance(1)

        decision = await limiter.check_limit("user", "Gift")
        assert (decision.allowed, decision.denied_by, decision.remaining) == (False, "per_minute", 0)
        assert decision.retry_after == 50
        await clock.advance(50)
        assert (await limiter.check_limit("user", "Gift")).allowed

    async def test_a_denied_request_consumes_nothing(self, limiter: RateLimiter, clock: ManualClock) -> None:
        for _ in range(3):
            await limiter.check_limit("user", "Gift")
        for _ in range(50):
            assert not (await limiter.check_limit("user", "Gift")).allowed
        await clock.advance(1)

        assert (await limiter.check_limit("user", "Gift")).remaining == 6

    async def test_racing_requests_stay_within_the_burst(self, limiter: RateLimiter) -> None:
        decisions = await asyncio.gather(*(limiter.check_limit("user", "Business") for _ in range(100)))

        assert sum(decision.allowed for decision in decisions) == 20

    async def test_keeps_users_and_operations_apart(self, limiter: RateLimiter) -> None:
        for _ in range(3):
            await limiter.check_limit("user", "Gift", "search")

        assert not (await limiter.check_limit("user", "Gift", "search")).allowed
        assert (await limiter.check_limit("user", "Gift", "goal")).allowed
        assert (await limiter.check_limit("other", "Gift", "search")).allowed

    async def test_a_peek_counts_and_writes_nothing(self, limiter: RateLimiter, store: Store) -> None:
        for _ in range(20):
            decision = await limiter.peek("user", "Gift")
        assert (decision.allowed, decision.remaining) == (True, 10)
        assert await store.command("DBSIZE") == 0

    async def test_a_reset_forgets_one_operation_or_all(self, limiter: RateLimiter) -> None:
        for operation in ("search", "goal"):
            for _ in range(3):
                await limiter.check_limit("user", "Gift", operation)
        await limiter.reset("user", "search")
        assert (await limiter.peek("user", "Gift", "search")).remaining == 10
        assert (await limiter.peek("user", "Gift", "goal")).remaining == 7
        await limiter.reset("user")
        assert (await limiter.peek("user", "Gift", "goal")).remaining == 10

    async def test_a_tier_keeps_what_another_tier_counted(
        self, limiter: RateLimiter, clock: ManualClock
    ) -> None:
        for _ in range(20):
            await limiter.check_limit("user", "Business")
        await clock.advance(10)

        denied = await limiter.check_limit("user", "Gift")
        assert (denied.allowed, denied.remaining, denied.denied_by) == (False, 0, "per_minute")
        assert (await limiter.check_limit("user", "Professional")).remaining == 29

    async def test_refuses_an_unknown_tier_and_an_impossible_cost(self, limiter: RateLimiter) -> None:
        with pytest.raises(InvalidInputError):
            await limiter.check_limit("user", "Platinum")
        for cost in (0, -1, 4):
            with pytest.raises(InvalidInputError):
                await limiter.check_limit("user", "Gift", cost=cost)
