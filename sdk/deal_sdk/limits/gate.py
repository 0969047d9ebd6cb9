"""Many limits taken together before a payment, kept after it, given back when it provably did not happen.

Owns reservations: one script call takes all of a payment's limits or none. A reservation that nobody ends
counts as used, because a payment without a verdict may have happened. Never decides whether it happened.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import uuid4

from deal_sdk.clock import Clock
from deal_sdk.errors import IdempotencyConflictError, InvalidInputError, StoreUnavailableError
from deal_sdk.events import EventBus
from deal_sdk.limits.decisions import (
    Decision,
    LimitState,
    PurchaseHistory,
    Reservation,
    Settled,
    refusal_of,
    states_of,
)
from deal_sdk.limits.ids import check_id
from deal_sdk.limits.outages import OutageLog
from deal_sdk.limits.parts import Part, parts_of
from deal_sdk.limits.programs import gate_script, reset_script
from deal_sdk.limits.rules import (
    PURCHASE_KINDS,
    AmountRule,
    CountedRule,
    KeySpace,
    Limit,
    LimitKind,
    RateRule,
    Rule,
    fingerprint,
    period_seconds_of,
    record_tail,
)
from deal_sdk.limits.scripts import Argument, Key, Packed
from deal_sdk.limits.settling import Settlement
from deal_sdk.limits.store import Store
from deal_sdk.limits.telling import LimitTeller
from deal_sdk.metrics import Metrics
from deal_sdk.settings import StorePolicy

logger = logging.getLogger(__name__)

DEFAULT_RESERVATION_SECONDS: Final = 3_600
MAX_RESERVATION_SECONDS: Final = 31 * 86_400
TAKEN_IN_PARTS_SECONDS: Final = 60
"""How long what is taken in several slots for good can be undone while the slots are asked."""
_TIMELESS: Final = {mode: Packed.of((mode, "")) for mode in ("take", "peek")}
"""What a call begins with that reserves nothing and goes by the server's time."""
_MILLISECONDS: Final = 1000


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
            clock: finds the calendar periods and paces the log while the store is down; limits themselves
                go by the store's time.
            metrics: counts decisions by kind of limit.
            keys: the names of the keys.
            history: rebuilds purchase counts that the store lost; without it a lost count starts at zero.
            reservation_seconds: how long a reservation can be cancelled; longer than a payment can stay open.
            events: told when a purchase limit is near or reached, and when a limit refuses.
            rate_policy: what a rate limit without a policy of its own means while the store is down. A
                purchase limit refuses then, unless its rule says otherwise.

        Raises:
            InvalidInputError: for a reservation time of zero or over 31 days.
        """
        _check_reservation_seconds(reservation_seconds)
        self._store = store
        self._clock = clock
        self.keys = replace(keys or KeySpace(), ask_when_lost=history is not None)
        self._history = history
        self._reservation_seconds = reservation_seconds
        self._rate_policy = rate_policy
        self._teller = LimitTeller(metrics, events)
        self._settlement = Settlement(store, self.keys)
        self._outages = OutageLog(logger, clock)

    async def reserve(
        self, reservation_id: str, rules: Sequence[Rule], *, reservation_seconds: int | None = None
    ) -> Decision:
        """Take every limit, or none, under an id that makes a repeated call the same call.

        A refusal consumes nothing and is not remembered: the same id may be tried again later. One round
        trip; on a Redis Cluster one for each user or key that the rules are of, in which what was taken is
        given back when a later one refuses. A crash in between leaves it counted, never released.

        Args:
            reservation_id: the payment's id, to be stored with it.
            rules: of any users and keys; the first one's user is the reservation's.
            reservation_seconds: how long it can be cancelled, where that differs from the gate's own.

        Raises:
            StoreUnavailableError: when the store failed and a limit's policy forbids to go on. It may have
                taken the limits all the same; the same id again takes nothing more.
            DatabaseError: when a lost count could not be read from the SQL record.
            IdempotencyConflictError: when the id was used with other limits.
            InvalidInputError: for rules that do not go together.
        """
        check_id("reservation_id", reservation_id)
        if reservation_seconds is not None:
            _check_reservation_seconds(reservation_seconds)
        lifetime_ms = (reservation_seconds or self._reservation_seconds) * _MILLISECONDS
        limits = self.keys.expand(rules, self._clock.now())
        reservation = Reservation(reservation_id, rules[0].user_id)
        parts = parts_of(limits) if self._store.has_slots else (Part(limits[0].tag, limits),)
        if len(parts) > 1:
            return await self._reserve_parts(parts, reservation, lifetime_ms)
        try:
            reply = await self._ask("reserve", parts[0], reservation_id, lifetime_ms)
        except StoreUnavailableError as error:
            return self._without_store(limits, error)
        return self._decide(_status(reply), states_of(reply, limits), limits, reservation)

    async def take(self, rules: Sequence[Rule]) -> Decision:
        """Take every limit, or none, for good: there is no reservation to cancel.

        Args:
            rules: of any users and keys.

        Raises:
            StoreUnavailableError, DatabaseError: as for `reserve`.
            InvalidInputError: for rules that do not go together.
        """
        limits = self.keys.expand(rules, self._clock.now())
        parts = parts_of(limits) if self._store.has_slots else (Part(limits[0].tag, limits),)
        if len(parts) > 1:
            passing = Reservation(str(uuid4()), rules[0].user_id)
            decision = await self._reserve_parts(parts, passing, TAKEN_IN_PARTS_SECONDS * _MILLISECONDS)
            return replace(decision, reservation=None)
        try:
            reply = await self._ask("take", parts[0])
        except StoreUnavailableError as error:
            return self._without_store(limits, error)
        return self._decide(_status(reply), states_of(reply, limits), limits, None)

    async def peek(self, rules: Sequence[Rule]) -> tuple[LimitState, ...]:
        """Return each limit's state and whether it would allow one more, without writing anything.

        Args:
            rules: of any users and keys.

        Raises:
            StoreUnavailableError: when the store failed.
            DatabaseError: when a lost count could not be read from the SQL record.
        """
        limits = self.keys.expand(rules, self._clock.now())
        parts = parts_of(limits) if self._store.has_slots else (Part(limits[0].tag, limits),)
        found: dict[str, LimitState] = {}
        for part in parts:
            for state in states_of(await self._ask("peek", part), part.limits):
                found[state.limit.place] = state
        return tuple(found[limit.place] for limit in limits)

    async def reset(self, rule: CountedRule) -> None:
        """Let what a rule counts begin a new period.

        Raises:
            StoreUnavailableError: when the store failed; calling again is safe.
        """
        lasting_ms = period_seconds_of(rule) * _MILLISECONDS
        if isinstance(rule, AmountRule):
            arguments = ("amount", lasting_ms, "")
        else:
            arguments = ("purchase", lasting_ms, record_tail(rule))
        await self._store.run(reset_script(), self.keys.counted(rule), arguments)

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
        return await self._settlement.settle("commit", reservations)

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
        return await self._settlement.settle("cancel", reservations)

    async def _ask(
        self, mode: str, part: Part, reservation_id: str | None = None, lifetime_ms: int = 0
    ) -> list[Any]:
        limits: Sequence[Limit] = part.limits
        reply = await self._run_script(mode, part, limits, reservation_id, lifetime_ms)
        if reply[0] == b"unknown":
            seeded = [await self._seed(limit) for limit in limits]
            reply = await self._run_script(mode, part, seeded, reservation_id, lifetime_ms)
        if reply[0] == b"apart":
            name = self._store.name
            raise StoreUnavailableError(
                f"the clocks of this machine and of the store {name} are days apart",
                store=name,
                reason="clock",
            )
        return reply

    async def _run_script(
        self,
        mode: str,
        part: Part,
        limits: Sequence[Limit],
        reservation_id: str | None,
        lifetime_ms: int,
    ) -> list[Any]:
        families = 0
        keys: list[Key] = []
        words: list[Argument] = []
        time = self._store.script_time()
        if reservation_id is None:
            words += (mode, time) if time else (_TIMELESS[mode],)
        else:
            keys.append(self.keys.reservation_part(part.tag, reservation_id))
            mark = fingerprint(limits, part.elsewhere)
            words += (mode, time, lifetime_ms, mark, " ".join(part.elsewhere))
        for limit in limits:
            families |= limit.family
            keys.append(limit.packed_keys)
            words.append(limit.packed)
        script = gate_script(families, reserves=reservation_id is not None)
        reply: list[Any] = await self._store.run(script, keys, words)
        return reply

    async def _seed(self, limit: Limit) -> Limit:
        if self._history is None or isinstance(limit.rule, RateRule):
            return limit
        held = await self._history.held(limit.rule)
        if held.ends_at is None:
            return limit.seeded(0, 0)
        count = held.amount_base_units if limit.kind is LimitKind.AMOUNT else held.count
        return limit.seeded(count, int(held.ends_at.timestamp() * _MILLISECONDS))

    async def _reserve_parts(
        self, parts: Sequence[Part], reservation: Reservation, lifetime_ms: int
    ) -> Decision:
        """Take part after part; give back what this very call took when one refuses.

        One after another, in one order, so that of racing callers exactly as many win as there is room. A
        part that an earlier call took under this id is never given back: that call's payment may go on.
        """
        taken: list[Part] = []
        states: list[LimitState] = []
        degraded: list[str] = []
        is_replayed = False
        limits = [limit for part in parts for limit in part.limits]
        for index, part in enumerate(parts):
            try:
                reply = await self._ask("reserve", part, reservation.reservation_id, lifetime_ms)
            except StoreUnavailableError as error:
                degraded += await self._degraded(part, error, taken, reservation)
                continue
            status = _status(reply)
            states += states_of(reply, part.limits)
            if status == "allowed":
                taken.append(part)
            elif status == "replayed":
                is_replayed = True
            else:
                states += await self._peeked(parts[index + 1 :])
                await self._undo(taken, reservation)
                return self._decide(status, tuple(states), limits, reservation)
        status = "replayed" if is_replayed else "allowed"
        held = reservation if taken or is_replayed else None
        return replace(self._decide(status, tuple(states), limits, held), degraded=tuple(degraded))

    async def _degraded(
        self, part: Part, error: StoreUnavailableError, taken: Sequence[Part], reservation: Reservation
    ) -> tuple[str, ...]:
        try:
            return self._without_store(part.limits, error).degraded
        except StoreUnavailableError:
            await self._undo(taken, reservation)
            raise

    async def _peeked(self, parts: Sequence[Part]) -> list[LimitState]:
        """Ask the parts behind a refusal as well, so that it names every limit that refused."""
        states: list[LimitState] = []
        for part in parts:
            try:
                states += states_of(await self._ask("peek", part), part.limits)
            except StoreUnavailableError as error:
                self._outages.say(error, "a refusal may name too few limits")
        return states

    async def _undo(self, parts: Sequence[Part], reservation: Reservation) -> None:
        try:
            await self._settlement.undo(parts, reservation.reservation_id)
        except StoreUnavailableError as error:
            self._outages.say(error, "limits of a refused call stay used")

    def _decide(
        self,
        status: str,
        states: tuple[LimitState, ...],
        limits: Sequence[Limit],
        reservation: Reservation | None,
    ) -> Decision:
        if status == "conflict":
            raise IdempotencyConflictError("the reservation id was used with other limits")
        if status == "replayed":
            self._teller.count(limits, "replayed")
            return Decision(True, reservation=reservation)
        missed = [state for state in states if not state.allowed]
        shadowed = tuple([refusal_of(state) for state in missed if state.limit.rule.shadow])
        if status == "allowed":
            self._teller.allowed(states)
            return Decision(True, reservation=reservation, states=states, shadowed=shadowed)
        self._teller.refused(states)
        refusals = tuple(refusal_of(state) for state in missed if not state.limit.rule.shadow)
        return Decision(False, refusals, states=states, shadowed=shadowed)

    def _without_store(self, limits: Sequence[Limit], error: StoreUnavailableError) -> Decision:
        self._teller.count(limits, "error")
        if any(self._policy_of(limit) == "refuse" for limit in limits):
            raise error
        names = tuple(limit.name for limit in limits)
        self._outages.say(error, f"allowed without checking {', '.join(names)}")
        return Decision(True, degraded=names)

    def _policy_of(self, limit: Limit) -> StorePolicy:
        if limit.rule.shadow:
            return "allow"
        if limit.rule.store_policy is not None:
            return limit.rule.store_policy
        return "refuse" if limit.kind in PURCHASE_KINDS else self._rate_policy


def _check_reservation_seconds(seconds: int) -> None:
    if not 1 <= seconds <= MAX_RESERVATION_SECONDS:
        raise InvalidInputError(f"reservation_seconds must be 1 to {MAX_RESERVATION_SECONDS}")


def _status(reply: list[Any]) -> str:
    status: bytes = reply[0]
    return status.decode()
