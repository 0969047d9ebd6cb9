"""Defects that other limiters were seen to have: each is a test by its name."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from deal_sdk.clock import ManualClock
from deal_sdk.errors import StoreUnavailableError
from deal_sdk.limits import AmountRule, CalendarWindow, Gate, PurchaseRule, RateRule, Reservation, Store
from deal_sdk.metrics import Metrics
from tests.contract.store_backends import keys_of

USER = "user-123"
COUNT_KEY = "token_purchases:token_buy_count:{user-123}:MINT"
RECORD_KEY = "token_purchases:token_purchase_record:{user-123}:MINT"
RATES_KEY = "deal:rates:{user-123}"


@pytest.fixture
def gate(store: Store, clock: ManualClock) -> Gate:
    return Gate(store, clock=clock, metrics=Metrics())


def purchase(maximum: int = 2, **options: Any) -> PurchaseRule:
    return PurchaseRule(USER, "MINT", maximum, **options)


def rate(per_minute: int = 10_000, burst: int = 10_000, cost: int = 1) -> RateRule:
    return RateRule(USER, "search", "Gift", per_minute, burst, cost)


async def allowed_of(gate: Gate, calls: int, *rules: Any) -> int:
    return sum([(await gate.take(rules)).allowed for _ in range(calls)])


class TestLifetimes:
    async def test_a_ttl_that_rounds_to_zero(self, gate: Gate, clock: ManualClock) -> None:
        # A bucket of ten million a second is full again in 100 ns, far below Redis' millisecond.
        assert await allowed_of(gate, 3, rate(10_000_000, 10_000_000)) == 3
        assert await allowed_of(gate, 5, purchase(2, period_seconds=1)) == 2

    async def test_a_key_left_without_a_ttl(self, gate: Gate, store: Store) -> None:
        day = CalendarWindow("day", "Europe/Berlin")
        rules = [purchase(), rate(), purchase(9, calendar=day), AmountRule(USER, "MINT", 1, 9)]
        await gate.reserve("payment-1", rules)
        await gate.reserve("payment-2", rules)
        await gate.commit(Reservation("payment-1", USER))
        await gate.cancel(Reservation("payment-2", USER))
        for rule in (purchase(), AmountRule(USER, "MINT", 1, 9)):
            await gate.reset(rule)
        found = await keys_of(store)
        assert len(found) > 5
        for key in found:
            assert 0 < await store.command("PTTL", key) < 3 * 86_400_000, key

    @pytest.mark.parametrize("command", ["PERSIST", "PEXPIRE"])
    async def test_a_ttl_that_was_lost_or_changed_decides_nothing(
        self, gate: Gate, store: Store, clock: ManualClock, command: str
    ) -> None:
        await gate.take([purchase(1)])
        for key in (COUNT_KEY, RECORD_KEY):
            await store.command(command, key, *(["900000000"] if command == "PEXPIRE" else []))
        await clock.advance(86_399)
        assert await allowed_of(gate, 1, purchase(1)) == 0
        await clock.advance(1)
        assert await allowed_of(gate, 2, purchase(1)) == 1

    async def test_a_ttl_renewed_by_every_hit(self, gate: Gate, clock: ManualClock) -> None:
        for _ in range(4):
            await gate.take([purchase(5)])
            await clock.advance(21_600)
        assert [state.current for state in await gate.peek([purchase(5)])] == [0]

    async def test_an_absurd_period(self, gate: Gate, store: Store, clock: ManualClock) -> None:
        year = purchase(1, period_seconds=366 * 86_400)
        assert await allowed_of(gate, 2, year) == 1
        await clock.advance(366 * 86_400)
        assert await allowed_of(gate, 1, year) == 1


class TestNumbers:
    async def test_fractions_lost_at_refill(self, gate: Gate, clock: ManualClock) -> None:
        rule = rate(burst=3)
        await allowed_of(gate, 3, rule)
        count = 0
        for _ in range(100):
            await clock.advance(0.1)
            count += await allowed_of(gate, 1, rule)
        assert count == 30

    async def test_rejected_weighted_hits_that_still_consume(self, gate: Gate) -> None:
        await gate.take([rate(10, 10, cost=7)])
        assert await allowed_of(gate, 5, rate(10, 10, cost=4)) == 0
        assert await allowed_of(gate, 4, rate(10, 10)) == 3

    async def test_refunds_beyond_what_was_taken(self, gate: Gate, clock: ManualClock) -> None:
        rules = [purchase(3), rate(100, 5, cost=5), AmountRule(USER, "MINT", 10**17, 2 * 10**17)]
        await gate.reserve("payment-1", rules)
        await clock.advance(1)
        await asyncio.gather(*(gate.cancel(Reservation("payment-1", USER)) for _ in range(5)))
        assert [state.current for state in await gate.peek(rules)] == [0] * 4
        assert await allowed_of(gate, 9, rate(100, 5)) == 5

    async def test_a_string_compared_with_a_number(self, gate: Gate) -> None:
        # As strings "10" < "9".
        assert await allowed_of(gate, 12, purchase(9)) == 9
        assert await allowed_of(gate, 12, PurchaseRule(USER, "OTHER", 10)) == 10

    async def test_the_epoch_in_scientific_notation(self, gate: Gate, store: Store) -> None:
        await gate.reserve("payment-1", [purchase(), rate()])
        texts = [await store.command("GET", RECORD_KEY), await store.command("GET", RATES_KEY)]
        assert "e+" not in str(texts)

    async def test_integers_beyond_two_to_the_53rd(self, gate: Gate) -> None:
        odd = 2**53 + 1
        await gate.take([AmountRule(USER, "MINT", odd, 2**63 - 1)])
        (state,) = await gate.peek([AmountRule(USER, "MINT", 1, 2**63 - 1)])
        assert (state.current, state.maximum) == (odd, 2**63 - 1)

    async def test_a_float_reply_that_is_cut_off(self, gate: Gate, clock: ManualClock) -> None:
        rule = rate(burst=3)
        await allowed_of(gate, 3, rule)
        refused = await gate.take([rule])
        assert refused.retry_after_seconds == 0.334
        await clock.advance(refused.retry_after_seconds)
        assert await allowed_of(gate, 1, rule) == 1


class TestScripts:
    async def test_evalsha_after_script_flush(self, gate: Gate, store: Store) -> None:
        await gate.take([purchase(9)])
        await store.command_everywhere("SCRIPT", "FLUSH")
        assert await allowed_of(gate, 2, purchase(9)) == 2

    async def test_crossslot(self, gate: Gate) -> None:
        rules = [PurchaseRule(f"user-{number}", "MINT", 1) for number in range(9)]
        assert (await gate.reserve("payment-1", rules)).allowed
        assert not (await gate.reserve("payment-2", rules)).allowed
        await gate.cancel(Reservation("payment-1", "user-0"))
        assert [state.current for state in await gate.peek(rules)] == [0] * 9


class TestClocks:
    async def test_two_clients_whose_clocks_differ(self, store: Store) -> None:
        early, late = ManualClock(), ManualClock()
        await late.advance(10)
        gates = [Gate(store, clock=clock, metrics=Metrics()) for clock in (early, late)]
        decisions = [await gates[number % 2].take([rate(6, 100)]) for number in range(10)]
        assert sum(decision.allowed for decision in decisions) == 6

    @pytest.mark.parametrize("jump_seconds", [0.9, 30, 3_600, 10**7])
    async def test_a_clock_that_jumps_back(self, store: Store, jump_seconds: float) -> None:
        # A failover to a server whose clock is behind: purchases stay counted, and nobody is locked out.
        behind, ahead = ManualClock(), ManualClock()
        await ahead.advance(jump_seconds)
        gate = Gate(store, clock=ahead, metrics=Metrics())
        rules = [purchase(1), rate(5, 5, cost=5)]
        store._test_clock = ahead
        await gate.reserve("payment-1", rules)
        store._test_clock = behind

        allowed = [state.allowed for state in await gate.peek([purchase(1), rate(5, 5)])]
        assert allowed == [False, jump_seconds > 60, jump_seconds > 1]
        await behind.advance(121)
        assert [state.allowed for state in await gate.peek([rate(5, 5)])] == [True, True]
        assert await gate.cancel(Reservation("payment-1", USER)) == "cancelled"
        assert [state.current for state in await gate.peek([purchase(1), rate(5, 5)])] == [0, 0, 0]

    async def test_a_clock_that_jumps_ahead(self, gate: Gate, clock: ManualClock) -> None:
        await gate.reserve("payment-1", [purchase(1), rate(5, 5, cost=5)])
        await clock.advance(10**8)
        assert await allowed_of(gate, 2, purchase(1), rate(5, 5)) == 1
        assert await gate.cancel(Reservation("payment-1", USER)) == "absent"


class TestRaces:
    async def test_twice_the_limit_across_a_fixed_windows_boundary(
        self, gate: Gate, clock: ManualClock
    ) -> None:
        await clock.advance(59.5)
        assert await allowed_of(gate, 15, rate(10)) == 10
        await clock.advance(1)
        assert await allowed_of(gate, 15, rate(10)) == 0

    async def test_check_then_write(self, gate: Gate) -> None:
        decisions = await asyncio.gather(*(gate.take([purchase(10), rate(20)]) for _ in range(25)))
        assert sum(decision.allowed for decision in decisions) == 10

    async def test_a_cancelled_call_leaves_its_reply_to_nobody(self, gate: Gate) -> None:
        for number in range(10):
            calls = [asyncio.create_task(gate.take([PurchaseRule(f"u{n}", "M", 99)])) for n in range(8)]
            for _ in range(number % 4):
                await asyncio.sleep(0)
            for call in calls[::2]:
                call.cancel()
            for n, decision in enumerate(await asyncio.gather(*calls, return_exceptions=True)):
                assert isinstance(decision, asyncio.CancelledError) or (
                    decision.states[0].limit.rule.user_id == f"u{n}" and decision.states[0].maximum == 99
                )


class TestForeignValues:
    @pytest.mark.parametrize("value", ["", "{", '{"currentCount":"x"}', "null", "\xff"])
    async def test_a_corrupt_record_neither_frees_nor_breaks(
        self, gate: Gate, store: Store, value: str
    ) -> None:
        await gate.take([purchase(1)])
        await store.command("SET", RECORD_KEY, value)
        assert await allowed_of(gate, 1, purchase(1)) == 0

    @pytest.mark.parametrize("key", [COUNT_KEY, RECORD_KEY, RATES_KEY])
    async def test_a_wrong_type_refuses_and_consumes_nothing(
        self, gate: Gate, store: Store, key: str
    ) -> None:
        await store.command("LPUSH", key, "foreign")
        strict = RateRule(USER, "search", "Gift", 5, 5, store_policy="refuse")
        with pytest.raises(StoreUnavailableError):
            await gate.reserve("payment-1", [purchase(), strict])
        assert await keys_of(store) == {key.encode()}

    @pytest.mark.parametrize(
        "value",
        ["many", "\nburst:search many\n", "\nper_minute:search many\n", "\nper_minute:search x 1\n", "{}"],
    )
    async def test_a_corrupt_bucket_or_log(self, gate: Gate, store: Store, value: str) -> None:
        await store.command("SET", RATES_KEY, value)
        strict = RateRule(USER, "search", "Gift", 5, 5, store_policy="refuse")
        with pytest.raises(StoreUnavailableError):
            await gate.take([strict])
