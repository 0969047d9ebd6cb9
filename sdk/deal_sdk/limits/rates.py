"""How fast a user may ask: a sliding minute and a burst per second, by tier and operation.

Owns the rate limiter's answers. Apart from billing: it knows nothing of credits, and neither check
stands in for the other.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from deal_sdk.errors import InvalidInputError, StoreUnavailableError
from deal_sdk.limits.decisions import Decision, LimitState
from deal_sdk.limits.gate import Gate
from deal_sdk.limits.ids import USER_SUBJECT, UserKey, check_id, check_subject, operation_of
from deal_sdk.limits.programs import reset_script
from deal_sdk.limits.rules import WINDOW_SECONDS, LimitKind, RateRule, rate_field
from deal_sdk.limits.store import Store
from deal_sdk.settings import TierLimits

logger = logging.getLogger(__name__)

DEFAULT_OPERATION: Final = "default"
STORE_RETRY_SECONDS: Final = 1.0
DENIED_BY_STORE: Final = "store_unavailable"
IP_SUBJECT: Final = "ip"
API_KEY_SUBJECT: Final = "api_key"
BURST_SECONDS: Final = 1


class LoadSignal(Protocol):
    """Tells how much of every limit holds now, so that limits shrink while the system is busy."""

    def __call__(self) -> float:
        """Return a share from 0 to 1, at which the limits hold in full; it is called at each check."""
        ...


@dataclass(frozen=True, slots=True)
class RateState:
    """One of the two limits of a decision; times in seconds."""

    name: str
    """"per_minute" or "burst"."""
    limit: int
    window_seconds: int
    remaining: int
    reset_after: float
    retry_after: float


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
    states: tuple[RateState, ...] = field(default=(), compare=False)
    """Both limits; empty where the store did not answer."""
    shadow_denied_by: str | None = field(default=None, compare=False)
    """What would have denied it, in shadow mode."""


class RateLimiter:
    """Checks requests against their tier's limits."""

    def __init__(
        self,
        gate: Gate,
        store: Store,
        *,
        tiers: Mapping[str, TierLimits],
        load: LoadSignal | None = None,
        shadow: bool = False,
    ) -> None:
        """Keep the parts; nothing is asked yet.

        Args:
            gate: counts, and knows whether to allow or refuse while the store is down.
            store: where a reset deletes.
            tiers: limits by tier name.
            load: scales every limit down while the system is busy, to 1 at the least.
            shadow: decide and count, and refuse nothing: to try limits out.
        """
        self._gate = gate
        self._store = store
        self._tiers = dict(tiers)
        self._shadow = shadow
        self.load = load
        """May be set at any time; None means that limits hold in full."""

    async def check_limit(
        self,
        user_id: UserKey,
        tier: str,
        operation: str = DEFAULT_OPERATION,
        *,
        cost: int = 1,
        subject: str = USER_SUBJECT,
        limits: TierLimits | None = None,
        shadow: bool | None = None,
    ) -> RateDecision:
        """Count a request if both limits allow it; a denied one consumes nothing.

        Args:
            user_id: a user, or any other key.
            tier: one of the configured tiers.
            operation: counted apart from other operations.
            cost: how many requests it stands for.
            subject: what the key is of: "user", "ip", "api_key" and the like; keys of different subjects
                never meet. A secret key belongs through `hashed_key` first.
            limits: for this call alone, in place of the tier's.
            shadow: for this call alone, in place of the limiter's.

        Raises:
            InvalidInputError: for an unknown tier, or a cost beyond what the tier ever allows.
        """
        rule = self._rule(user_id, tier, operation, cost, subject=subject, limits=limits, shadow=shadow)
        try:
            decision = await self._gate.take([rule])
        except StoreUnavailableError:
            return RateDecision(
                False, 0, rule.per_minute, STORE_RETRY_SECONDS, STORE_RETRY_SECONDS, DENIED_BY_STORE
            )
        if decision.degraded:
            return RateDecision(True, rule.per_minute, rule.per_minute, 0.0, 0.0)
        return rate_decision(decision)

    async def peek(
        self,
        user_id: UserKey,
        tier: str,
        operation: str = DEFAULT_OPERATION,
        *,
        subject: str = USER_SUBJECT,
        limits: TierLimits | None = None,
    ) -> RateDecision:
        """Return what a request would be told, without counting or writing anything.

        Raises:
            InvalidInputError: for an unknown tier.
            StoreUnavailableError: when the store failed.
        """
        rule = self._rule(user_id, tier, operation, 1, subject=subject, limits=limits)
        states = await self._gate.peek([rule])
        return rate_decision(Decision(all(state.allowed for state in states), states=states))

    async def reset(
        self, user_id: UserKey, operation: str | None = None, *, subject: str = USER_SUBJECT
    ) -> None:
        """Forget what was counted for a user or another key: one operation, or all.

        Raises:
            StoreUnavailableError: when the store failed.
        """
        check_id("user_id", str(user_id))
        check_subject(subject)
        key = self._gate.keys.rates(user_id, subject)
        if operation is None:
            await self._store.command("DEL", key)
            return
        check_id("operation", operation)
        fields = [rate_field(operation, kind) for kind in (LimitKind.PER_MINUTE, LimitKind.BURST)]
        await self._store.run(reset_script(), [key], ["rates", *fields])

    async def operations(self, user_id: UserKey, *, subject: str = USER_SUBJECT) -> tuple[str, ...]:
        """Return the operations that something is counted of, sorted.

        Raises:
            StoreUnavailableError: when the store failed.
        """
        check_id("user_id", str(user_id))
        check_subject(subject)
        text: bytes | None = await self._store.command("GET", self._gate.keys.rates(user_id, subject))
        # A line each: "field value".
        lines = (text or b"").decode(errors="replace").strip("\n").splitlines()
        fields = [line.partition(" ")[0] for line in lines]
        return tuple(sorted({operation_of(field) for field in fields}))

    def rule_for(
        self,
        user_id: UserKey,
        tier: str,
        operation: str = DEFAULT_OPERATION,
        *,
        cost: int = 1,
        subject: str = USER_SUBJECT,
        limits: TierLimits | None = None,
    ) -> RateRule:
        """Return the tier's rule, scaled as a check would be, for a reservation together with other limits.

        Raises:
            InvalidInputError: for an unknown tier, or a cost beyond what the tier ever allows.
        """
        return self._rule(user_id, tier, operation, cost, subject=subject, limits=limits)

    def _rule(
        self,
        user_id: UserKey,
        tier: str,
        operation: str,
        cost: int,
        *,
        subject: str,
        limits: TierLimits | None,
        shadow: bool | None = None,
    ) -> RateRule:
        full = limits or self._tiers.get(tier)
        if full is None:
            raise InvalidInputError(f"there is no tier {tier!r:.64}", known_tiers=sorted(self._tiers))
        in_shadow = self._shadow if shadow is None else shadow
        minute, burst = full.per_minute, full.burst_per_second
        if self.load is not None:
            # A cost that the full limits allow stays possible, however little of them holds.
            floor = min(cost, minute, burst) if isinstance(cost, int) else 1
            share = self._share(self.load)
            minute, burst = (max(math.floor(limit * share), floor, 1) for limit in (minute, burst))
        return RateRule(user_id, operation, tier, minute, burst, cost, subject=subject, shadow=in_shadow)

    @staticmethod
    def _share(load: LoadSignal) -> float:
        try:
            share = float(load())
        except Exception:
            logger.exception("the load signal failed; the limits hold in full")
            return 1.0
        if math.isnan(share):
            logger.error("the load signal is no number; the limits hold in full")
            return 1.0
        return min(max(share, 0.0), 1.0)


