"""The scripts against plain models in Python, over arbitrary histories and times."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from deal_sdk.clock import ManualClock
from deal_sdk.limits import Gate, LimitKind, PurchaseRule, RateRule, Reservation, open_store
from deal_sdk.metrics import Metrics

MICROSECONDS = 1_000_000
STEPS = st.one_of(
    st.integers(0, 3_000).map(lambda milliseconds: milliseconds * 1000),
    st.sampled_from((0, 1, 999, 59_999_999, 60_000_000, 60_000_001, 333_333)),
    st.integers(0, 70 * MICROSECONDS),
)


@dataclass
class PlainWindow:
    """Every hit with its time; nothing is ever forgotten."""

    hits_us: list[int] = field(default_factory=list)

    def within_a_minute(self, now_us: int) -> int:
        return sum(now_us - hit_us < 60 * MICROSECONDS for hit_us in self.hits_us)


@dataclass
class PlainBucket:
    """Tokens in exact integers: micro-tokens at a microsecond."""

    burst: int
    tokens: int
    at_us: int = 0

    def refilled(self, now_us: int) -> int:
        return min(self.burst * MICROSECONDS, self.tokens + (now_us - self.at_us) * self.burst)

    def take(self, now_us: int, cost: int) -> bool:
        tokens = self.refilled(now_us)
        if tokens < cost * MICROSECONDS:
            return False
        self.tokens, self.at_us = tokens - cost * MICROSECONDS, now_us
        return True


async def opened_gate(clock: ManualClock, store: Any, **options: Any) -> Gate:
    return Gate(store, clock=clock, metrics=Metrics(), **options)


@given(
    per_minute=st.sampled_from((1, 2, 5, 100, 101, 250)),
    steps=st.lists(st.tuples(STEPS, st.integers(1, 3)), max_size=60),
)
def test_a_window_never_lets_more_than_its_limit_into_any_minute(
    per_minute: int, steps: list[tuple[int, int]]
) -> None:
    granule_us = 20_000 if per_minute <= 100 else 600_000

    async def play() -> None:
        clock, model, now_us = ManualClock(), PlainWindow(), 0
        async with open_store("memory://", test_clock=clock) as store:
            gate = await opened_gate(clock, store)
            for wait_us, cost in steps:
                await clock.advance(wait_us / MICROSECONDS)
                now_us += wait_us
                rule = RateRule("user", "op", "T", per_minute, 10_000, min(cost, per_minute))
                allowed = (await gate.take([rule])).allowed
                fits = model.within_a_minute(now_us) + rule.cost <= per_minute
                # Late by a millisecond's rounding and one granule at most; never early.
                late = model.within_a_minute(now_us - granule_us - 2_000) + rule.cost <= per_minute
                assert not allowed or fits
                assert allowed or not (fits and late)
                if allowed:
                    model.hits_us += [now_us] * rule.cost

    asyncio.run(play())


@given(
    burst=st.sampled_from((1, 3, 7, 20, 9_999_999)),
    steps=st.lists(st.tuples(STEPS, st.integers(1, 9_999_999)), max_size=60),
)
def test_a_bucket_is_exact_to_the_microsecond(burst: int, steps: list[tuple[int, int]]) -> None:
    async def play() -> None:
        clock, now_us = ManualClock(), 0
        model = PlainBucket(burst, burst * MICROSECONDS)
        async with open_store("memory://", test_clock=clock) as store:
            gate = await opened_gate(clock, store)
            for wait_us, cost in steps:
                await clock.advance(wait_us / MICROSECONDS)
                now_us += wait_us
                rule = RateRule("user", "op", "T", 10_000_000, burst, min(cost, burst))
                decision = await gate.peek([rule])
                bucket = next(state for state in decision if state.limit.kind is LimitKind.BURST)
                window = next(state for state in decision if state.limit.kind is LimitKind.PER_MINUTE)
                assert bucket.current == burst - model.refilled(now_us) // MICROSECONDS
                if not bucket.allowed:
                    missing = rule.cost * MICROSECONDS - model.refilled(now_us)
                    assert bucket.retry_after_seconds == math.ceil(math.ceil(missing / burst) / 1000) / 1000
                allowed = (await gate.take([rule])).allowed
                if window.allowed:
                    assert allowed == model.take(now_us, rule.cost)

    asyncio.run(play())


@dataclass
class PlainPurchases:
    """One period at a time: its start, and who holds a place in it."""

    maximum: int
    period_us: int
    started_us: int | None = None
    number: int = 0
    count: int = 0
    held: dict[str, tuple[int, int]] = field(default_factory=dict)
    committed: set[str] = field(default_factory=set)

    def _roll(self, now_us: int) -> None:
        if self.started_us is not None and now_us >= self.started_us + self.period_us:
            self.started_us, self.count = None, 0

    def reserve(self, name: str, now_us: int, expires_us: int) -> bool:
        self._roll(now_us)
        if name in self.held and self.held[name][1] > now_us:
            return True
        if self.count >= self.maximum:
            return False
        if self.started_us is None:
            self.started_us, self.number = now_us, self.number + 1
        self.count += 1
        self.committed.discard(name)
        self.held[name] = (self.number, expires_us)
        return True

    def commit(self, name: str, now_us: int) -> str:
        if name not in self.held or self.held[name][1] <= now_us:
            return "absent"
        self.committed.add(name)
        return "committed"

    def cancel(self, name: str, now_us: int) -> str:
        self._roll(now_us)
        if name not in self.held or self.held[name][1] <= now_us:
            return "absent"
        if name in self.committed:
            return "committed"
        number, _ = self.held.pop(name)
        if self.started_us is not None and number == self.number:
            self.count -= 1
            if self.count == 0:
                self.started_us = None
        return "cancelled"


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(("reserve", "reserve", "commit", "cancel")),
        st.sampled_from("abcdef"),
        st.integers(0, 40).map(lambda seconds: seconds * MICROSECONDS),
    ),
    max_size=60,
)


@given(maximum=st.integers(1, 4), actions=ACTIONS)
@settings(max_examples=100)
def test_purchases_follow_their_reservations(maximum: int, actions: list[tuple[str, str, int]]) -> None:
    period_seconds, reservation_seconds = 90, 50

    async def play() -> None:
        clock, now_us = ManualClock(), 0
        model = PlainPurchases(maximum, period_seconds * MICROSECONDS)
        rule = PurchaseRule("user", "MINT", maximum, period_seconds=period_seconds)
        async with open_store("memory://", test_clock=clock) as store:
            gate = await opened_gate(clock, store, reservation_seconds=reservation_seconds)
            for action, name, wait_us in actions:
                await clock.advance(wait_us / MICROSECONDS)
                now_us += wait_us
                if action == "reserve":
                    expected: Any = model.reserve(name, now_us, now_us + reservation_seconds * MICROSECONDS)
                    assert (await gate.reserve(name, [rule])).allowed == expected
                else:
                    settle = gate.commit if action == "commit" else gate.cancel
                    expected = getattr(model, action)(name, now_us)
                    assert await settle(Reservation(name, "user")) == expected
                (state,) = await gate.peek([rule])
                model._roll(now_us)
                assert 0 <= state.current == model.count <= maximum

    asyncio.run(play())
