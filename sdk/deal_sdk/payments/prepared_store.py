"""Prepared transactions and their payments, changed together: signed, expired, or prepared anew.

Every change takes the payment's lock first. So a signature cannot be committed for what has just been
declared dead, and nothing is declared dead whose signature has just been committed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.chain import SignedTransaction
from deal_sdk.clock import Clock
from deal_sdk.errors import PreparedTransactionNotFoundError
from deal_sdk.payments.attempts import AttemptStore, LiveAttempt
from deal_sdk.payments.changes import Change
from deal_sdk.payments.intent_rows import Intent
from deal_sdk.payments.intents import IntentStore
from deal_sdk.payments.outbox import NO_OUTBOX, PaymentOutbox
from deal_sdk.payments.prepared import Prepared, change_status, latest_prepared, to_prepared
from deal_sdk.payments.rails import refuse_when_paused, take_daily
from deal_sdk.payments.reservations import admit
from deal_sdk.payments.settlement import expire_unsigned
from deal_sdk.records import Database, Transaction, row_to_transaction
from deal_sdk.records.purchase_tables import token_purchases
from deal_sdk.records.tables import (
    LIVE_ATTEMPT_STATUSES,
    balance_reservations,
    payment_attempts,
    prepared_transactions,
    token_transactions,
)

MAX_WAITING_PER_LOOK: Final = 500

_prepared = prepared_transactions.c
_payment = token_transactions.c
_attempt = payment_attempts.c


@dataclass(frozen=True, slots=True)
class Waiting:
    """A prepared transaction of a pending payment, and whether it was signed and is being followed."""

    prepared: Prepared
    is_under_way: bool


class PreparedStore:
    """Reads and changes prepared transactions."""

    def __init__(
        self,
        database: Database,
        *,
        intents: IntentStore,
        attempts: AttemptStore,
        clock: Clock,
        outbox: PaymentOutbox = NO_OUTBOX,
    ) -> None:
        """Work on a database, by the rules of intents and attempts, and tell webhooks of ends."""
        self._database = database
        self._intents = intents
        self._attempts = attempts
        self._clock = clock
        self._outbox = outbox

    async def get(self, prepared_id: UUID) -> Prepared:
        """Return a prepared transaction.

        Raises:
            PreparedTransactionNotFoundError: when there is none.
        """
        query = sa.select(prepared_transactions).where(_prepared.id == prepared_id)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        if row is None:
            raise PreparedTransactionNotFoundError(
                "no transaction was prepared under this id", prepared_id=str(prepared_id)
            )
        return to_prepared(row)

    async def latest(self, payment_id: UUID) -> Prepared | None:
        """Return what a payment's owner was last asked to sign."""
        async with self._database.reading() as connection:
            return await latest_prepared(connection, payment_id)

    async def payment(self, payment_id: UUID) -> Transaction:
        """Return a payment as recorded."""
        return await self._attempts.get_payment(payment_id)

    async def waiting(self, payment_id: UUID | None = None) -> Sequence[Waiting]:
        """Return the prepared transactions of pending payments that may be signed or land, oldest first.

        Args:
            payment_id: of this payment alone.
        """
        is_under_way = _live_of(_prepared.payment_id).exists().label("is_under_way")
        query = (
            sa.select(prepared_transactions, is_under_way)
            .join(token_transactions, _payment.id == _prepared.payment_id)
            .where(_payment.status == "pending", _prepared.status.in_(("open", "signed")))
            .order_by(_prepared.created_at, _prepared.id)
            .limit(MAX_WAITING_PER_LOOK)
        )
        if payment_id is not None:
            query = query.where(_prepared.payment_id == payment_id)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).mappings()
            return [Waiting(to_prepared(row), bool(row["is_under_way"])) for row in rows]

    async def commit(self, prepared: Prepared, transaction: SignedTransaction) -> bool:
        """Commit a signature and its bytes, after which they may be sent.

        Args:
            prepared: as it was seen; its payment's next attempt is the transaction.
            transaction: the prepared message with every signature.

        Returns:
            False when the prepared transaction moved on meanwhile, in which case nothing was committed.

        Raises:
            PaymentsPausedError: when the operator stopped payments.
        """

        async def unit(connection: AsyncConnection) -> bool:
            if not await self._is_waiting(connection, prepared.payment_id):
                return False
            if not await change_status(connection, prepared, "signed", self._clock.now()):
                return False
            # Nobody drives it, so whoever has the signature may: here or in another process than prepared it.
            await connection.execute(
                token_transactions.update()
                .where(_payment.id == prepared.payment_id)
                .values(lease_owner=self._attempts.lease_owner)
            )
            made = sa.select(sa.func.max(_attempt.number)).where(_attempt.payment_id == prepared.payment_id)
            last = await connection.scalar(made) or 0
            attempt = LiveAttempt(prepared.payment_id, max(prepared.number, last + 1), transaction)
            (is_ours,) = await self._attempts.add_within(connection, [attempt])
            assert is_ours
            return True

        return await self._database.run(unit)

    async def expire(self, prepared: Prepared, evidence: Mapping[str, Any]) -> Transaction | None:
        """End a payment whose prepared transaction can never land any more, and release all that it held.

        Args:
            prepared: as it was seen when the proof was made.
            evidence: the proof.

        Returns:
            The payment, or None when something was signed or ended meanwhile.
        """
        at = self._clock.now()
        change = Change(prepared.payment_id, prepared.number, "expired", None, evidence, at)

        async def unit(connection: AsyncConnection) -> Transaction | None:
            if not await self._is_waiting(connection, prepared.payment_id):
                return None
            if not await change_status(connection, prepared, "expired", at, evidence):
                return None
            await expire_unsigned(connection, change)
            await self._outbox.settled(connection, [change])
            return await self._lock(connection, prepared.payment_id)

        payment = await self._database.run(unit)
        self._outbox.committed()
        return payment

    async def revive(self, intent: Intent) -> Transaction:
        """Prepare an expired payment anew: its balance is reserved again, by the rules of the first time.

        Args:
            intent: of the payment's own id and amount, with what is prepared now.

        Returns:
            The payment; also when another call revived it first, and then nothing is changed.

        Raises:
            InsufficientBalanceError, SafetyRailError, PaymentsPausedError: it stays expired.
        """

        async def unit(connection: AsyncConnection) -> Transaction:
            await refuse_when_paused(connection)
            reserved = await self._intents.lock_and_sum(connection, [intent])
            payment = await self._lock(connection, intent.order.payment_id)
            if payment.status != "expired":
                return payment
            left_today = await self._intents.left_today(connection, [intent])
            refusal = take_daily(left_today, intent.order) or admit(intent.order, intent.funds, reserved)
            if refusal is not None:
                raise refusal
            return await self._reopen(connection, intent)

        return await self._database.run(unit)

    async def _reopen(self, connection: AsyncConnection, intent: Intent) -> Transaction:
        payment_id, now = intent.order.payment_id, self._clock.now()
        assert intent.prepared is not None
        reopened = (
            token_transactions.update()
            .where(_payment.id == payment_id)
            .values(status="pending", signature=None, evidence=None, updated_at=now)
            .returning(token_transactions)
        )
        row = (await connection.execute(reopened)).mappings().one()
        reservation, purchase = balance_reservations, token_purchases
        await connection.execute(
            reservation.update().where(reservation.c.payment_id == payment_id).values(state="live")
        )
        await connection.execute(
            purchase.update()
            .where(purchase.c.payment_id == payment_id)
            .values(state="reserved", updated_at=now)
        )
        await connection.execute(prepared_transactions.insert(), intent.prepared.to_row(now))
        return row_to_transaction(row)

    async def _is_waiting(self, connection: AsyncConnection, payment_id: UUID) -> bool:
        """Lock a payment and return whether it is pending with nothing of it under way."""
        payment = await self._lock(connection, payment_id)
        return payment.status == "pending" and await connection.scalar(_live_of(payment_id)) is None

    @staticmethod
    async def _lock(connection: AsyncConnection, payment_id: UUID) -> Transaction:
        query = sa.select(token_transactions).where(_payment.id == payment_id).with_for_update()
        return row_to_transaction((await connection.execute(query)).mappings().one())


def _live_of(payment_id: Any) -> sa.Select[Any]:
    return sa.select(_attempt.id).where(
        _attempt.payment_id == payment_id, _attempt.status.in_(LIVE_ATTEMPT_STATUSES)
    )
