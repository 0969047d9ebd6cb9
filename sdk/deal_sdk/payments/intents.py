"""Intents: the payment, its balance reservation and its purchase, recorded in ONE transaction.

Admission happens here and only here. Many intents that arrive together share one transaction, and a
refusal of one undoes no neighbour, because refusals are decided before anything is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.batching import Collector
from deal_sdk.clock import Clock
from deal_sdk.errors import (
    ConstraintError,
    IdempotencyConflictError,
    TokenError,
)
from deal_sdk.payments.fee_claims import OwedFees, attach_fees, owed_fees, take_claim
from deal_sdk.payments.intent_rows import COMPANIONS, Intent, transaction_row
from deal_sdk.payments.orders import Order
from deal_sdk.payments.outbox import NO_OUTBOX, PaymentOutbox
from deal_sdk.payments.rails import SafetyRails, refuse_when_paused, take_daily
from deal_sdk.payments.refunds import refundable, take_refund
from deal_sdk.payments.reservations import Reserved, admit, lock_accounts, sum_reservations
from deal_sdk.records import Database, Transaction, row_to_transaction
from deal_sdk.records.row_inserts import insert_new_rows, insert_rows
from deal_sdk.records.tables import token_transactions

MAX_INTENTS_PER_TRANSACTION: Final = 256


@dataclass(frozen=True, slots=True)
class Recorded:
    """The payment as the database now holds it; `is_new` is false when the key was used before."""

    payment: Transaction
    is_new: bool


IntentResult: TypeAlias = Recorded | BaseException
_Row: TypeAlias = Mapping[Any, Any]


class IntentStore:
    """Records intents, many in one transaction."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        rails: SafetyRails | None = None,
        outbox: PaymentOutbox = NO_OUTBOX,
        lease_owner: UUID | None = None,
    ) -> None:
        """Record into a database: within the rails, leased to a holder, and told to webhooks."""
        self._database = database
        self._lease_owner = lease_owner
        self._rails = rails
        self._outbox = outbox
        self._clock = clock
        self._lane: Collector[Intent, Recorded] = Collector(
            self._create_batch, max_items=MAX_INTENTS_PER_TRANSACTION
        )
        self._keys: Collector[str, _Row | None] = Collector(
            self._find_keys, max_items=MAX_INTENTS_PER_TRANSACTION, max_in_flight=2
        )

    async def create(self, intent: Intent) -> Recorded:
        """Record an intent and reserve its balance, or return the payment that its key stands for.

        Raises:
            InsufficientBalanceError: when the balance less all reservations does not cover it; then
                nothing was recorded.
            IdempotencyConflictError: when the key was used with other input.
            DatabaseError: when the database failed; whether it was recorded is then unknown.
        """
        return await self._lane.submit(intent)

    async def find_by_key(self, idempotency_key: str, fingerprint: str) -> Transaction | None:
        """Return the payment that a key stands for, so that a replay costs no limit.

        Raises:
            IdempotencyConflictError: when the key was used with other input.
        """
        row = await self._keys.submit(idempotency_key)
        if row is None:
            return None
        _check_fingerprint(row, fingerprint)
        return row_to_transaction(row)

    def depths(self) -> list[tuple[str, Callable[[], int]]]:
        """Return how many intents wait for their commit, as a reading for the metrics."""
        return [("intents", lambda: self._lane.depth)]

    async def close(self) -> None:
        """Finish what was submitted."""
        await self._keys.close()
        await self._lane.close()

    async def _find_keys(self, keys: Sequence[str]) -> Sequence[_Row | BaseException | None]:
        try:
            rows = await self._database.read(lambda connection: self._rows_by_key(connection, keys))
        except TokenError as error:
            return [error] * len(keys)
        return [rows.get(key) for key in keys]

    async def _create_batch(self, intents: Sequence[Intent]) -> Sequence[IntentResult]:
        try:
            results = await self._database.run(lambda connection: self._create_in(connection, intents))
        except ConstraintError as error:
            if len(intents) == 1:
                return [error]
        else:
            self._outbox.committed()
            return results
        # One intent broke a constraint (a user removed meanwhile, say); alone, each shows which.
        return [(await self._create_batch([intent]))[0] for intent in intents]

    async def _create_in(self, connection: AsyncConnection, intents: Sequence[Intent]) -> list[IntentResult]:
        await refuse_when_paused(connection)
        keys = [intent.order.idempotency_key for intent in intents if intent.order.idempotency_key]
        # Keys are read under the locks: a payment that another process recorded while this one waited
        # for its account must be found by its key, not counted against its own replay.
        refunds = {intent.order.refund_of for intent in intents if intent.order.refund_of is not None}
        left_to_refund = await refundable(connection, refunds)
        reserved = await self.lock_and_sum(connection, intents)
        claimed = await owed_fees(connection, [intent.order for intent in intents])
        rows = await self._rows_by_key(connection, keys)
        refused: dict[UUID, BaseException] = {}
        accepted: list[Intent] = []
        taken = set(rows)
        left_today = await self.left_today(connection, intents)
        for intent in intents:
            if intent.order.idempotency_key in taken:
                continue
            refusal = _refusal(intent, reserved, left_today, left_to_refund, claimed)
            if refusal is not None:
                refused[intent.order.payment_id] = refusal
                continue
            accepted.append(intent)
            if intent.order.idempotency_key is not None:
                taken.add(intent.order.idempotency_key)
        inserted = await self._insert(connection, accepted)
        await attach_fees(connection, [intent.order for intent in accepted], claimed)
        missing = [key for key in taken - set(rows) if key not in inserted]
        rows |= await self._rows_by_key(connection, missing)
        return [
            refused.get(intent.order.payment_id) or _result(intent.order, inserted, rows)
            for intent in intents
        ]

    async def left_today(self, connection: AsyncConnection, intents: Sequence[Intent]) -> dict[str, int]:
        """Return what each debited wallet may still pay today, by address; nothing without a daily cap."""
        if self._rails is None:
            return {}
        senders = {intent.order.sender.address for intent in intents if intent.order.sender is not None}
        return await self._rails.left_today(connection, senders)

    @staticmethod
    async def _rows_by_key(connection: AsyncConnection, keys: Sequence[str]) -> dict[str, _Row]:
        if not keys:
            return {}
        query = sa.select(token_transactions).where(token_transactions.c.idempotency_key.in_(keys))
        return {row["idempotency_key"]: row for row in (await connection.execute(query)).mappings()}

    async def lock_and_sum(self, connection: AsyncConnection, intents: Sequence[Intent]) -> Reserved:
        """Lock the debited accounts in address order, then sum their reservations by landed slot."""
        senders = {
            intent.order.sender.token_account: intent.order.sender
            for intent in intents
            if intent.funds is not None and intent.order.sender is not None
        }
        if not senders:
            return {}
        await lock_accounts(connection, self._database, senders)
        oldest_slot = min(intent.funds.slot for intent in intents if intent.funds is not None)
        return await sum_reservations(connection, list(senders), oldest_slot)

    async def _insert(
        self, connection: AsyncConnection, accepted: Sequence[Intent]
    ) -> dict[UUID | str, _Row]:
        """Insert what was accepted and return the rows that went in, by payment id and by key."""
        if not accepted:
            return {}
        leased = {"lease_owner": self._lease_owner}
        rows = {
            intent.order.payment_id: transaction_row(intent.order, intent.signed) | leased
            for intent in accepted
        }
        ids = await insert_new_rows(
            connection, token_transactions, list(rows.values()), key="id", unless="idempotency_key"
        )
        new = [intent for intent in accepted if intent.order.payment_id in ids]
        for table, row_of in COMPANIONS:
            companions = [row for intent in new if (row := row_of(intent)) is not None]
            await insert_rows(connection, table, companions)
        by_id: dict[UUID | str, _Row] = {payment_id: rows[payment_id] for payment_id in ids}
        await self._outbox.recorded(connection, list(by_id.values()))
        by_key = {row["idempotency_key"]: row for row in by_id.values() if row["idempotency_key"]}
        return {**by_id, **by_key}


