"""Many limits taken together before a payment, kept after it, given back when it provably did not happen.

Owns reservations: one script call takes all of a payment's limits or none. A reservation that nobody ends
counts as used, because a payment without a verdict may have happened. Never decides whether it happened.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Literal, Protocol

from deal_sdk.clock import Clock
from deal_sdk.errors import (
    IdempotencyConflictError,
    InvalidInputError,
    LimitExceededError,
    PurchaseLimitExceededError,
    RateLimitExceededError,
    StoreUnavailableError,
)
from deal_sdk.events import EventBus
from deal_sdk.limits.outages import OutageLog
from deal_sdk.limits.rules import (
    KeySpace,
    Limit,
    LimitKind,
    PurchaseRule,
    RateRule,
    Rule,
    UserKey,
    check_id,
    fingerprint,
)
from deal_sdk.limits.scripts import load_script
from deal_sdk.limits.store import Store
from deal_sdk.metrics import Metrics
from deal_sdk.settings import StorePolicy

logger = logging.getLogger(__name__)

DEFAULT_RESERVATION_SECONDS: Final = 3_600
MAX_RESERVATIONS_PER_COMMAND: Final = 256
MAX_RESERVATION_SECONDS: Final = 31 * 86_400
PURCHASE_LIMIT_REACHED: Final = "purchase_limit_reached"
RATE_LIMIT_HIT: Final = "rate_limit_hit"
_MILLISECONDS: Final = 1000


class Settled(StrEnum):
    """What became of a reservation."""

    COMMITTED = "committed"
    """Its limits stay used; a later cancel changes nothing."""
    CANCELLED = "cancelled"
    """This call gave its limits back."""
    ABSENT = "absent"
    """None is known by that id: never made, cancelled before, or expired, which counts as used."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is needed to end a reservation, also after a restart."""

    reservation_id: str
    user_id: UserKey


@dataclass(frozen=True, slots=True)
class Refusal:
    """One limit that refused: how far it is used, and when to come back."""

    limit: str
    kind: LimitKind
    current: int
    maximum: int
    retry_after_seconds: float


@dataclass(frozen=True, slots=True)
class LimitState:
    """One limit as the decision left it."""

    limit: Limit
    allowed: bool
    current: int
    maximum: int
    retry_after_seconds: float
    reset_after_seconds: float


@dataclass(frozen=True, slots=True)
class Decision:
    """All or nothing: either every limit was taken, or none was and each that refused is named."""

    allowed: bool
    refusals: tuple[Refusal, ...] = ()
    reservation: Reservation | None = None
    degraded: tuple[str, ...] = ()
    """The limits that went unchecked because the store was down and the policy says allow."""
    states: tuple[LimitState, ...] = ()
    """Each limit's state; empty where a reservation made before was returned."""

    @property
    def retry_after_seconds(self) -> float:
        """Return the longest wait among the refusals."""
        return max((refusal.retry_after_seconds for refusal in self.refusals), default=0.0)

    def raise_if_refused(self) -> None:
        """Raise the error that names every limit that refused; return when none did.

        Raises:
            PurchaseLimitExceededError: when only purchase limits refused.
            RateLimitExceededError: when only rate limits refused.
            LimitExceededError: when both did.
        """
        if self.allowed:
            return
        names = tuple(refusal.limit for refusal in self.refusals)
        kinds = {refusal.kind is LimitKind.PURCHASE for refusal in self.refusals}
        error = LimitExceededError
        if kinds == {True}:
            error = PurchaseLimitExceededError
        elif kinds == {False}:
            error = RateLimitExceededError
        text = f"limit reached: {', '.join(names)}; retry after {self.retry_after_seconds:.3f} s"
        raise error(text, limits=names, retry_after_seconds=self.retry_after_seconds)


@dataclass(frozen=True, slots=True)
class HeldPurchases:
    """What the SQL record knows of a running period."""

    count: int
    started_at: datetime | None


class PurchaseHistory(Protocol):
    """The record of truth, asked when the store has no trace of a user's purchases."""

    async def held(self, user_id: UserKey, token_mint: str, period_seconds: int) -> HeldPurchases:
        """Return the purchases that may still count, and when the first of them was made."""
        ...