def hashed_key(secret: str) -> str:
    """Return what stands for a secret key in the store, in logs and in events; it cannot be turned back.

    Args:
        secret: an API key, say, of enough entropy that nobody can try them all.
    """
    return hashlib.blake2b(secret.encode(), digest_size=20, person=b"deal-rate-key").hexdigest()


def rate_decision(decision: Decision) -> RateDecision:
    """Return the gate's answer to rate rules in the rate limiter's words.

    Args:
        decision: with states, of one rate rule or several; `remaining` is of the tightest minute.
    """
    rates = [state for state in decision.states if isinstance(state.limit.rule, RateRule)]
    windows = [state for state in rates if state.limit.kind is LimitKind.PER_MINUTE]
    window = min(windows, key=lambda state: state.maximum - state.current)
    missed = [state for state in rates if not state.allowed]
    worst = _worst([state for state in missed if not state.limit.rule.shadow])
    shadowed = _worst([state for state in missed if state.limit.rule.shadow])
    return RateDecision(
        allowed=decision.allowed,
        remaining=max(window.maximum - window.current, 0),
        limit=window.maximum,
        reset_after=max(state.reset_after_seconds for state in rates),
        retry_after=worst.retry_after_seconds if worst else 0.0,
        denied_by=worst.limit.kind.value if worst else None,
        states=tuple(_state(state) for state in rates),
        shadow_denied_by=shadowed.limit.kind.value if shadowed else None,
    )


def _worst(states: Sequence[LimitState]) -> LimitState | None:
    return max(states, key=lambda state: state.retry_after_seconds, default=None)


def _state(state: LimitState) -> RateState:
    is_minute = state.limit.kind is LimitKind.PER_MINUTE
    return RateState(
        name=state.limit.kind.value,
        limit=state.maximum,
        window_seconds=WINDOW_SECONDS if is_minute else BURST_SECONDS,
        remaining=max(state.maximum - state.current, 0),
        reset_after=state.reset_after_seconds,
        retry_after=state.retry_after_seconds,
    )
