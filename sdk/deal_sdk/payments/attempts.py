"""Attempts and what becomes of them: signatures committed before any send, verdicts with their evidence.

Every change is guarded by the state it starts from, so that a late or repeated report changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.batching import Collector
from deal_sdk.chain import SignedTransaction
from deal_sdk.clock import Clock
from deal_sdk.errors import ConstraintError, PaymentNotFoundError
from deal_sdk.payments.changes import Change
from deal_sdk.payments.outbox import NO_OUTBOX, PaymentOutbox
from deal_sdk.payments.rails import refuse_when_paused
from deal_sdk.records import Database, Transaction, row_to_transaction
from deal_sdk.records.tables import (
    LIVE_ATTEMPT_STATUSES,
    Json,
    UtcDateTime,
    balance_reservations,
    payment_attempts,
    token_accounts,
    token_purchases,
    token_transactions,
)

MAX_CHANGES_PER_TRANSACTION: Final = 512


@dataclass(frozen=True, slots=True)
class LiveAttempt:
    """A signed transaction that may land."""

    payment_id: UUID
    number: int
    transaction: SignedTransaction


@dataclass(frozen=True, slots=True)
class OpenPayment:
    """A payment that is not final, with its live attempt and how many were made."""

    payment: Transaction
    plan: Mapping[str, Any]
    attempt: LiveAttempt | None
    attempts_made: int


class AttemptStore:
    """Commits attempts before they are sent and settles payments when their end is proven."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        outbox: PaymentOutbox = NO_OUTBOX,
        lease_owner: UUID | None = None,
    ) -> None:
        """Write to a database what a holder leases, and tell webhooks in the same transactions."""
        self._database = database
        self._outbox = outbox
        self._lease_owner = lease_owner
        self._clock = clock
        self._attempts: Collector[LiveAttempt, bool] = Collector(
            self._add_batch, max_items=MAX_CHANGES_PER_TRANSACTION
        )
        self._changes: Collector[Change, None] = Collector(
            self._settle_batch, max_items=MAX_CHANGES_PER_TRANSACTION
        )

    async def add(self, attempt: LiveAttempt) -> bool:
        """Commit an attempt, so that it may be sent.

        Returns:
            True when this very attempt is recorded; False when the payment has another live attempt,
            has ended or is leased to another holder by now, in which case nothing may be sent.
        """
        return await self._attempts.submit(attempt)

    async def settle(self, change: Change) -> None:
        """Commit what became of an attempt, with reservation, purchase and payment together."""
        await self._changes.submit(change)

    async def get_payment(self, payment_id: UUID) -> Transaction:
        """Return a payment as recorded.

        Raises:
            PaymentNotFoundError: when there is none.
        """
        query = sa.select(token_transactions).where(token_transactions.c.id == payment_id)
        for row in await self._database.fetch(query):
            return row_to_transaction(row._mapping)
        raise PaymentNotFoundError("there is no such payment", payment_id=str(payment_id))

    async def find_transaction(self, signature: str) -> SignedTransaction | None:
        """Return the bytes that we signed under a signature, or None for a stranger's."""
        query = sa.select(payment_attempts).where(payment_attempts.c.signature == signature).limit(1)
        for row in await self._database.fetch(query):
            return _signed_transaction(row._mapping, signature)
        return None

    async def open_payments(self, payment_ids: Collection[UUID] | None = None) -> list[OpenPayment]:
        """Return the payments leased here that are not final, oldest first.

        Args:
            payment_ids: ask for these alone.
        """
        payment, attempt = token_transactions.c, payment_attempts.c
        unfinished = payment.status.in_(("pending", "confirmed")) & (payment.lease_owner == self._lease_owner)
        if payment_ids is not None:
            unfinished &= payment.id.in_(payment_ids)
        live = sa.and_(attempt.payment_id == payment.id, attempt.status.in_(LIVE_ATTEMPT_STATUSES))
        query = (
            sa.select(
                token_transactions,
                attempt.number,
                attempt.signature.label("attempt_signature"),
                attempt.signed_bytes,
                attempt.last_valid_block_height,
                attempt.context_slot,
            )
            .select_from(token_transactions.outerjoin(payment_attempts, live))
            .where(unfinished)
            .order_by(payment.created_at, payment.id)
        )
        made = (
            sa.select(attempt.payment_id, sa.func.count())
            .join(token_transactions, payment.id == attempt.payment_id)
            .where(unfinished)
            .group_by(attempt.payment_id)
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).mappings().all()
            counts: dict[UUID, int] = {
                payment_id: count for payment_id, count in await connection.execute(made)
            }
        return [_open_payment(row, counts.get(row["id"], 0)) for row in rows]

    def depths(self) -> list[tuple[str, Callable[[], int]]]:
        """Return how many attempts and verdicts wait for their commit, as readings for the metrics."""
        return [("attempts", lambda: self._attempts.depth), ("verdicts", lambda: self._changes.depth)]

    async def close(self) -> None:
        """Finish what was submitted."""
        await self._attempts.close()
        await self._changes.close()

    async def _add_batch(self, attempts: Sequence[LiveAttempt]) -> Sequence[bool | BaseException]:
        try:
            return await self._database.run(lambda connection: self._add_in(connection, attempts))
        except ConstraintError as error:
            if len(attempts) == 1:
                return [error]
        return [(await self._add_batch([attempt]))[0] for attempt in attempts]

    async def _add_in(self, connection: AsyncConnection, attempts: Sequence[LiveAttempt]) -> list[bool]:
        await refuse_when_paused(connection)
        now = self._clock.now()
        ids = [attempt.payment_id for attempt in attempts]
        # Locked so that a payment can neither end nor be taken over between this look and the insert.
        pending = sa.select(token_transactions.c.id).where(
            token_transactions.c.id.in_(ids),
            token_transactions.c.status == "pending",
            token_transactions.c.lease_owner == self._lease_owner,
        )
        open_ids = set(
            (await connection.execute(pending.order_by(token_transactions.c.id).with_for_update())).scalars()
        )
        rows = [_attempt_row(attempt, now) for attempt in attempts if attempt.payment_id in open_ids]
        if rows:
            await connection.execute(self._database.insert(payment_attempts).on_conflict_do_nothing(), rows)
        live = sa.select(payment_attempts.c.payment_id, payment_attempts.c.signature).where(
            payment_attempts.c.payment_id.in_(ids), payment_attempts.c.status.in_(LIVE_ATTEMPT_STATUSES)
        )
        recorded = {(payment_id, signature) for payment_id, signature in await connection.execute(live)}
        mine = [(attempt.payment_id, attempt.transaction.signature) in recorded for attempt in attempts]
        await self._show_signatures(
            connection, [attempt for attempt, is_mine in zip(attempts, mine, strict=True) if is_mine], now
        )
        return mine

    @staticmethod
    async def _show_signatures(
        connection: AsyncConnection, attempts: Sequence[LiveAttempt], now: datetime
    ) -> None:
        if not attempts:
            return
        update = (
            token_transactions.update()
            .where(token_transactions.c.id == sa.bindparam("b_payment_id"))
            .values(signature=sa.bindparam("b_signature"), updated_at=now)
        )
        await connection.execute(
            update,
            [
                {"b_payment_id": attempt.payment_id, "b_signature": attempt.transaction.signature}
                for attempt in attempts
            ],
        )

    async def _settle_batch(self, changes: Sequence[Change]) -> Sequence[None]:
        await self._database.run(lambda connection: _settle_in(connection, changes, self._outbox))
        self._outbox.committed()
        return [None] * len(changes)


