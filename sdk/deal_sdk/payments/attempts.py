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
from deal_sdk.payments.changes import SIGNED_AGAIN_EARLY, Change
from deal_sdk.payments.intent_rows import attempt_row
from deal_sdk.payments.outbox import NO_OUTBOX, PaymentOutbox
from deal_sdk.payments.rails import refuse_when_paused
from deal_sdk.payments.settlement import settle_changes
from deal_sdk.records import Database, Transaction, row_to_transaction
from deal_sdk.records.batch_tables import signed_bytes_of_attempts
from deal_sdk.records.tables import (
    LIVE_ATTEMPT_STATUSES,
    payment_attempts,
    token_transactions,
)

MAX_CHANGES_PER_TRANSACTION: Final = 512


@dataclass(frozen=True, slots=True)
class LiveAttempt:
    """A signed transaction that may land."""

    payment_id: UUID
    number: int
    transaction: SignedTransaction
    is_shared: bool = False
    """Whether it carries other payments as well; a failure of it judges none of them."""


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
        self.lease_owner = lease_owner
        self._clock = clock
        self._attempts: Collector[LiveAttempt, bool] = Collector(
            self._add_batch, max_items=MAX_CHANGES_PER_TRANSACTION
        )
        self._changes: Collector[Change, datetime] = Collector(
            self._settle_batch, max_items=MAX_CHANGES_PER_TRANSACTION
        )

    async def add(self, attempt: LiveAttempt) -> bool:
        """Commit an attempt, so that it may be sent.

        Returns:
            True when this very attempt is recorded; False when the payment has another live attempt,
            has ended or is leased to another holder by now, in which case nothing may be sent.
        """
        return await self._attempts.submit(attempt)

    async def add_together(self, attempts: Sequence[LiveAttempt]) -> bool:
        """Commit the attempts of payments that share a transaction, all or none, so that it may be sent.

        Returns:
            True when every one of them is recorded; False when one of the payments has another live
            attempt, has ended or is leased to another holder by now: nothing is recorded, and nothing may
            be sent.
        """
        try:
            return await self._database.run(lambda connection: self._add_all(connection, attempts))
        except ConstraintError:
            return False

    async def was_given_up_early(self, payment_id: UUID) -> bool:
        """Return whether an attempt ended without proof, so that it may have landed; see `look_again`."""
        query = sa.select(payment_attempts.c.evidence).where(
            payment_attempts.c.payment_id == payment_id, payment_attempts.c.status == "expired"
        )
        return any(SIGNED_AGAIN_EARLY in (row[0] or {}) for row in await self._database.fetch(query))

    async def look_again(self, payment_id: UUID) -> LiveAttempt | None:
        """Make the newest attempt that was given up early live again, so that its end is proven.

        Returns:
            The payment's live attempt; None when there is none, or the payment is no longer ours to drive.
        """

        async def unit(connection: AsyncConnection) -> LiveAttempt | None:
            if not await self._lock_pending(connection, [payment_id]):
                return None
            attempt = payment_attempts.c
            query = sa.select(
                payment_attempts, attempt.signature.label("attempt_signature"), _has_sharers()
            ).where(attempt.payment_id == payment_id)
            rows = (await connection.execute(query.order_by(attempt.number.desc()))).mappings().all()
            open_rows = [row for row in rows if row["status"] in LIVE_ATTEMPT_STATUSES]
            if not open_rows:
                open_rows = [row for row in rows if SIGNED_AGAIN_EARLY in (row["evidence"] or {})][:1]
                await self._revive(connection, payment_id, [row["number"] for row in open_rows])
            return _live_attempt(payment_id, open_rows[0]) if open_rows else None

        return await self._database.run(unit)

    async def settle(self, change: Change) -> datetime:
        """Commit what became of an attempt, with reservation, purchase and payment together.

        Returns:
            The time that stands in the record: one for all that were committed together.
        """
        return await self._changes.submit(change)

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
        attempt = payment_attempts.c
        query = sa.select(signed_bytes_of_attempts, attempt.last_valid_block_height, attempt.context_slot)
        query = query.where(attempt.signature == signature).limit(1)
        for row in await self._database.fetch(query):
            return _signed_transaction(row._mapping, signature)
        return None

    async def open_payments(self, payment_ids: Collection[UUID] | None = None) -> list[OpenPayment]:
        """Return the payments leased here that are not final and in no batch, oldest first.

        Args:
            payment_ids: ask for these alone.
        """
        payment, attempt = token_transactions.c, payment_attempts.c
        unfinished = payment.status.in_(("pending", "confirmed")) & (payment.lease_owner == self.lease_owner)
        # Members of a batch share transactions, and are driven together.
        unfinished &= payment.batch_id.is_(None)
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
                _has_sharers(),
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
            return await self._database.run(lambda connection: self.add_within(connection, attempts))
        except ConstraintError as error:
            if len(attempts) == 1:
                return [error]
        return [(await self._add_batch([attempt]))[0] for attempt in attempts]

    async def add_within(self, connection: AsyncConnection, attempts: Sequence[LiveAttempt]) -> list[bool]:
        """Add attempts in the caller's transaction; see `add`."""
        await refuse_when_paused(connection)
        now = self._clock.now()
        ids = [attempt.payment_id for attempt in attempts]
        open_ids = await self._lock_pending(connection, ids)
        rows = [
            attempt_row(attempt.payment_id, attempt.number, attempt.transaction, now)
            for attempt in attempts
            if attempt.payment_id in open_ids
        ]
        mine = await self._insert(connection, rows)
        if len(mine) < len(attempts):
            mine |= await _live_signatures(connection, ids)
        await _show_signatures(connection, [payment_id for payment_id, _ in mine], now)
        return [(attempt.payment_id, attempt.transaction.signature) in mine for attempt in attempts]

    async def _add_all(self, connection: AsyncConnection, attempts: Sequence[LiveAttempt]) -> bool:
        await refuse_when_paused(connection)
        now = self._clock.now()
        ids = [attempt.payment_id for attempt in attempts]
        if await self._lock_pending(connection, ids) != set(ids):
            return False
        live = await _live_signatures(connection, ids)
        if live:
            # They are here already when an earlier commit's answer was lost.
            return live == {(attempt.payment_id, attempt.transaction.signature) for attempt in attempts}
        rows = [attempt_row(one.payment_id, one.number, one.transaction, now) for one in attempts]
        await connection.execute(payment_attempts.insert(), rows)
        await _show_signatures(connection, ids, now)
        return True

    async def _revive(self, connection: AsyncConnection, payment_id: UUID, numbers: Sequence[int]) -> None:
        now = self._clock.now()
        column = payment_attempts.c
        revived = payment_attempts.update().where(column.payment_id == payment_id, column.number.in_(numbers))
        await connection.execute(revived.values(status="signed", evidence=sa.null(), updated_at=now))
        await _show_signatures(connection, [payment_id], now)

    async def _lock_pending(self, connection: AsyncConnection, ids: Sequence[UUID]) -> set[UUID]:
        """Lock the payments that are still ours to sign, so that none ends or is taken over meanwhile."""
        pending = sa.select(token_transactions.c.id).where(
            token_transactions.c.id.in_(ids),
            token_transactions.c.status == "pending",
            token_transactions.c.lease_owner == self.lease_owner,
        )
        found = await connection.execute(pending.order_by(token_transactions.c.id).with_for_update())
        return set(found.scalars())

    async def _insert(self, connection: AsyncConnection, rows: list[dict[str, Any]]) -> set[tuple[UUID, str]]:
        if not rows:
            return set()
        # What is returned tells what went in, and lets all rows go in one statement.
        insert = self._database.insert(payment_attempts).on_conflict_do_nothing()
        returned = payment_attempts.c.payment_id, payment_attempts.c.signature
        found = await connection.execute(insert.returning(*returned), rows)
        return {(payment_id, signature) for payment_id, signature in found}

    async def _settle_batch(self, changes: Sequence[Change]) -> Sequence[datetime]:
        at = max(change.at for change in changes)

        async def settle(connection: AsyncConnection) -> None:
            await self._outbox.settled(connection, await settle_changes(connection, changes, at))

        await self._database.run(settle)
        self._outbox.committed()
        return [at] * len(changes)


