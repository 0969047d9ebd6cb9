"""What the gate tells of its decisions: metrics, and events when a limit is reached, near, or hit.

Owns no decision; whoever listens changes nothing for the payment that it is told of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from prometheus_client import Counter

from deal_sdk.events import EventBus
from deal_sdk.limits.decisions import LimitState
from deal_sdk.limits.rules import AmountRule, CountedRule, Limit, LimitKind, RateRule
from deal_sdk.metrics import Metrics

PURCHASE_LIMIT_NEAR: Final = "purchase_limit_near"
PURCHASE_LIMIT_REACHED: Final = "purchase_limit_reached"
RATE_LIMIT_HIT: Final = "rate_limit_hit"
NEAR_PERCENT: Final = 90


class LimitTeller:
    """Counts decisions and publishes what users of the SDK wait for."""

    def __init__(self, metrics: Metrics, events: EventBus | None) -> None:
        """Remember whom to tell; without a bus only the metrics are."""
        self._metrics = metrics
        self._events = events
        # Looked up once for each pair, because a decision counts several.
        self._counters: dict[tuple[LimitKind, str], Counter] = {}

    def count(self, limits: Sequence[Limit], outcome: str) -> None:
        """Count one outcome for each limit."""
        for limit in limits:
            self._counter(limit.kind, outcome).inc()

    def allowed(self, states: Sequence[LimitState]) -> None:
        """Tell of limits that were taken, and of the shadows among them that would have refused."""
        for state in states:
            if not state.allowed:
                self._refused(state)
                continue
            self._counter(state.limit.kind, "allowed").inc()
            rule = state.limit.rule
            if self._events is not None and not isinstance(rule, RateRule):
                self._tell_of_use(rule, state)

    def refused(self, states: Sequence[LimitState]) -> None:
        """Tell of a refusal: which limits refused, and which would have allowed."""
        for state in states:
            if state.allowed:
                self.count((state.limit,), "allowed")
            else:
                self._refused(state)

    def _counter(self, kind: LimitKind, outcome: str) -> Counter:
        found = self._counters.get((kind, outcome))
        if found is None:
            found = self._metrics.limit_checks.labels(limit=kind.value, outcome=outcome)
            self._counters[kind, outcome] = found
        return found

    def _tell_of_use(self, rule: CountedRule, state: LimitState) -> None:
        near = -(-state.maximum * NEAR_PERCENT // 100)
        before = state.current - state.limit.cost
        if state.current == state.maximum:
            self._publish_purchase(PURCHASE_LIMIT_REACHED, rule, state, refused=False)
        elif before < near <= state.current:
            self._publish_purchase(PURCHASE_LIMIT_NEAR, rule, state)

    def _refused(self, state: LimitState) -> None:
        rule = state.limit.rule
        self.count((state.limit,), "shadow" if rule.shadow else "refused")
        if self._events is None:
            return
        if isinstance(rule, RateRule):
            self._events.publish(
                RATE_LIMIT_HIT,
                user=str(rule.user_id),
                subject=rule.subject,
                tier=rule.tier,
                operation=rule.operation,
                **_facts(state),
            )
            return
        self._publish_purchase(PURCHASE_LIMIT_REACHED, rule, state, refused=True)

    def _publish_purchase(self, event_type: str, rule: CountedRule, state: LimitState, **facts: bool) -> None:
        assert self._events is not None
        self._events.publish(
            event_type,
            user=str(rule.user_id),
            token_mint=rule.token_mint,
            category=rule.category,
            subscription_id=None if isinstance(rule, AmountRule) else rule.subscription_id,
            **facts,
            **_facts(state),
        )


def _facts(state: LimitState) -> dict[str, Any]:
    return {
        "limit": state.limit.name,
        "current": state.current,
        "maximum": state.maximum,
        "retry_after_seconds": state.retry_after_seconds,
        "shadow": state.limit.rule.shadow,
    }
