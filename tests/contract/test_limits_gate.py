"""The gate's promises, on the in-process store and on a real Redis."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from deal_sdk.clock import ManualClock
from deal_sdk.errors import (
    IdempotencyConflictError,
    InvalidInputError,
    LimitExceededError,
    PurchaseLimitExceededError,
    RateLimitExceededError,
    StoreUnavailableError,
)
from deal_sdk.events import EventBus
from deal_sdk.limits import Gate, PurchaseRule, RateRule, Reservation, Settled, Store
from deal_sdk.metrics import Metrics
from tests.contract.store_backends import BACKENDS, keys_of, opened

USER = "user-123"
COUNT_KEY = "token_purchases:token_buy_count:{user-123}:MINT"
RECORD_KEY = "token_purchases:token_purchase_record:{user-123}:MINT"
RATES_KEY = "deal:rates:{user-123}"


def purchase(max_purchases: int = 2, *, mint: str = "MINT", period_seconds: int = 86_400) -> PurchaseRule:
    return PurchaseRule(USER, mint, max_purchases, period_seconds=period_seconds)


def rate(per_minute: int = 10, burst: int = 3, *, cost: int = 1, operation: str = "transfer") -> RateRule:
    return RateRule(USER, operation, "Gift", per_minute, burst, cost)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture(params=BACKENDS)
async def store(request: pytest.FixtureRequest, clock: ManualClock) -> AsyncIterator[Store]:
    async with opened(request, clock) as store:
        yield store


@pytest.fixture
def gate(store: Store, clock: ManualClock, metrics: Metrics) -> Gate:
    return Gate(store, clock=clock, metrics=metrics)


async def used(gate: Gate, *rules: PurchaseRule | RateRule) -> list[int]:
    return [state.current for state in await gate.peek(rules)]


class TestReserve:
    async def test_takes_every_limit_together(self, gate: Gate) -> None:
        decision = await gate.reserve("payment-1", [purchase(), rate()])

        assert decision.allowed
        assert decision.reservation == Reservation("payment-1", USER)
        assert await used(gate, purchase(), rate()) == [1, 1, 1]

    async def test_takes_nothing_when_one_refuses(self, gate: Gate) -> None:
        await gate.reserve("payment-1", [purchase(1)])

        decision = await gate.reserve("payment-2", [rate(), purchase(1), purchase(5, mint="OTHER")])

        assert not decision.allowed
        assert decision.reservation is None
        assert [refusal.limit for refusal in decision.refusals] == ["purchase:MINT"]
        assert await used(gate, rate(), purchase(1), purchase(5, mint="OTHER")) == [0, 0, 1, 0]

    async def test_names_all_that_refuse_and_the_longest_wait(self, gate: Gate) -> None:
        await gate.reserve("payment-1", [purchase(1), rate(1, 1)])

        decision = await gate.reserve("payment-2", [purchase(1), rate(1, 1)])

        waits = {refusal.limit: refusal.retry_after_seconds for refusal in decision.refusals}
        assert waits == {"purchase:MINT": 86_400, "rate:transfer:per_minute": 60, "rate:transfer:burst": 1}
        with pytest.raises(LimitExceededError) as raised:
            decision.raise_if_refused()
        assert type(raised.value) is LimitExceededError
        assert raised.value.retry_after_seconds == 86_400
        assert set(raised.value.limits) == set(waits)

    async def test_raises_the_error_of_the_kind_that_refused(self, gate: Gate) -> None:
        await gate.take([purchase(1), rate(1, 1)])

        with pytest.raises(PurchaseLimitExceededError):
            (await gate.take([purchase(1)])).raise_if_refused()
        with pytest.raises(RateLimitExceededError):
            (await gate.take([rate(1, 1)])).raise_if_refused()

    async def test_counts_one_reservation_once(self, gate: Gate) -> None:
        rules = [purchase(), rate()]
        first = await gate.reserve("payment-1", rules)
        again = await gate.reserve("payment-1", rules)
        await gate.commit(Reservation("payment-1", USER))
        after_commit = await gate.reserve("payment-1", rules)

        assert first.allowed
        assert again.allowed
        assert after_commit.allowed
        assert again.reservation == first.reservation
        assert await used(gate, *rules) == [1, 1, 1]

    async def test_refuses_one_id_for_other_limits(self, gate: Gate) -> None:
        await gate.reserve("payment-1", [purchase()])

        with pytest.raises(IdempotencyConflictError):
            await gate.reserve("payment-1", [purchase(mint="OTHER")])
        assert await used(gate, purchase(mint="OTHER")) == [0]

    async def test_does_not_remember_a_refusal(self, gate: Gate, clock: ManualClock) -> None:
        await gate.reserve("payment-1", [rate(1, 1)])
        assert not (await gate.reserve("payment-2", [rate(1, 1)])).allowed
        await clock.advance(60)

        assert (await gate.reserve("payment-2", [rate(1, 1)])).allowed

    async def test_lets_exactly_the_maximum_of_racing_callers_through(self, gate: Gate) -> None:
        decisions = await asyncio.gather(
            *(gate.reserve(f"payment-{number}", [purchase(10)]) for number in range(200))
        )

        assert sum(decision.allowed for decision in decisions) == 10

    async def test_refuses_rules_that_do_not_go_together(self, gate: Gate) -> None:
        for rules in (
            [],
            [purchase(1), purchase(2)],
            [rate(10), rate(20)],
        ):
            with pytest.raises(InvalidInputError):
                await gate.reserve("payment-1", rules)
        with pytest.raises(InvalidInputError):
            await gate.reserve("", [purchase()])

    async def test_leaves_no_key_without_an_end(self, gate: Gate, store: Store) -> None:
        await gate.reserve("payment-1", [purchase(), rate()])
        await gate.reserve("payment-2", [purchase(), rate()])
        await gate.commit(Reservation("payment-1", USER))
        await gate.cancel(Reservation("payment-2", USER))

        for key in await keys_of(store):
            assert await store.command("PTTL", key) > 0, key

    async def test_keeps_one_users_keys_in_one_slot(self, gate: Gate, store: Store) -> None:
        await gate.reserve("payment-1", [purchase(), rate()])

        names = await keys_of(store)
        assert {COUNT_KEY.encode(), RECORD_KEY.encode(), RATES_KEY.encode()} < names
        assert all(b"{user-123}" in name for name in names)

    async def test_writes_the_record_for_others_to_read(
        self, gate: Gate, store: Store, clock: ManualClock
    ) -> None:
        rule = PurchaseRule(USER, "MINT", 3, subscription_id='a "quoted" {id}')
        await gate.reserve("payment-1", [rule])
        await clock.advance(5)
        await gate.reserve("payment-2", [rule])

        assert await store.command("GET", COUNT_KEY) == b"2"
        now_ms = int(clock.now().timestamp() * 1000)
        assert json.loads(await store.command("GET", RECORD_KEY)) == {
            "userId": USER,
            "tokenMint": "MINT",
            "currentCount": 2,
            "maxCount": 3,
            "lastPurchaseTimestamp": now_ms,
            "periodEndTimestamp": now_ms - 5_000 + 86_400_000,
            "subscriptionId": 'a "quoted" {id}',
        }

    async def test_consumes_nothing_over_a_value_of_a_wrong_type(self, gate: Gate, store: Store) -> None:
        await store.command("LPUSH", COUNT_KEY, "not a count")

        with pytest.raises(StoreUnavailableError) as raised:
            await gate.reserve("payment-1", [rate(), purchase()])
        assert raised.value.facts["reason"] == "refused"
        assert await keys_of(store) == {COUNT_KEY.encode()}

    async def test_consumes_nothing_over_a_value_that_is_no_number(self, gate: Gate, store: Store) -> None:
        await store.command("SET", COUNT_KEY, "many")

        with pytest.raises(StoreUnavailableError):
            await gate.reserve("payment-1", [rate(), purchase()])
        assert await keys_of(store) == {COUNT_KEY.encode()}

    async def test_runs_again_after_the_scripts_were_flushed(self, gate: Gate, store: Store) -> None:
        await gate.reserve("payment-1", [purchase(5)])
        await store.command_everywhere("SCRIPT", "FLUSH")
        await store.command_everywhere("FUNCTION", "FLUSH")

        second, third, settled = await asyncio.gather(
            gate.reserve("payment-2", [purchase(5)]),
            gate.reserve("payment-3", [purchase(5)]),
            gate.cancel(Reservation("payment-1", USER)),
        )
        assert second.allowed
        assert third.allowed
        assert settled is Settled.CANCELLED
        assert await used(gate, purchase(5)) == [2]


class TestSettle:
    async def test_cancel_gives_back_everything_once(self, gate: Gate) -> None:
        rules = [purchase(), rate()]
        await gate.reserve("payment-1", rules)
        await gate.reserve("payment-2", rules)

        assert await gate.cancel(Reservation("payment-1", USER)) is Settled.CANCELLED
        assert await gate.cancel(Reservation("payment-1", USER)) is Settled.ABSENT
        assert await used(gate, *rules) == [1, 1, 1]

    async def test_cancels_of_one_moment_give_back_each_its_own_hit(
        self, gate: Gate, clock: ManualClock
    ) -> None:
        rule = rate()
        await gate.reserve("payment-1", [rule])
        await clock.advance(0.001)
        await gate.reserve("payment-2", [rule])
        for name in ("payment-1", "payment-2"):
            assert await gate.cancel(Reservation(name, USER)) is Settled.CANCELLED
        assert (await used(gate, rule))[0] == 0

    async def test_commit_ends_what_could_be_cancelled(self, gate: Gate) -> None:
        await gate.reserve("payment-1", [purchase()])

        assert await gate.commit(Reservation("payment-1", USER)) is Settled.COMMITTED
        assert await gate.commit(Reservation("payment-1", USER)) is Settled.COMMITTED
        assert await gate.cancel(Reservation("payment-1", USER)) is Settled.COMMITTED
        assert await used(gate, purchase()) == [1]

    async def test_knows_nothing_of_other_ids(self, gate: Gate) -> None:
        await gate.reserve("payment-1", [purchase()])

        assert await gate.cancel(Reservation("payment-2", USER)) is Settled.ABSENT
        assert await gate.cancel(Reservation("payment-1", "another user")) is Settled.ABSENT
        assert await gate.commit(Reservation("payment-2", USER)) is Settled.ABSENT
        assert await used(gate, purchase()) == [1]

    async def test_works_for_another_gate_with_the_id_alone(
        self, gate: Gate, store: Store, clock: ManualClock
    ) -> None:
        await gate.reserve("payment-1", [purchase(), rate()])
        restarted = Gate(store, clock=clock, metrics=Metrics())

        assert await restarted.cancel(Reservation("payment-1", USER)) is Settled.CANCELLED
        assert await used(gate, purchase(), rate()) == [0, 0, 0]

    async def test_an_expired_reservation_counts_as_used(
        self, store: Store, clock: ManualClock, metrics: Metrics
    ) -> None:
        gate = Gate(store, clock=clock, metrics=metrics, reservation_seconds=30)
        await gate.reserve("payment-1", [purchase()])
        await clock.advance(30)

        assert await gate.cancel(Reservation("payment-1", USER)) is Settled.ABSENT
        assert await used(gate, purchase()) == [1]

    async def test_a_cancel_does_not_reach_into_a_later_period(self, gate: Gate, clock: ManualClock) -> None:
        rule = purchase(period_seconds=60)
        await gate.reserve("payment-1", [rule])
        await clock.advance(60)
        await gate.reserve("payment-2", [rule])

        assert await gate.cancel(Reservation("payment-1", USER)) is Settled.CANCELLED
        assert await used(gate, rule) == [1]

    async def test_a_cancel_does_not_fill_a_bucket_beyond_its_capacity(
        self, gate: Gate, clock: ManualClock
    ) -> None:
        await gate.reserve("payment-1", [rate(100, 3, cost=3)])
        await clock.advance(10)
        await gate.cancel(Reservation("payment-1", USER))

        allowed = [(await gate.take([rate(100, 3)])).allowed for _ in range(5)]
        assert allowed == [True, True, True, False, False]

    async def test_racing_cancels_give_back_once(self, gate: Gate) -> None:
        await gate.reserve("payment-1", [purchase(5)])
        await gate.reserve("payment-2", [purchase(5)])

        outcomes = await asyncio.gather(*(gate.cancel(Reservation("payment-1", USER)) for _ in range(20)))
        assert outcomes.count(Settled.CANCELLED) == 1
        assert await used(gate, purchase(5)) == [1]

    async def test_an_id_can_be_reserved_anew_after_its_cancel(self, gate: Gate) -> None:
        await gate.reserve("payment-1", [purchase()])
        await gate.cancel(Reservation("payment-1", USER))

        assert (await gate.reserve("payment-1", [purchase(), rate()])).allowed
        assert await used(gate, purchase(), rate()) == [1, 1, 1]


class TestPeriod:
    async def test_begins_with_the_first_purchase_and_is_not_extended(
        self, gate: Gate, clock: ManualClock
    ) -> None:
        await gate.take([purchase(2)])
        await clock.advance(86_399)
        second = await gate.take([purchase(2)])
        refused = await gate.take([purchase(2)])
        await clock.advance(1)
        next_period = await gate.take([purchase(2)])

        assert second.allowed
        assert not refused.allowed
        assert refused.retry_after_seconds == 1
        assert next_period.allowed
        assert await used(gate, purchase(2)) == [1]

    async def test_a_count_without_a_record_ends_with_its_key(self, gate: Gate, store: Store) -> None:
        await store.command("SET", COUNT_KEY, "2", "PX", "5000")

        decision = await gate.take([purchase(2)])
        assert not decision.allowed
        assert 0 < decision.retry_after_seconds <= 5

    async def test_a_count_that_lost_its_end_gets_one(self, gate: Gate, store: Store) -> None:
        await store.command("SET", COUNT_KEY, "1")

        assert (await gate.take([purchase(2)])).allowed
        assert 0 < await store.command("PTTL", COUNT_KEY) <= 86_400_000

    async def test_a_lowered_maximum_refuses_at_once(self, gate: Gate) -> None:
        for _ in range(3):
            await gate.take([purchase(5)])

        assert not (await gate.take([purchase(2)])).allowed
        assert (await gate.take([purchase(4)])).allowed


class TestRates:
    async def test_a_window_slides(self, gate: Gate, clock: ManualClock) -> None:
        rule = rate(2, 100)
        await gate.take([rule])
        await clock.advance(40)
        await gate.take([rule])
        await clock.advance(19.999)
        refused = await gate.take([rule])
        await clock.advance(0.001)
        allowed = await gate.take([rule])
        again = await gate.take([rule])

        assert refused.retry_after_seconds == 0.001
        assert allowed.allowed
        assert again.retry_after_seconds == 40

    async def test_a_bucket_loses_no_fraction(self, gate: Gate, clock: ManualClock) -> None:
        rule = rate(1_000, 3)
        for _ in range(3):
            await gate.take([rule])
        for _ in range(3):
            await clock.advance(0.1)
            assert not (await gate.take([rule])).allowed
        await clock.advance(0.033_334)

        assert (await gate.take([rule])).allowed

    async def test_costs_are_taken_whole_or_not_at_all(self, gate: Gate) -> None:
        await gate.take([rate(10, 10, cost=6)])
        refused = await gate.take([rate(10, 10, cost=6)])

        assert {refusal.current for refusal in refused.refusals} == {6}
        assert await used(gate, rate(10, 10)) == [6, 6]

    async def test_operations_are_apart(self, gate: Gate) -> None:
        await gate.take([rate(1, 1)])

        assert (await gate.take([rate(1, 1, operation="mint")])).allowed
        assert not (await gate.take([rate(1, 1)])).allowed

    async def test_a_user_at_the_limit_of_every_tier_fits_in_a_kilobyte(
        self, gate: Gate, store: Store, clock: ManualClock
    ) -> None:
        rule = RateRule("0e0d9ee4-61b0-4eab-9fd2-c0ffee000000", "image_generation", "Business", 100, 20)
        for _ in range(100):
            assert (await gate.take([rule])).allowed
            await clock.advance(0.5999)

        (key,) = await keys_of(store)
        assert len(key) + len(await store.command("GET", key)) < 280

    async def test_a_large_limit_keeps_a_short_log(
        self, gate: Gate, store: Store, clock: ManualClock
    ) -> None:
        rule = rate(100_000, 100_000)
        for _ in range(400):
            await gate.take([rule])
            await clock.advance(0.25)

        assert len(await store.command("GET", RATES_KEY)) < 512
        (per_minute, _) = await gate.peek([rule])
        assert 240 <= per_minute.current <= 243

    async def test_peek_writes_nothing(self, gate: Gate, store: Store) -> None:
        states = await gate.peek([purchase(), rate()])

        assert [state.allowed for state in states] == [True, True, True]
        assert await keys_of(store) == set()


class TestTelling:
    async def test_counts_decisions_by_kind(self, gate: Gate, metrics: Metrics) -> None:
        await gate.reserve("payment-1", [purchase(1), rate()])
        await gate.reserve("payment-2", [purchase(1), rate()])

        text = metrics.render().decode()
        assert 'limit_checks_total{limit="purchase",outcome="allowed"} 1.0' in text
        assert 'limit_checks_total{limit="purchase",outcome="refused"} 1.0' in text

    async def test_publishes_each_limit_that_refused(self, store: Store, clock: ManualClock) -> None:
        events = EventBus(clock)
        gate = Gate(store, clock=clock, metrics=Metrics(), events=events)
        async with events.listen() as heard:
            await gate.take([purchase(1), rate(1, 10)])
            filled = await anext(heard)
            await gate.take([purchase(1), rate(1, 10)])
            first, second = await anext(heard), await anext(heard)
        assert (filled.type, filled.data["refused"], filled.data["current"]) == (
            "purchase_limit_reached",
            False,
            1,
        )
        assert first.data["refused"]

        assert (first.type, first.data["user"], first.data["token_mint"]) == (
            "purchase_limit_reached",
            USER,
            "MINT",
        )
        assert (second.type, second.data["tier"], second.data["operation"]) == (
            "rate_limit_hit",
            "Gift",
            "transfer",
        )
