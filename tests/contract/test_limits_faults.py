"""What limits and cache answer while a real Redis is gone, frozen, flushed or in a bad mood."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from deal_sdk.cache import BalanceManager, CachedBalance, CacheManager
from deal_sdk.clock import ManualClock, SystemClock
from deal_sdk.errors import StoreUnavailableError
from deal_sdk.limits import (
    AmountRule,
    CountedRule,
    Gate,
    HeldPurchases,
    PurchaseCheck,
    PurchaseIncrement,
    PurchaseRecords,
    PurchaseRule,
    PurchaseTerms,
    RateLimiter,
    RateRule,
    Reservation,
    Settled,
    Store,
    TokenPurchaseTracker,
    open_store,
)
from deal_sdk.limits.ids import UserKey
from deal_sdk.metrics import Metrics
from deal_sdk.records import Database
from deal_sdk.settings import DEFAULT_TIER_LIMITS
from tests.servers import RedisServer

pytestmark = pytest.mark.redis

TIMEOUT_SECONDS: Final = 0.4
BOUND_SECONDS: Final = 20.0
"""Two thousand that wait for one another would take 800 seconds; a busy machine takes its time too."""
PURCHASE = PurchaseRule("user", "MINT", 5)
RATE = RateRule("user", "transfer", "Gift", 10, 3)


class NothingHeld:
    """A record of purchases without any."""

    async def held(self, rule: CountedRule) -> HeldPurchases:
        return HeldPurchases(0, 0, None)


class Chain:
    async def read_balance(self, token_account: str) -> tuple[int, int]:
        return 5, 100

    async def resolve(self, user_id: UserKey) -> str:
        return "ACCOUNT"

    async def reserved(self, token_account: str, slot: int) -> int:
        return 0


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[Store]:
    async with open_store(redis_server.url, timeout_seconds=TIMEOUT_SECONDS) as store:
        yield store


@pytest.fixture
def gate(store: Store) -> Gate:
    return Gate(store, clock=SystemClock(), metrics=Metrics())


@contextmanager
def within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


def break_server(server: RedisServer, how: str) -> None:
    server.kill() if how == "killed" else server.pause()


BROKEN = pytest.mark.parametrize("how", ["killed", "paused"])


@BROKEN
class TestWithoutStore:
    async def test_a_purchase_is_refused_in_bounded_time(
        self, gate: Gate, redis_server: RedisServer, how: str
    ) -> None:
        await gate.reserve("before", [PURCHASE])
        break_server(redis_server, how)

        with within(BOUND_SECONDS):
            outcomes = await asyncio.gather(
                *(gate.reserve(f"payment-{number}", [RATE, PURCHASE]) for number in range(2_000)),
                return_exceptions=True,
            )
        assert {type(outcome) for outcome in outcomes} == {StoreUnavailableError}
        for settle in (gate.commit, gate.cancel):
            with pytest.raises(StoreUnavailableError):
                await settle(Reservation("before", "user"))

    async def test_rates_follow_the_policy(
        self, store: Store, gate: Gate, redis_server: RedisServer, how: str
    ) -> None:
        strict = Gate(store, clock=SystemClock(), metrics=Metrics(), rate_policy="refuse")
        break_server(redis_server, how)

        decision = await gate.reserve("payment-1", [RATE])
        assert decision.allowed
        assert decision.reservation is None
        assert decision.degraded == ("rate:transfer:per_minute", "rate:transfer:burst")
        with pytest.raises(StoreUnavailableError):
            await strict.reserve("payment-1", [RATE])
        lenient_limiter = RateLimiter(gate, store, tiers=DEFAULT_TIER_LIMITS)
        strict_limiter = RateLimiter(strict, store, tiers=DEFAULT_TIER_LIMITS)
        assert (await lenient_limiter.check_limit("user", "Gift")).allowed
        denied = await strict_limiter.check_limit("user", "Gift")
        assert (denied.allowed, denied.denied_by) == (False, "store_unavailable")

    async def test_checks_of_purchases_are_allowed_and_increments_refused(
        self, store: Store, gate: Gate, redis_server: RedisServer, how: str
    ) -> None:
        clock = ManualClock()
        database = await Database.open("sqlite+aiosqlite://", clock=clock)
        tracker = TokenPurchaseTracker(gate, store, PurchaseRecords(database), clock=clock)
        break_server(redis_server, how)

        checked = await tracker.can_user_purchase_token("user", "MINT", 5)
        counted = await tracker.increment_and_validate_purchase("user", "MINT", 5)
        assert checked == PurchaseCheck(True, 0, 5, 5)
        assert counted == PurchaseIncrement(False, 0, False)
        assert (await tracker.get_token_purchase_stats()).total_purchases == 0
        await database.close()

    async def test_the_cache_reads_its_source(
        self, store: Store, redis_server: RedisServer, how: str
    ) -> None:
        clock, metrics = ManualClock(), Metrics()
        cache = CacheManager(store, "profiles", clock=clock, metrics=metrics)
        balances = BalanceManager(
            store, reader=Chain(), resolver=Chain(), reservations=Chain(), clock=clock, metrics=metrics
        )
        await cache.set("key", "cached")
        break_server(redis_server, how)

        async def load() -> str:
            return "loaded"

        assert await cache.get("key") is None
        assert await cache.get_or_load("key", load) == "loaded"
        assert not await cache.set("key", "value")
        assert not await cache.delete("key")
        assert await balances.get_or_load("ACCOUNT") == CachedBalance(5, 100, 0.0)
        assert await balances.load("ACCOUNT") == CachedBalance(5, 100, 0.0)
        assert await balances.put("ACCOUNT", 1, 1) is None
        assert not await balances.invalidate("ACCOUNT")
        assert (await balances.check_balance("user", "0.00000005")).sufficient
        assert 'cache_requests_total{cache="profiles",outcome="error"}' in metrics.render().decode()

    async def test_everything_goes_on_when_it_is_back(
        self, gate: Gate, redis_server: RedisServer, how: str
    ) -> None:
        await gate.reserve("before", [PURCHASE])
        break_server(redis_server, how)
        with pytest.raises(StoreUnavailableError):
            await gate.reserve("meanwhile", [PURCHASE])
        redis_server.resume() if how == "paused" else redis_server.start()

        assert (await gate.reserve("after", [PURCHASE])).allowed
        assert (await gate.reserve("after", [PURCHASE])).allowed


async def test_an_outage_is_logged_once_and_not_per_call(
    gate: Gate, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.kill()
    with caplog.at_level(logging.WARNING):
        for _ in range(50):
            await gate.take([RATE])
    assert len(caplog.records) == 1
    assert "allowed without checking" in caplog.text


async def test_a_failover_that_lost_acknowledged_writes_is_made_good_from_the_record(
    store: Store, redis_server: RedisServer
) -> None:
    clock = SystemClock()
    database = await Database.open("sqlite+aiosqlite://", clock=clock)
    records = PurchaseRecords(database)
    gate = Gate(store, clock=clock, metrics=Metrics(), history=records)
    tracker = TokenPurchaseTracker(gate, store, records, clock=clock)
    terms = PurchaseTerms(amount_base_units=2**53, max_amount_base_units=2**60)
    keys = [
        f"token_purchases:{name}:{{user}}:MINT"
        for name in ("token_buy_count", "token_purchase_record", "token_buy_amount")
    ]
    await tracker.increment_and_validate_purchase("user", "MINT", 3, terms=terms)
    replicated = [await store.command("GET", key) for key in keys]
    for _ in range(2):
        await tracker.increment_and_validate_purchase("user", "MINT", 3, terms=terms)

    redis_server.restart()
    with redis_server.client() as client:
        for key, value in zip(keys, replicated, strict=True):
            client.set(key, value, px=80_000_000)
    check = await tracker.can_user_purchase_token("user", "MINT", 3, terms=terms)
    counted = await tracker.increment_and_validate_purchase("user", "MINT", 3, terms=terms)
    assert (check.can_purchase, check.current_count) == (False, 3)
    assert counted == PurchaseIncrement(False, 3, True)
    fourth = await tracker.increment_and_validate_purchase("user", "MINT", 4, terms=terms)
    assert fourth == PurchaseIncrement(True, 4, False)
    (amount,) = await gate.peek([AmountRule("user", "MINT", 1, 2**60)])
    assert amount.current == 4 * 2**53
    await database.close()


async def test_a_retry_of_an_unanswered_reservation_takes_nothing_more(
    gate: Gate, redis_server: RedisServer
) -> None:
    await gate.peek([PURCHASE])
    redis_server.pause()
    with pytest.raises(StoreUnavailableError):
        await gate.reserve("payment-1", [PURCHASE])
    redis_server.resume()

    assert (await gate.reserve("payment-1", [PURCHASE])).allowed
    (state,) = await gate.peek([PURCHASE])
    assert state.current == 1


async def test_a_cancelled_call_leaves_no_reply_for_the_next(store: Store, redis_server: RedisServer) -> None:
    for number in range(20):
        await store.command("SET", f"key-{number}", f"value-{number}")
    for round_number in range(20):
        calls = [asyncio.create_task(store.command("GET", f"key-{number}")) for number in range(20)]
        for _ in range(round_number % 6):
            await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        replies = await asyncio.gather(*calls, return_exceptions=True)
        for number, reply in enumerate(replies):
            assert isinstance(reply, asyncio.CancelledError) or reply == f"value-{number}".encode()
        assert await store.command("GET", "key-7") == b"value-7"


async def test_a_timed_out_call_leaves_no_reply_for_the_next(store: Store, redis_server: RedisServer) -> None:
    await store.command("SET", "a", "1")
    await store.command("SET", "b", "2")
    redis_server.pause()
    with pytest.raises(StoreUnavailableError) as raised:
        await store.command("GET", "a")
    assert raised.value.facts["reason"] == "timeout"
    redis_server.resume()

    for _ in range(10):
        assert await store.command("GET", "b") == b"2"


async def test_a_full_server_refuses_with_a_typed_error(gate: Gate, redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.config_set("maxmemory", 1)
        client.config_set("maxmemory-policy", "noeviction")
    with pytest.raises(StoreUnavailableError) as raised:
        await gate.reserve("payment-1", [PURCHASE])
    assert raised.value.facts["answer"] == "OutOfMemoryError"
    with redis_server.client() as client:
        assert client.dbsize() == 0


async def test_a_wrong_password_is_not_repeated(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.acl_setuser("limited", enabled=True, passwords=["+right-secret"], commands=["+ping"])
    url = redis_server.url.replace("redis://", "redis://limited:wrong-secret@")
    async with open_store(url, timeout_seconds=TIMEOUT_SECONDS) as store:
        with pytest.raises(StoreUnavailableError) as raised:
            await store.ping()
        assert (
            "secret" not in f"{store!r} {raised.value!r} {raised.value.to_dict()} {raised.value.__cause__!r}"
        )


async def test_a_closed_store_says_so(redis_server: RedisServer) -> None:
    store = open_store(redis_server.url)
    await store.close()
    await store.close()
    with pytest.raises(StoreUnavailableError):
        await store.ping()


async def test_a_real_clock_rules_without_a_tests_clock(gate: Gate, redis_server: RedisServer) -> None:
    rule = RateRule("user", "transfer", "Gift", 1_000, 50)
    for _ in range(50):
        assert (await gate.take([rule])).allowed
    (window, _) = await gate.peek([rule])
    assert window.current == 50
    assert 55 < window.reset_after_seconds <= 60.6
    first = await gate.reserve("payment-1", [PURCHASE])
    assert 86_399 < first.states[0].reset_after_seconds <= 86_400
    assert await gate.cancel(Reservation("payment-1", "user")) is Settled.CANCELLED


@pytest.mark.parametrize("wait_seconds", [0.05, 0.5999], ids=["in a rush", "all the minute"])
async def test_a_user_with_every_limit_in_use_takes_at_most_a_thousand_bytes(
    redis_server: RedisServer, wait_seconds: float
) -> None:
    clock, user = ManualClock(), "0e0d9ee4-61b0-4eab-9fd2-c0ffee000000"
    mint = "DEALxQ1rYkzjzKLyyoFgZ4tnxN1JvHcKMcKXcx8rGm9"
    business = DEFAULT_TIER_LIMITS["Business"]
    rules = [
        PurchaseRule(user, mint, 1_000, "subscription"),
        RateRule(user, "image_generation", "Business", business.per_minute, business.burst_per_second),
    ]
    async with open_store(redis_server.url, test_clock=clock) as store:
        gate = Gate(store, clock=clock, metrics=Metrics(), history=NothingHeld())
        for _ in range(business.per_minute):
            assert (await gate.take(rules)).allowed
            await clock.advance(wait_seconds)
        keys = await store.command("KEYS", "*")
        assert len(keys) == 3
        assert sum([await store.command("MEMORY", "USAGE", key) for key in keys]) <= 1_000


RACER: Final = """
import asyncio, sys
from deal_sdk.clock import SystemClock
from deal_sdk.limits import Gate, PurchaseRule, open_store
from deal_sdk.metrics import Metrics

async def main():
    async with open_store(sys.argv[1], timeout_seconds=20) as store:
        gate = Gate(store, clock=SystemClock(), metrics=Metrics())
        rule = PurchaseRule("racer", "MINT", 10)
        calls = (gate.reserve(f"{sys.argv[2]}-{n}", [rule]) for n in range(50))
        print(sum(decision.allowed for decision in await asyncio.gather(*calls)))

asyncio.run(main())
"""


def test_two_hundred_tasks_in_four_processes_get_exactly_ten_purchases(redis_server: RedisServer) -> None:
    source = Path(__file__).parents[2] / "sdk"
    environment = {**os.environ, "PYTHONPATH": str(source)}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, redis_server.url, f"process-{number}"],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for number in range(4)
    ]
    assert sum(int(racer.communicate(timeout=200)[0]) for racer in racers) == 10