async def _live_signatures(connection: AsyncConnection, ids: Sequence[UUID]) -> set[tuple[UUID, str]]:
    column = payment_attempts.c
    query = sa.select(column.payment_id, column.signature).where(
        column.payment_id.in_(ids), column.status.in_(LIVE_ATTEMPT_STATUSES)
    )
    return {(payment_id, signature) for payment_id, signature in await connection.execute(query)}


async def _show_signatures(connection: AsyncConnection, ids: Sequence[UUID], now: datetime) -> None:
    """Show each payment the signature of its live attempt."""
    column = payment_attempts.c
    live = (
        sa.select(column.signature)
        .where(column.payment_id == token_transactions.c.id, column.status.in_(LIVE_ATTEMPT_STATUSES))
        .scalar_subquery()
    )
    update = token_transactions.update().where(token_transactions.c.id.in_(ids))
    await connection.execute(update.values(signature=live, updated_at=now))


def _has_sharers() -> sa.Label[bool]:
    """Select as `is_shared` whether another payment has an attempt of the same signature."""
    mine, other = payment_attempts.c, payment_attempts.alias("other").c
    return (
        sa.select(other.id)
        .where(other.signature == mine.signature, other.payment_id != mine.payment_id)
        .correlate(payment_attempts)
        .exists()
        .label("is_shared")
    )


def _open_payment(row: Mapping[Any, Any], attempts_made: int) -> OpenPayment:
    attempt = None
    if row["number"] is not None:
        attempt = _live_attempt(row["id"], row)
    return OpenPayment(row_to_transaction(row), row["instruction"] or {}, attempt, attempts_made)


def _live_attempt(payment_id: UUID, row: Mapping[Any, Any]) -> LiveAttempt:
    transaction = _signed_transaction(row, row["attempt_signature"])
    return LiveAttempt(payment_id, row["number"], transaction, bool(row["is_shared"]))


def _signed_transaction(row: Mapping[Any, Any], signature: str) -> SignedTransaction:
    return SignedTransaction(
        signature=signature,
        raw_bytes=row["signed_bytes"],
        last_valid_block_height=row["last_valid_block_height"],
        context_slot=row["context_slot"],
    )