def _refusal(
    intent: Intent,
    reserved: Reserved,
    left_today: dict[str, int],
    left_to_refund: dict[UUID, int],
    claimed: OwedFees,
) -> TokenError | None:
    """Return the first reason against an intent; without one it counts against those that follow."""
    return (
        take_refund(left_to_refund, intent.order)
        or take_claim(claimed, intent.order)
        or take_daily(left_today, intent.order)
        or admit(intent.order, intent.funds, reserved)
    )


def _result(
    order: Order,
    inserted: Mapping[UUID | str, _Row],
    rows: Mapping[str, _Row],
) -> IntentResult:
    if order.payment_id in inserted:
        return Recorded(row_to_transaction(inserted[order.payment_id]), is_new=True)
    # The key was there before, came twice in this batch, or another process inserted it meanwhile.
    key = order.idempotency_key
    assert key is not None
    return _replay(inserted[key] if key in inserted else rows[key], order)


def _replay(row: _Row, order: Order) -> IntentResult:
    try:
        _check_fingerprint(row, order.fingerprint)
    except IdempotencyConflictError as error:
        return error
    return Recorded(row_to_transaction(row), is_new=False)


def _check_fingerprint(row: _Row, fingerprint: str) -> None:
    if row["fingerprint"] != fingerprint:
        raise IdempotencyConflictError(
            "the idempotency key was used before with other input",
            idempotency_key=row["idempotency_key"],
            payment_id=str(row["id"]),
        )
