"""How often a user may buy a token within a period, whichever signal triggered the purchase.

Owns the answers of purchase limits and what is answered while the store is down: a check is allowed, an
increment is refused. Never buys anything.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from deal_sdk.clock import Clock
from deal_sdk.errors import DatabaseError, StoreUnavailableError
from deal_sdk.limits.calendars import CalendarWindow
from deal_sdk.limits.decisions import Reservation, Settled
from deal_sdk.limits.gate import Gate
from deal_sdk.limits.ids import UserKey, check_id
from deal_sdk.limits.outages import OutageLog
from deal_sdk.limits.purchase_listings import CurrentLimit, current_limits
from deal_sdk.limits.purchase_records import PurchasePolicy, PurchaseRecords, PurchaseStats
from deal_sdk.limits.purchase_reports import PurchaseDimension, PurchaseReport
from deal_sdk.limits.purchase_terms import (
    DEFAULT_TERMS,
    PurchaseCheck,
    PurchaseIncrement,
    PurchaseRecord,
    PurchaseRequest,
    PurchaseTerms,
    longest_period_seconds,
    rules_of,
)
from deal_sdk.limits.rules import DEFAULT_PURCHASE_PERIOD_SECONDS, CountedRule, PurchaseRule
from deal_sdk.limits.store import Store

logger = logging.getLogger(__name__)

INCREMENT_RESERVATION_SECONDS: Final = 60
"""An increment is settled as soon as its row is written; until then it can be taken back."""


class TokenPurchaseTracker:
    """Checks and counts purchases; the gate decides, the SQL record remembers."""

    def __init__(
        self,
        gate: Gate,
        store: Store,
        records: PurchaseRecords,
        *,
        clock: Clock,
        period_seconds: int = DEFAULT_PURCHASE_PERIOD_SECONDS,
    ) -> None:
        """Keep the parts; nothing is asked yet.

        Args:
            gate: counts.
            store: where the gate's records are read from.
            records: the SQL side.
            clock: tells which records are over.
            period_seconds: how long a period lasts from its first purchase.
        """
        self._gate = gate
        self._store = store
        self._records = records
        self._clock = clock
        self._period_seconds = period_seconds
        self._outages = OutageLog(logger, clock)

    async def can_user_purchase_token(
        self, user_id: UserKey, token_mint: str, max_purchases: int, *, terms: PurchaseTerms = DEFAULT_TERMS
    ) -> PurchaseCheck:
        """Say whether the user may buy now, without counting anything.

        When the store fails the answer is yes, because the increment that follows decides.

        Args:
            user_id: any id of the caller's.
            token_mint: what is bought.
            max_purchases: 1 or more in a period.
            terms: another period, and limits by category and amount.

        Raises:
            InvalidInputError: for an empty mint or user, or a limit below 1.
        """
        rules = self._rules(PurchaseRequest(user_id, token_mint, max_purchases, terms=terms))
        try:
            states = await self._gate.peek(rules)
        except (StoreUnavailableError, DatabaseError) as error:
            self._outages.say(error, "the purchase check was answered with yes")
            return PurchaseCheck(True, 0, max_purchases, max_purchases)
        count = states[0].current
        refusing = [state for state in states if not state.allowed]
        return PurchaseCheck(
            can_purchase=terms.shadow or not refusing,
            current_count=count,
            max_count=max_purchases,
            remaining_purchases=max(max_purchases - count, 0),
            refused_by=tuple(state.limit.name for state in refusing),
            retry_after_seconds=max((state.retry_after_seconds for state in refusing), default=0.0),
        )

    async def increment_and_validate_purchase(
        self,
        user_id: UserKey,
        token_mint: str,
        max_purchases: int,
        subscription_id: str | None = None,
        *,
        terms: PurchaseTerms = DEFAULT_TERMS,
        refundable_seconds: int = INCREMENT_RESERVATION_SECONDS,
    ) -> PurchaseIncrement:
        """Count one purchase if every limit allows it, atomically, and record it.

        When the store or the record fails nothing is counted and the answer is no.

        Args:
            user_id: any id of the caller's.
            token_mint: what is bought.
            max_purchases: 1 or more in a period.
            subscription_id: on whose behalf, for the record.
            terms: another period, and limits by category and amount.
            refundable_seconds: how long `refund_purchase` can take it back.

        Raises:
            InvalidInputError: for an empty mint or user, or a limit below 1.
        """
        rules = self._rules(PurchaseRequest(user_id, token_mint, max_purchases, subscription_id, terms))
        reservation = Reservation(str(uuid.uuid4()), user_id)
        try:
            decision = await self._gate.reserve(
                reservation.reservation_id, rules, reservation_seconds=refundable_seconds
            )
        except (StoreUnavailableError, DatabaseError) as error:
            self._outages.say(error, "the purchase was refused")
            return PurchaseIncrement(False, 0, False)
        # In shadow a purchase goes on while the store is down, uncounted; its row is written all the same.
        count = decision.states[0].current if decision.states else 0
        if not decision.allowed:
            names = tuple(refusal.limit for refusal in decision.refusals)
            return PurchaseIncrement(False, count, True, names, decision.retry_after_seconds)
        if not await self._record(reservation, rules, terms):
            return PurchaseIncrement(False, 0, False)
        return PurchaseIncrement(True, count, False, reservation=reservation)

    async def refund_purchase(self, reservation: Reservation) -> bool:
        """Take a counted purchase back, because it provably did not happen.

        Args:
            reservation: as the increment returned it.

        Returns:
            False when it can no longer be taken back, and stays counted: it was before, or its time is over.

        Raises:
            StoreUnavailableError: when the store failed; calling again is safe.
            DatabaseError: when the record failed; the count was given back, and the row still says counted.
        """
        if await self._gate.cancel(reservation) is not Settled.CANCELLED:
            return False
        await self._records.cancel_counted(reservation.reservation_id)
        return True

    async def can_users_purchase_tokens(
        self, requests: Sequence[PurchaseRequest]
    ) -> tuple[PurchaseCheck, ...]:
        """Answer many checks in one round trip, in order.

        Raises:
            InvalidInputError: for the first request that could never be counted.
        """
        checks = (
            self.can_user_purchase_token(r.user_id, r.token_mint, r.max_purchases, terms=r.terms)
            for r in requests
        )
        return tuple(await asyncio.gather(*checks))

    async def increment_and_validate_purchases(
        self, requests: Sequence[PurchaseRequest]
    ) -> tuple[PurchaseIncrement, ...]:
        """Count many purchases in one round trip and one commit, each allowed or refused by itself.

        Raises:
            InvalidInputError: for a request that could never be counted; nothing is counted then.
        """
        for request in requests:
            self._rules(request)
        increments = (
            self.increment_and_validate_purchase(
                r.user_id, r.token_mint, r.max_purchases, r.subscription_id, terms=r.terms
            )
            for r in requests
        )
        return tuple(await asyncio.gather(*increments))

    async def get_purchase_record(self, user_id: UserKey, token_mint: str) -> PurchaseRecord | None:
        """Return the running rolling period, or None when there is none.

        Raises:
            StoreUnavailableError: when the store failed.
            InvalidInputError: for an empty mint or user.
        """
        check_id("user_id", str(user_id))
        check_id("token_mint", token_mint)
        text = await self._store.command("GET", self._gate.keys.purchase_record(user_id, token_mint))
        record = _parse_record(text)
        return record if record is not None and record.period_ends_at > self._clock.now() else None

    async def get_user_token_purchases(self, user_id: UserKey) -> tuple[PurchaseRecord, ...]:
        """Return the user's running periods of all tokens, by mint.

        Raises:
            StoreUnavailableError: when the store failed.
            DatabaseError: when the record failed.
        """
        check_id("user_id", str(user_id))
        mints = await self._records.mints_of(user_id)
        records = await asyncio.gather(*(self.get_purchase_record(user_id, mint) for mint in mints))
        return tuple(record for record in records if record is not None)

    async def current_limits(self, user_id: UserKey) -> tuple[CurrentLimit, ...]:
        """Return how far the user's purchase limits are used: of tokens by mint, then of categories.

        These are the limits that recorded purchases were counted under, calendars, categories and amounts
        included, each held to the maximum of the latest one. Counts that were lost are counted anew.

        Raises:
            StoreUnavailableError: when the store failed.
            DatabaseError: when the record failed.
        """
        check_id("user_id", str(user_id))
        rules = await self._records.rules_of_user(user_id, self._gate.keys, self._period_seconds)
        states = await asyncio.gather(*(self._gate.peek([rule]) for rule in rules))
        return current_limits([state for (state,) in states], self._clock.now())

    async def get_token_purchase_stats(self) -> PurchaseStats:
        """Return the recorded totals.

        Raises:
            DatabaseError: when the record failed.
        """
        return await self._records.stats()

    async def analyze_purchases(
        self,
        by: Sequence[PurchaseDimension] = ("token_mint",),
        *,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> PurchaseReport:
        """Sum recorded purchases up; see `PurchaseRecords.analyze`."""
        return await self._records.analyze(by, since=since, until=until)

    async def cleanup_expired_records(self) -> int:
        """Delete settled rows that no running period can need, and return how many they were.

        Raises:
            DatabaseError: when the record failed.
        """
        now = self._clock.now()
        return await self._records.delete_ended(now, now - timedelta(seconds=self._period_seconds))

    async def reset_purchase_count(
        self, user_id: UserKey, token_mint: str, *, terms: PurchaseTerms | None = None
    ) -> None:
        """Let the user begin a new period; the purchases stay recorded.

        Should the store lose its data before the old period would have ended, purchases that belong to
        payments count again.

        Args:
            user_id: any id of the caller's.
            token_mint: what was bought.
            terms: what they limit begins anew as well, a category included; without any, everything that
                purchases of the token were recorded with.

        Raises:
            StoreUnavailableError: when the store failed; calling again is safe.
            DatabaseError: when the record failed.
        """
        rules = self._rules(PurchaseRequest(user_id, token_mint, 1, terms=terms or DEFAULT_TERMS))
        if terms is None:
            rules = await self._rules_to_reset(rules)
        await self._records.forget(user_id, token_mint, longest_period_seconds(rules))
        await asyncio.gather(*(self._gate.reset(rule) for rule in rules))

    async def set_policy(
        self,
        user_id: UserKey,
        token_mint: str,
        max_purchases: int,
        subscription_id: str | None = None,
        *,
        period_seconds: int | None = None,
        calendar: CalendarWindow | None = None,
        max_amount_base_units: int | None = None,
    ) -> PurchasePolicy:
        """Store how often a user may buy a token; see `PurchaseRecords.set_policy`."""
        return await self._records.set_policy(
            user_id,
            token_mint,
            max_purchases,
            subscription_id,
            period_seconds=period_seconds,
            calendar=calendar,
            max_amount_base_units=max_amount_base_units,
        )

    async def get_policy(self, user_id: UserKey, token_mint: str) -> PurchasePolicy | None:
        """Return the stored policy, or None."""
        return await self._records.get_policy(user_id, token_mint)

    def _rules(self, request: PurchaseRequest) -> tuple[CountedRule, ...]:
        return rules_of(request, self._period_seconds)

    async def _rules_to_reset(self, rules: tuple[CountedRule, ...]) -> tuple[CountedRule, ...]:
        """Add what the record knows: from cancelled rows too, so that a reset that failed can be repeated."""
        (first,) = rules
        keys = self._gate.keys
        known = await self._records.rules_of_user(
            first.user_id, keys, self._period_seconds, token_mint=first.token_mint
        )
        return tuple({keys.counted(rule): rule for rule in (*rules, *known)}.values())

    # A caller that is cancelled here leaves its purchase counted, recorded or not: the safe side.
    async def _record(
        self, reservation: Reservation, rules: tuple[CountedRule, ...], terms: PurchaseTerms
    ) -> bool:
        first = rules[0]
        assert isinstance(first, PurchaseRule)
        try:
            await self._records.add_counted(
                reservation.reservation_id,
                first,
                terms=terms,
                counts_seconds=longest_period_seconds(rules),
            )
        except DatabaseError as error:
            logger.warning("%s; the purchase was refused", error.message)
            await self._give_back(reservation)
            return False
        return True

    async def _give_back(self, reservation: Reservation) -> None:
        try:
            await self._gate.cancel(reservation)
        except StoreUnavailableError as error:
            self._outages.say(error, "a refused purchase stays counted until its period ends")


def _parse_record(text: bytes | None) -> PurchaseRecord | None:
    if text is None:
        return None
    try:
        fields: dict[str, Any] = json.loads(text)
        return PurchaseRecord(
            user_id=fields["userId"],
            token_mint=fields["tokenMint"],
            current_count=fields["currentCount"],
            max_count=fields["maxCount"],
            last_purchase_at=_moment(fields["lastPurchaseTimestamp"]),
            period_ends_at=_moment(fields["periodEndTimestamp"]),
            subscription_id=fields["subscriptionId"],
        )
    except (ValueError, KeyError, TypeError):
        raise StoreUnavailableError("a purchase record cannot be read", reason="malformed") from None


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
