"""The nineteen behaviours that the rate limiter's specification implies, one test each, on every store."""

from __future__ import annotations

import logging

import pytest

from deal_sdk.clock import ManualClock
from deal_sdk.errors import InvalidInputError
from deal_sdk.limits import Gate, PurchaseRule, RateDecision, RateLimiter, Store, open_store
from deal_sdk.metrics import Metrics
from deal_sdk.settings import DEFAULT_TIER_LIMITS
from tests.contract.store_backends import keys_of

UNREACHABLE = "redis://127.0.0.1:1/0"


@pytest.fixture
def gate(store: Store, clock: ManualClock) -> Gate:
    return Gate(store, clock=clock, metrics=Metrics())


@pytest.fixture
def limiter(gate: Gate, store: Store) -> RateLimiter:
    return RateLimiter(gate, store, tiers=DEFAULT_TIER_LIMITS)


async def in_a_minute(limiter: RateLimiter, clock: ManualClock, tier: str, tries: int) -> int:
    count = 0
    for _ in range(tries):
        count += (await limiter.check_limit("user", tier)).allowed
        await clock.advance(59 / tries)
    return count


async def at_once(limiter: RateLimiter, tier: str) -> int:
    return sum([(await limiter.check_limit("user", tier)).allowed for _ in range(30)])


class TestTiers:
    async def test_01_gift_has_ten_a_minute(self, limiter: RateLimiter, clock: ManualClock) -> None:
        assert await in_a_minute(limiter, clock, "Gift", 15) == 10

    async def test_02_professional_has_fifty_a_minute(self, limiter: RateLimiter, clock: ManualClock) -> None:
        assert await in_a_minute(limiter, clock, "Professional", 60) == 50

    async def test_03_business_has_a_hundred_a_minute(self, limiter: RateLimiter, clock: ManualClock) -> None:
        assert await in_a_minute(limiter, clock, "Business", 110) == 100

    async def test_04_gift_has_three_at_once(self, limiter: RateLimiter) -> None:
        assert await at_once(limiter, "Gift") == 3

    async def test_05_professional_has_ten_at_once(self, limiter: RateLimiter) -> None:
        assert await at_once(limiter, "Professional") == 10

    async def test_06_business_has_twenty_at_once(self, limiter: RateLimiter) -> None:
        assert await at_once(limiter, "Business") == 20

    async def test_07_an_unknown_tier_is_an_error_and_never_unlimited(self, limiter: RateLimiter) -> None:
        with pytest.raises(InvalidInputError):
            await limiter.check_limit("user", "Platinum")


class TestIsolation:
    async def test_08_users_are_apart(self, limiter: RateLimiter) -> None:
        await at_once(limiter, "Gift")
        assert (await limiter.check_limit("another", "Gift")).allowed

    async def test_09_operations_are_apart(self, limiter: RateLimiter) -> None:
        await at_once(limiter, "Gift")
        assert (await limiter.check_limit("user", "Gift", "search")).allowed

    async def test_10_addresses_and_other_keys_are_apart(self, limiter: RateLimiter) -> None:
        await at_once(limiter, "Gift")
        assert (await limiter.check_limit("user", "Gift", subject="ip")).allowed

    async def test_11_billing_is_apart(self, limiter: RateLimiter, gate: Gate) -> None:
        await at_once(limiter, "Gift")
        assert (await gate.take([PurchaseRule("user", "MINT", 1)])).allowed


class TestAnswers:
    async def test_12_say_what_remains_of_what(self, limiter: RateLimiter) -> None:
        decision = await limiter.check_limit("user", "Gift")
        assert decision == RateDecision(True, remaining=9, limit=10, reset_after=60, retry_after=0)

    async def test_13_say_which_limit_denied_and_when_to_retry(
        self, limiter: RateLimiter, clock: ManualClock
    ) -> None:
        await at_once(limiter, "Gift")
        burst = await limiter.check_limit("user", "Gift")
        assert (burst.denied_by, burst.retry_after) == ("burst", 0.334)
        await clock.advance(burst.retry_after)
        assert (await limiter.check_limit("user", "Gift")).allowed
        await in_a_minute(limiter, clock, "Gift", 20)
        minute = await limiter.check_limit("user", "Gift")
        assert minute.denied_by == "per_minute"
        await clock.advance(minute.retry_after)
        assert (await limiter.check_limit("user", "Gift")).allowed


class TestTime:
    async def test_14_the_minute_slides(self, limiter: RateLimiter, clock: ManualClock) -> None:
        await clock.advance(59)
        for _ in range(10):
            assert (await limiter.check_limit("user", "Gift")).allowed
            await clock.advance(0.4)
        assert not (await limiter.check_limit("user", "Gift")).allowed
        await clock.advance(56)
        assert (await limiter.check_limit("user", "Gift")).allowed
        assert not (await limiter.check_limit("user", "Gift")).allowed

    async def test_15_the_bucket_refills_at_the_burst_and_never_beyond(
        self, limiter: RateLimiter, clock: ManualClock
    ) -> None:
        assert await at_once(limiter, "Business") == 20
        await clock.advance(0.25)
        assert await at_once(limiter, "Business") == 5
        await clock.advance(3_600)
        assert await at_once(limiter, "Business") == 20

    async def test_16_a_denied_request_consumes_nothing(
        self, limiter: RateLimiter, clock: ManualClock
    ) -> None:
        assert await at_once(limiter, "Gift") == 3
        await clock.advance(1)
        assert (await limiter.peek("user", "Gift")).remaining == 7
        assert await at_once(limiter, "Gift") == 3

    async def test_17_a_reset_makes_it_as_new(self, limiter: RateLimiter, store: Store) -> None:
        await at_once(limiter, "Gift")
        await limiter.reset("user")
        assert await keys_of(store) == set()
        assert await at_once(limiter, "Gift") == 3


class TestWithoutTheStore:
    @pytest.mark.parametrize(("policy", "allowed"), [("allow", True), ("refuse", False)])
    async def test_18_the_setting_says_whether_it_allows_and_the_log_says_it_did(
        self, clock: ManualClock, policy: str, allowed: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with open_store(UNREACHABLE) as store:
            gate = Gate(store, clock=clock, metrics=Metrics(), rate_policy=policy)
            limiter = RateLimiter(gate, store, tiers=DEFAULT_TIER_LIMITS)
            with caplog.at_level(logging.WARNING):
                decision = await limiter.check_limit("user", "Gift")
        assert decision.allowed is allowed
        assert ("allowed without checking" in caplog.text) is allowed


class TestLoad:
    async def test_19_limits_follow_the_load(self, limiter: RateLimiter) -> None:
        limiter.load = lambda: 0.5
        assert await at_once(limiter, "Business") == 10