async def _settle_in(connection: AsyncConnection, reported: Sequence[Change], outbox: PaymentOutbox) -> None:
    changes = await _still_true(connection, reported)
    for end, statements in _STATEMENTS.items():
        rows = [_parameters(change) for change in changes if change.end == end]
        if not rows:
            continue
        for statement in statements:
            await connection.execute(statement, rows)
    await outbox.settled(connection, changes)


async def _still_true(connection: AsyncConnection, reported: Sequence[Change]) -> list[Change]:
    """Leave out what is said of attempts that ended, for the payment may be at its next one by now."""
    ids = list({change.payment_id for change in reported})
    # Locked first, so that two workers see each other's ends, and in one order, so that neither waits
    # for the other in a circle.
    lock = sa.select(token_transactions.c.id).where(token_transactions.c.id.in_(ids))
    await connection.execute(lock.order_by(token_transactions.c.id).with_for_update())
    column = payment_attempts.c
    query = sa.select(column.payment_id, column.number).where(
        column.payment_id.in_(ids), column.status.in_(LIVE_ATTEMPT_STATUSES)
    )
    live = {(payment_id, number) for payment_id, number in await connection.execute(query)}
    changes = []
    for change in reported:
        if (change.payment_id, change.number) not in live:
            continue
        changes.append(change)
        if change.end != "confirmed":
            live.discard((change.payment_id, change.number))
    return changes


def _parameters(change: Change) -> dict[str, Any]:
    return {
        "b_payment_id": change.payment_id,
        "b_number": change.number,
        "b_slot": change.slot,
        "b_evidence": dict(change.evidence),
        "b_at": change.at,
        "b_account": change.debited_account,
    }


