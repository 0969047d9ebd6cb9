"""How fast a user may ask: a sliding minute and a burst per second, by tier and operation.

Owns the rate limiter's answers. Apart from billing: it knows nothing of credits, and neither check
stands in for the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from deal_sdk.errors import InvalidInputError, StoreUnavailableError
from deal_sdk.limits.decisions import LimitState
from deal_sdk.limits.gate import Gate
from deal_sdk.limits.rules import LimitKind, RateRule, UserKey, check_id, rate_field
from deal_sdk.limits.store import Store
from deal_sdk.settings import TierLimits

DEFAULT_OPERATION: Final = "default"
STORE_RETRY_SECONDS: Final = 1.0
DENIED_BY_STORE: Final = "store_unavailable"


@dataclass(frozen=True, slots=True)
class RateDecision:
    """Whether a request may go on; times in seconds."""

    allowed: bool
    remaining: int
    """Requests left in the present minute."""
    limit: int
    """Requests in a minute."""
    reset_after: float
    """Until both limits are as if unused."""
    retry_after: float
    """Until the same request would be allowed; 0 when it is."""
    denied_by: str | None = None
    """"per_minute", "burst", or "store_unavailable" where the policy refuses without the store."""


class RateLimiter:
    """Checks requests against their tier's limits."""

    def __init__(self, gate: Gate, store: Store, *, tiers: Mapping[str, TierLimits]) -> None:
        """Keep the parts; nothing is asked yet.

        Args:
            gate: counts, and knows whether to allow or refuse while the store is down.
            store: where a reset deletes.
            tiers: limits by tier name.
        """
        self._gate = gate
        self._store = store
        self._tiers = dict(tiers)

    async def check_limit(
        self, user_id: UserKey, tier: str, operation: str = DEFAULT_OPERATION, *, cost: int = 1
    ) -> RateDecision:
        """Count a request if both limits allow it; a denied one consumes nothing.

        Args:
            user_id: a user, or any other key such as an address.
            tier: one of the configured tiers.
            operation: counted apart from other operations.
            cost: how many requests it stands for.

        Raises:
            InvalidInputError: for an unknown tier, or a cost beyond what the tier ever allows.
        """
        rule = self._rule(user_id, tier, operation, cost)
        try:
            decision = await self._gate.take([rule])
        except StoreUnavailableError:
            return RateDecision(
                False, 0, rule.per_minute, STORE_RETRY_SECONDS, STORE_RETRY_SECONDS, DENIED_BY_STORE
            )
        if decision.degraded:
            return RateDecision(True, rule.per_minute, rule.per_minute, 0.0, 0.0)
        return _decision(decision.states, allowed=decision.allowed)

    async def peek(self, user_id: UserKey, tier: str, operation: str = DEFAULT_OPERATION) -> RateDecision:
        """Return what a request would be told, without counting or writing anything.

        Raises:
            InvalidInputError: for an unknown tier.
            StoreUnavailableError: when the store failed.
        """
        states = await self._gate.peek([self._rule(user_id, tier, operation, 1)])
        return _decision(states, allowed=all(state.allowed for state in states))

    async def reset(self, user_id: UserKey, operation: str | None = None) -> None:
        """Forget what was counted for a user: one operation, or all.

        Raises:
            StoreUnavailableError: when the store failed.
        """
        check_id("user_id", str(user_id))
        key = self._gate.keys.rates(user_id)
        if operation is None:
            await self._store.command("DEL", key)
            return
        check_id("operation", operation)
        fields = (rate_field(operation, kind) for kind in (LimitKind.PER_MINUTE, LimitKind.BURST))
        await self._store.command("HDEL", key, *fields)

    def rule_for(self, user_id: UserKey, tier: str, operation: str = DEFAULT_OPERATION) -> RateRule:
        """Return the tier's rule, for a reservation together with other limits.

        Raises:
            InvalidInputError: for an unknown tier.
        """
        return self._rule(user_id, tier, operation, 1)

    def _rule(self, user_id: UserKey, tier: str, operation: str, cost: int) -> RateRule:
        limits = self._tiers.get(tier)
        if limits is None:
            raise InvalidInputError(f"there is no tier {tier!r:.64}", known_tiers=sorted(self._tiers))
        return RateRule(user_id, operation, tier, limits.per_minute, limits.burst_per_second, cost)


def _decision(states: Sequence[LimitState], *, allowed: bool) -> RateDecision:
    window = next(state for state in states if state.limit.kind is LimitKind.PER_MINUTE)
    refused = [state for state in states if not state.allowed]
    worst = max(refused, key=lambda state: state.retry_after_seconds, default=None)
    return RateDecision(
        allowed=allowed,
        remaining=max(window.maximum - window.current, 0),
        limit=window.maximum,
        reset_after=max(state.reset_after_seconds for state in states),
        retry_after=worst.retry_after_seconds if worst else 0.0,
        denied_by=str(worst.limit.kind) if worst else None,
    )
