"""The gate against a plain model: count, amount, window and bucket, reserved together over any history."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from deal_sdk.clock import ManualClock
from deal_sdk.limits import AmountRule, Gate, PurchaseRule, RateRule, Reservation, open_store
from deal_sdk.metrics import Metrics

USER = "user"
PERIOD_MS, RESERVED_MS, MINUTE_MS = 90_000, 40_000, 60_000
UNIT_MS = 20
"""A hit in a window is noted at the end of so many milliseconds."""
MAX_PURCHASES, MAX_AMOUNT, PER_MINUTE, BURST = 4, 2**60, 7, 3
NAMES = st.sampled_from("abcdefgh")
AMOUNTS = st.sampled_from((1, 10**9 - 1, 10**9, 2**53 + 1, 2**59, 2**60))
WAITS_MS = st.one_of(
    st.sampled_from((0, 1, 333, 334, 1_000, 40_000, 50_000, 59_999, 60_000, 90_000)), st.integers(0, 95_000)
)


@dataclass
class Held:
    """What one reservation took, and until when it can be given back."""

    amount: int
    cost: int
    ends_ms: int
    sum_ends_ms: int
    at_ms: int
    expires_ms: int
    is_committed: bool = False


@dataclass
class Model:
    """Every limit in its plainest form; time in whole milliseconds."""

    now_ms: int = 0
    count: int = 0
    ends_ms: int = 0
    spent: int = 0
    sum_ends_ms: int = 0
    hits: list[tuple[int, int]] = field(default_factory=list)
    tokens: int = BURST * 1_000
    held: dict[str, Held] = field(default_factory=dict)

    def wait(self, wait_ms: int) -> None:
        self.now_ms += wait_ms
        self.tokens = min(BURST * 1_000, self.tokens + wait_ms * BURST)
        self.hits = [(at, hits) for at, hits in self.hits if at + MINUTE_MS > self.now_ms]
        if self.now_ms >= self.ends_ms:
            self.count = self.ends_ms = 0
        if self.now_ms >= self.sum_ends_ms:
            self.spent = self.sum_ends_ms = 0
        self.held = {name: held for name, held in self.held.items() if held.expires_ms > self.now_ms}

    def used(self) -> list[int]:
        in_bucket = BURST - self.tokens // 1_000
        return [self.count, self.spent, sum(hits for _, hits in self.hits), in_bucket]

    def refusing(self, amount: int, cost: int) -> list[str]:
        return [
            name
            for name, refuses in (
                ("purchase:MINT", self.count >= MAX_PURCHASES),
                ("amount:MINT", self.spent + amount > MAX_AMOUNT),
                ("rate:op:per_minute", sum(hits for _, hits in self.hits) + cost > PER_MINUTE),
                ("rate:op:burst", self.tokens < cost * 1_000),
            )
            if refuses
        ]

    def take(self, name: str, amount: int, cost: int) -> None:
        self.count, self.ends_ms = self.count + 1, self.ends_ms or self.now_ms + PERIOD_MS
        self.spent, self.sum_ends_ms = self.spent + amount, self.sum_ends_ms or self.now_ms + PERIOD_MS
        noted_ms = -(-self.now_ms // UNIT_MS) * UNIT_MS
        self.hits.append((noted_ms, cost))
        self.tokens -= cost * 1_000
        expires_ms = self.now_ms + RESERVED_MS
        self.held[name] = Held(amount, cost, self.ends_ms, self.sum_ends_ms, noted_ms, expires_ms)

    def cancel(self, name: str) -> str:
        held = self.held.get(name)
        if held is None or held.is_committed:
            return "absent" if held is None else "committed"
        del self.held[name]
        if self.ends_ms == held.ends_ms:
            self.count -= 1
            self.ends_ms = self.ends_ms if self.count else 0
        if self.sum_ends_ms == held.sum_ends_ms:
            self.spent -= held.amount
            self.sum_ends_ms = self.sum_ends_ms if self.spent else 0
        if (held.at_ms, held.cost) in self.hits:
            self.hits.remove((held.at_ms, held.cost))
        self.tokens = min(BURST * 1_000, self.tokens + held.cost * 1_000)
        return "cancelled"

    def commit(self, name: str) -> str:
        if name not in self.held:
            return "absent"
        self.held[name].is_committed = True
        return "committed"


class GateMachine(RuleBasedStateMachine):
    """Plays reservations, settlements and time on the gate and on the model."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.store = open_store("memory://", test_clock=self.clock)
        self.gate = Gate(
            self.store, clock=self.clock, metrics=Metrics(), reservation_seconds=RESERVED_MS // 1_000
        )
        self.model = Model()

    def teardown(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()

    @rule(name=NAMES, amount=AMOUNTS, cost=st.integers(1, 3))
    def reserve(self, name: str, amount: int, cost: int) -> None:
        held = self.model.held.get(name)
        if held is not None:
            amount, cost = held.amount, held.cost
        decision = self.runner.run(self.gate.reserve(name, self.rules_of(amount, cost)))
        refusing = [] if held is not None else self.model.refusing(amount, cost)
        assert [refusal.limit for refusal in decision.refusals] == refusing
        assert decision.allowed is not bool(refusing)
        if held is None and not refusing:
            self.model.take(name, amount, cost)

    @precondition(lambda self: self.model.held)
    @rule(name=NAMES)
    def cancel(self, name: str) -> None:
        assert self.runner.run(self.gate.cancel(Reservation(name, USER))) == self.model.cancel(name)

    @precondition(lambda self: self.model.held)
    @rule(name=NAMES)
    def commit(self, name: str) -> None:
        assert self.runner.run(self.gate.commit(Reservation(name, USER))) == self.model.commit(name)

    @rule(wait_ms=WAITS_MS)
    def wait(self, wait_ms: int) -> None:
        self.runner.run(self.clock.advance(wait_ms / 1_000))
        self.model.wait(wait_ms)

    @invariant()
    def counts_the_same(self) -> None:
        states = self.runner.run(self.gate.peek(self.rules_of(1, 1)))
        assert [state.current for state in states] == self.model.used()
        assert all(state.current <= state.maximum for state in states)

    @staticmethod
    def rules_of(amount: int, cost: int) -> list[PurchaseRule | AmountRule | RateRule]:
        seconds = PERIOD_MS // 1_000
        return [
            PurchaseRule(USER, "MINT", MAX_PURCHASES, period_seconds=seconds),
            AmountRule(USER, "MINT", amount, MAX_AMOUNT, period_seconds=seconds),
            RateRule(USER, "op", "T", PER_MINUTE, BURST, cost),
        ]


GateMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestGateMachine = GateMachine.TestCase