class Gate:
    """Reserves, commits and cancels the limits of payments, one round trip each."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        metrics: Metrics,
        keys: KeySpace | None = None,
        history: PurchaseHistory | None = None,
        reservation_seconds: int = DEFAULT_RESERVATION_SECONDS,
        events: EventBus | None = None,
        rate_policy: StorePolicy = "allow",
    ) -> None:
        """Keep the parts; nothing is asked of the store yet.

        Args:
            store: where limits are counted; its pipeline joins concurrent calls.
            clock: paces the log while the store is down; limits themselves go by the store's time.
            metrics: counts decisions by kind of limit.
            keys: the names of the keys.
            history: rebuilds purchase counts that the store lost; without it a lost count starts at zero.
            reservation_seconds: how long a reservation can be cancelled; longer than a payment can stay open.
            events: told when a limit refuses.
            rate_policy: what a reservation of rate limits alone gets while the store is down. One with a
                purchase limit is always refused then.

        Raises:
            InvalidInputError: for a reservation time of zero or over 31 days.
        """
        _check_reservation_seconds(reservation_seconds)
        self._store = store
        self._metrics = metrics
        self.keys = replace(keys or KeySpace(), ask_when_lost=history is not None)
        self._history = history
        self._reservation_seconds = reservation_seconds
        self._events = events
        self._rate_policy = rate_policy
        self._outages = OutageLog(logger, clock)

    async def reserve(
        self, reservation_id: str, rules: Sequence[Rule], *, reservation_seconds: int | None = None
    ) -> Decision:
        """Take every limit, or none, under an id that makes a repeated call the same call.

        A refusal consumes nothing and is not remembered: the same id may be tried again later.

        Args:
            reservation_id: the payment's id, to be stored with it.
            rules: of one user.
            reservation_seconds: how long it can be cancelled, where that differs from the gate's own.

        Raises:
            StoreUnavailableError: when the store failed and a purchase limit or the policy forbids to go
                on. It may have taken the limits all the same; the same id again takes nothing more.
            IdempotencyConflictError: when the id was used with other limits.
            InvalidInputError: for rules that do not go together.
        """
        check_id("reservation_id", reservation_id)
        if reservation_seconds is not None:
            _check_reservation_seconds(reservation_seconds)
        limits = self.keys.expand(rules)
        reservation = Reservation(reservation_id, rules[0].user_id)
        try:
            reply = await self._run("reserve", limits, reservation, reservation_seconds)
        except StoreUnavailableError as error:
            return self._without_store(limits, error)
        return self._decide(reply, limits, reservation)

    async def take(self, rules: Sequence[Rule]) -> Decision:
        """Take every limit, or none, for good: there is no reservation to cancel.

        Args:
            rules: of one user.

        Raises:
            StoreUnavailableError: as for `reserve`.
            InvalidInputError: for rules that do not go together.
        """
        limits = self.keys.expand(rules)
        try:
            reply = await self._run("take", limits, None)
        except StoreUnavailableError as error:
            return self._without_store(limits, error)
        return self._decide(reply, limits, None)

    async def peek(self, rules: Sequence[Rule]) -> tuple[LimitState, ...]:
        """Return each limit's state and whether it would allow one more, without writing anything.

        Args:
            rules: of one user.

        Raises:
            StoreUnavailableError: when the store failed.
        """
        limits = self.keys.expand(rules)
        return _states(await self._run("peek", limits, None), limits)

    async def commit(self, reservation: Reservation) -> Settled:
        """Keep what was taken, because the payment happened; repeating it changes nothing.

        Raises:
            StoreUnavailableError: when the store failed; call again, or leave it: what was taken stays taken.
        """
        return (await self.commit_many([reservation]))[0]

    async def commit_many(self, reservations: Sequence[Reservation]) -> list[Settled]:
        """Keep what many reservations took, a few hundred in each command.

        Raises:
            StoreUnavailableError: as for `commit`; some may be committed.
        """
        return await self._settle("commit", reservations)

    async def cancel(self, reservation: Reservation) -> Settled:
        """Give back what was taken, once, because the payment provably did not happen.

        Raises:
            StoreUnavailableError: when the store failed; calling again is safe.
        """
        return (await self.cancel_many([reservation]))[0]

    async def cancel_many(self, reservations: Sequence[Reservation]) -> list[Settled]:
        """Give back what many reservations took, a few hundred in each command.

        Raises:
            StoreUnavailableError: as for `cancel`; some may be cancelled.
        """
        return await self._settle("cancel", reservations)

    async def _settle(
        self, verb: Literal["commit", "cancel"], reservations: Sequence[Reservation]
    ) -> list[Settled]:
        keys = []
        for reservation in reservations:
            check_id("reservation_id", reservation.reservation_id)
            check_id("user_id", str(reservation.user_id))
            keys.append(self.keys.reservation(reservation.user_id, reservation.reservation_id))
        script = load_script("settle", "state", "settle")
        settled: list[Settled] = []
        for start in range(0, len(keys), MAX_RESERVATIONS_PER_COMMAND):
            part = keys[start : start + MAX_RESERVATIONS_PER_COMMAND]
            replies: list[bytes] = await self._store.run(script, part, [verb, self._store.script_time()])
            settled += [Settled(reply.decode()) for reply in replies]
        return settled

    async def _run(
        self,
        mode: str,
        limits: Sequence[Limit],
        reservation: Reservation | None,
        reservation_seconds: int | None = None,
    ) -> list[Any]:
        keys = [key for limit in limits for key in limit.keys]
        if reservation is not None:
            keys.insert(0, self.keys.reservation(reservation.user_id, reservation.reservation_id))
        lifetime_ms = (reservation_seconds or self._reservation_seconds) * _MILLISECONDS
        head = (mode, self._store.script_time(), lifetime_ms, fingerprint(limits), len(limits))
        words = [word for limit in limits for word in limit.words()]
        reply: list[Any] = await self._store.run(load_script("gate", "state", "gate"), keys, [*head, *words])
        if reply[0] == b"unknown":
            return await self._run(mode, await self._seeded(limits), reservation, reservation_seconds)
        return reply

    async def _seeded(self, limits: Sequence[Limit]) -> list[Limit]:
        return [await self._seed(limit, limit.rule) for limit in limits]

    async def _seed(self, limit: Limit, rule: Rule) -> Limit:
        if self._history is None or not isinstance(rule, PurchaseRule):
            return limit
        held = await self._history.held(rule.user_id, rule.token_mint, rule.period_seconds)
        if held.started_at is None:
            return limit.seeded(0, 0)
        ends_at = held.started_at + timedelta(seconds=rule.period_seconds)
        return limit.seeded(held.count, int(ends_at.timestamp() * _MILLISECONDS))

    def _decide(self, reply: list[Any], limits: Sequence[Limit], reservation: Reservation | None) -> Decision:
        status = reply[0].decode()
        if status == "conflict":
            raise IdempotencyConflictError("the reservation id was used with other limits")
        if status == "replayed":
            self._count(limits, "replayed")
            return Decision(True, reservation=reservation)
        states = _states(reply, limits)
        for state in states:
            self._count([state.limit], "allowed" if state.allowed else "refused")
        if status == "allowed":
            return Decision(True, reservation=reservation, states=states)
        refused = [state for state in states if not state.allowed]
        self._publish(refused)
        return Decision(False, tuple(_refusal(state) for state in refused), states=states)

    def _without_store(self, limits: Sequence[Limit], error: StoreUnavailableError) -> Decision:
        self._count(limits, "error")
        bound = any(limit.kind is LimitKind.PURCHASE for limit in limits)
        if bound or self._rate_policy == "refuse":
            raise error
        names = tuple(limit.name for limit in limits)
        self._outages.say(error, f"allowed without checking {', '.join(names)}")
        return Decision(True, degraded=names)

    def _count(self, limits: Sequence[Limit], outcome: str) -> None:
        for limit in limits:
            self._metrics.limit_checks.labels(limit=str(limit.kind), outcome=outcome).inc()

    def _publish(self, refused: Sequence[LimitState]) -> None:
        if self._events is None:
            return
        for state in refused:
            facts = {"limit": state.limit.name, "current": state.current, "maximum": state.maximum}
            facts["retry_after_seconds"] = state.retry_after_seconds
            rule = state.limit.rule
            if isinstance(rule, PurchaseRule):
                self._events.publish(
                    PURCHASE_LIMIT_REACHED,
                    user=str(rule.user_id),
                    token_mint=rule.token_mint,
                    subscription_id=rule.subscription_id,
                    **facts,
                )
            elif isinstance(rule, RateRule):
                self._events.publish(
                    RATE_LIMIT_HIT,
                    user=str(rule.user_id),
                    tier=rule.tier,
                    operation=rule.operation,
                    **facts,
                )


def _check_reservation_seconds(seconds: int) -> None:
    if not 1 <= seconds <= MAX_RESERVATION_SECONDS:
        raise InvalidInputError(f"reservation_seconds must be 1 to {MAX_RESERVATION_SECONDS}")


def _states(reply: list[Any], limits: Sequence[Limit]) -> tuple[LimitState, ...]:
    return tuple(
        LimitState(limit, bool(ok), current, maximum, retry_ms / _MILLISECONDS, reset_ms / _MILLISECONDS)
        for limit, (ok, current, maximum, retry_ms, reset_ms) in zip(limits, reply[1:], strict=True)
    )


def _refusal(state: LimitState) -> Refusal:
    return Refusal(
        limit=state.limit.name,
        kind=state.limit.kind,
        current=state.current,
        maximum=state.maximum,
        retry_after_seconds=state.retry_after_seconds,
    )