_AT: Final = sa.bindparam("b_at", type_=UtcDateTime())
_SLOT: Final = sa.bindparam("b_slot", type_=sa.BigInteger())
_EVIDENCE: Final = sa.bindparam("b_evidence", type_=Json)


def _any_of(column: sa.Column[str], values: tuple[str, ...]) -> sa.ColumnElement[bool]:
    # IN expands its list when it runs, which a statement for many rows cannot.
    return sa.or_(*(column == value for value in values))


def _payment(status: str, allowed: tuple[str, ...], **values: Any) -> sa.Update:
    column = token_transactions.c
    return (
        token_transactions.update()
        .where(column.id == sa.bindparam("b_payment_id"), _any_of(column.status, allowed))
        .values(status=status, updated_at=_AT, **values)
    )


def _attempt(status: str) -> sa.Update:
    column = payment_attempts.c
    return (
        payment_attempts.update()
        .where(column.payment_id == sa.bindparam("b_payment_id"))
        .where(column.number == sa.bindparam("b_number"), _any_of(column.status, LIVE_ATTEMPT_STATUSES))
        .values(status=status, evidence=_EVIDENCE, updated_at=_AT)
    )


def _reservation(state: str, landed_slot: Any) -> sa.Update:
    column = balance_reservations.c
    return (
        balance_reservations.update()
        .where(column.payment_id == sa.bindparam("b_payment_id"), column.state != "released")
        .values(state=state, landed_slot=landed_slot)
    )


def _purchase(state: str) -> sa.Update:
    column = token_purchases.c
    return (
        token_purchases.update()
        .where(column.payment_id == sa.bindparam("b_payment_id"), column.state == "reserved")
        .values(state=state, updated_at=_AT)
    )


def _landed_account() -> sa.Update:
    column = token_accounts.c
    return (
        token_accounts.update()
        .where(column.address == sa.bindparam("b_account"), column.last_landed_slot < _SLOT)
        .values(last_landed_slot=_SLOT)
    )


_OPEN: Final = ("pending", "confirmed")
_STATEMENTS: Final[Mapping[str, tuple[sa.Update, ...]]] = {
    "confirmed": (
        _payment("confirmed", ("pending",), slot=_SLOT, confirmed_at=_AT),
        _attempt("confirmed"),
        _reservation("landed", _SLOT),
        _landed_account(),
    ),
    "finalized": (
        _payment(
            "finalized",
            _OPEN,
            slot=_SLOT,
            finalized_at=_AT,
            confirmed_at=sa.func.coalesce(token_transactions.c.confirmed_at, _AT),
            evidence=_EVIDENCE,
        ),
        _attempt("finalized"),
        _reservation("landed", _SLOT),
        _landed_account(),
        _purchase("counted"),
    ),
    "failed": (
        _payment("failed", _OPEN, slot=_SLOT, evidence=_EVIDENCE),
        _attempt("failed"),
        _reservation("released", None),
        _purchase("cancelled"),
    ),
    "attempt_expired": (
        _payment("pending", _OPEN, slot=None, confirmed_at=None),
        _attempt("expired"),
        _reservation("live", None),
    ),
    "expired": (
        _payment("expired", _OPEN, slot=None, evidence=_EVIDENCE),
        _attempt("expired"),
        _reservation("released", None),
        _purchase("cancelled"),
    ),
}


def _attempt_row(attempt: LiveAttempt, now: datetime) -> dict[str, Any]:
    return {
        "payment_id": attempt.payment_id,
        "number": attempt.number,
        "status": "signed",
        "signature": attempt.transaction.signature,
        "signed_bytes": attempt.transaction.raw_bytes,
        "last_valid_block_height": attempt.transaction.last_valid_block_height,
        "context_slot": attempt.transaction.context_slot,
        "created_at": now,
        "updated_at": now,
    }


def _open_payment(row: Mapping[Any, Any], attempts_made: int) -> OpenPayment:
    attempt = None
    if row["number"] is not None:
        attempt = LiveAttempt(row["id"], row["number"], _signed_transaction(row, row["attempt_signature"]))
    return OpenPayment(row_to_transaction(row), row["instruction"] or {}, attempt, attempts_made)


def _signed_transaction(row: Mapping[Any, Any], signature: str) -> SignedTransaction:
    return SignedTransaction(
        signature=signature,
        raw_bytes=row["signed_bytes"],
        last_valid_block_height=row["last_valid_block_height"],
        context_slot=row["context_slot"],
    )
