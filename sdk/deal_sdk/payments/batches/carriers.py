"""Carriers: signed transactions that pay many members, committed before they are sent, settled as one.

Each member has an attempt of its own, which points at the carrier; that is how a payment still has at
most one live attempt, whoever it shares its transaction with. What became of a carrier is written to
all its members by the database itself, a few statements for a whole transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.batching import Collector
from deal_sdk.clock import Clock
from deal_sdk.payments.batches.remaining import Carrier, OpenBatch, is_unsent, read_open_batch
from deal_sdk.payments.batches.settling import settle_statements
from deal_sdk.payments.batches.shares import Share
from deal_sdk.payments.changes import Change
from deal_sdk.payments.outbox import NO_OUTBOX, PaymentOutbox
from deal_sdk.payments.rails import refuse_when_paused
from deal_sdk.records import Database, payment_carriers
from deal_sdk.records.tables import (
    LIVE_ATTEMPT_STATUSES,
    UtcDateTime,
    payment_attempts,
    token_transactions,
)

MAX_CARRIERS_PER_TRANSACTION: Final = 256

CarrierEnd: TypeAlias = Literal["confirmed", "finalized", "failed", "split", "expired"]
"""`split` is a proven failure of several members, none of whom it judges; `expired` leaves them pending
unless it was their last attempt."""


@dataclass(frozen=True, slots=True)
class CarrierChange:
    """What became of a carrier; its members show its signature from the first change on."""

    carrier_id: UUID
    signature: str
    end: CarrierEnd
    slot: int | None
    evidence: Mapping[str, Any]
    at: datetime
    source_account: str


class CarrierStore:
    """Commits carriers before they are sent and settles their members when the end is proven."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        max_attempts: int,
        outbox: PaymentOutbox = NO_OUTBOX,
        lease_owner: UUID | None = None,
    ) -> None:
        """Write to a database what a holder leases.

        Args:
            database: where batches are recorded.
            clock: stamps the rows.
            max_attempts: how many signatures of a payment may expire before it ends as expired.
            outbox: told in the same transactions.
            lease_owner: the holder; members that are leased to others are theirs to drive.
        """
        self._database = database
        self._clock = clock
        self._max_attempts = max_attempts
        self._outbox = outbox
        self._lease_owner = lease_owner
        self._changes: Collector[CarrierChange, bool] = Collector(
            self._settle_all, max_items=MAX_CARRIERS_PER_TRANSACTION
        )

    async def add(self, carriers: Sequence[Carrier]) -> list[bool]:
        """Commit carriers of one batch, so that they may be sent.

        Args:
            carriers: disjoint, each with members that follow one another among what is unsent.

        Returns:
            For each, whether it is recorded. False means that a member has ended or has another live
            attempt; then nothing of that carrier is recorded, and it must not be sent.

        Raises:
            PaymentsPausedError: nothing was recorded.
            DatabaseError: whether they were recorded is unknown; adding the same again finds out.
        """
        return await self._database.run(lambda connection: self._add_in(connection, carriers))

    async def settle(self, change: CarrierChange) -> bool:
        """Commit what became of a carrier, for all its members together.

        Returns:
            Whether it was still live, so that this was news.
        """
        return await self._changes.submit(change)

    async def open_batches(self) -> list[UUID]:
        """Return the batches with members that are not final."""
        column = token_transactions.c
        query = (
            sa.select(column.batch_id)
            .where(column.status.in_(("pending", "confirmed")), column.batch_id.is_not(None))
            .where(column.lease_owner == self._lease_owner)
            .distinct()
        )
        return [batch_id for (batch_id,) in await self._database.fetch(query)]

    async def open_batch(self, batch_id: UUID) -> OpenBatch:
        """Return what is left to do of a batch, from the records alone."""
        return await self._database.read(
            lambda connection: read_open_batch(connection, batch_id, self._lease_owner)
        )

    async def unsent_members(self, carrier: Carrier) -> tuple[Share, ...]:
        """Return the members of an ended carrier that are still to be paid."""
        column, attempt = token_transactions.c, payment_attempts.c
        query = (
            sa.select(column.id)
            .join(payment_attempts, attempt.payment_id == column.id)
            .where(attempt.carrier_id == carrier.id, is_unsent())
            .where(column.lease_owner == self._lease_owner)
        )
        unsent = {payment_id for (payment_id,) in await self._database.fetch(query)}
        return tuple(share for share in carrier.shares if share.payment_id in unsent)

    async def counts(self, batch_id: UUID) -> dict[str, int]:
        """Return how many members of a batch there are by status."""
        column = token_transactions.c
        query = (
            sa.select(column.status, sa.func.count())
            .where(column.batch_id == batch_id)
            .group_by(column.status)
        )
        return {status: count for status, count in await self._database.fetch(query)}

    async def close(self) -> None:
        """Finish what was submitted."""
        await self._changes.close()

    async def _add_in(self, connection: AsyncConnection, carriers: Sequence[Carrier]) -> list[bool]:
        await refuse_when_paused(connection)
        known = await _recorded(connection, [carrier.id for carrier in carriers])
        wanted = [carrier for carrier in carriers if carrier.id not in known]
        unsent = await _lock_unsent(connection, wanted, self._lease_owner)
        accepted = [carrier for carrier in wanted if _covers(carrier, unsent)]
        if accepted:
            now = self._clock.now()
            await connection.execute(payment_carriers.insert(), [_row(carrier, now) for carrier in accepted])
            owner = {"b_lease_owner": self._lease_owner}
            spans = [_span(carrier, now) | owner for carrier in accepted]
            await connection.execute(_ATTEMPTS, spans)
        ours = known | {carrier.id for carrier in accepted}
        return [carrier.id in ours for carrier in carriers]

    async def _settle_all(self, changes: Sequence[CarrierChange]) -> Sequence[bool]:
        news = await self._database.run(lambda connection: self._settle_in(connection, changes))
        self._outbox.committed()
        return news

    async def _settle_in(self, connection: AsyncConnection, changes: Sequence[CarrierChange]) -> list[bool]:
        column = payment_carriers.c
        # Locked in one order, so that two workers who report the same ends wait for each other in turn.
        query = sa.select(column.id, column.status).where(
            column.id.in_({change.carrier_id for change in changes}),
            column.status.in_(LIVE_ATTEMPT_STATUSES),
        )
        rows = await connection.execute(query.order_by(column.id).with_for_update())
        live: dict[UUID, str] = {carrier_id: status for carrier_id, status in rows}
        news = []
        for change in changes:
            is_news = change.carrier_id in live and live[change.carrier_id] != change.end
            news.append(is_news)
            if is_news and change.end != "confirmed":
                del live[change.carrier_id]
            elif is_news:
                live[change.carrier_id] = "confirmed"
        told = [change for change, is_news in zip(changes, news, strict=True) if is_news]
        for end in ("confirmed", "finalized", "failed", "split", "expired"):
            parameters = [self._parameters(change) for change in told if change.end == end]
            if parameters:
                for statement in settle_statements(end):
                    await connection.execute(statement, parameters)
        if told and self._outbox.wants_settled:
            await self._outbox.settled(connection, await _member_changes(connection, told))
        return news

    def _parameters(self, change: CarrierChange) -> dict[str, Any]:
        return {
            "b_carrier": change.carrier_id,
            "b_signature": change.signature,
            "b_slot": change.slot,
            "b_evidence": dict(change.evidence),
            "b_at": change.at,
            "b_account": change.source_account,
            "b_max_attempts": self._max_attempts,
        }


async def _member_changes(connection: AsyncConnection, told: Sequence[CarrierChange]) -> list[Change]:
    """Return what became of each member, for those who are told of payments one by one."""
    attempt, payment = payment_attempts.c, token_transactions.c
    query = (
        sa.select(attempt.carrier_id, attempt.payment_id, attempt.number, payment.status)
        .join(token_transactions, payment.id == attempt.payment_id)
        .where(attempt.carrier_id.in_({change.carrier_id for change in told}))
    )
    members: dict[UUID, list[tuple[UUID, int, str]]] = {}
    for carrier_id, payment_id, number, status in await connection.execute(query):
        members.setdefault(carrier_id, []).append((payment_id, number, status))
    return [
        Change(payment_id, number, change.end, change.slot, change.evidence, change.at)
        for change in told
        if change.end != "split"
        for payment_id, number, status in members[change.carrier_id]
        # A member of a split transaction is still to be paid, and one that expired may be.
        if change.end != "expired" or status == "expired"
    ]


def _covers(carrier: Carrier, unsent: Mapping[int, UUID]) -> bool:
    """Say whether a carrier pays exactly the unsent members within its span.

    The rows are found by their span, so a member in between that is not signed for would otherwise be
    marked as paid by it.
    """
    first, last = carrier.shares[0].position, carrier.shares[-1].position
    inside = sum(1 for position in range(first, last + 1) if position in unsent)
    return inside == len(carrier.shares) and all(
        unsent.get(share.position) == share.payment_id for share in carrier.shares
    )


async def _recorded(connection: AsyncConnection, ids: Sequence[UUID]) -> set[UUID]:
    query = sa.select(payment_carriers.c.id).where(payment_carriers.c.id.in_(ids))
    return set((await connection.execute(query)).scalars())


async def _lock_unsent(
    connection: AsyncConnection, carriers: Sequence[Carrier], lease_owner: UUID | None
) -> dict[int, UUID]:
    """Lock what is unsent within the span of the carriers, so that nothing of it ends meanwhile."""
    if not carriers:
        return {}
    column = token_transactions.c
    first = min(carrier.shares[0].position for carrier in carriers)
    last = max(carrier.shares[-1].position for carrier in carriers)
    query = (
        sa.select(column.batch_position, column.id)
        .where(column.batch_id == carriers[0].batch_id, column.batch_position.between(first, last))
        .where(is_unsent(), column.lease_owner == lease_owner)
        .order_by(column.batch_position)
        .with_for_update()
    )
    return {position: payment_id for position, payment_id in await connection.execute(query)}


def _row(carrier: Carrier, now: datetime) -> dict[str, Any]:
    return {
        "id": carrier.id,
        "batch_id": carrier.batch_id,
        "members": len(carrier.shares),
        "status": "signed",
        "signature": carrier.transaction.signature,
        "signed_bytes": carrier.transaction.raw_bytes,
        "last_valid_block_height": carrier.transaction.last_valid_block_height,
        "context_slot": carrier.transaction.context_slot,
        "created_at": now,
        "updated_at": now,
    }


def _span(carrier: Carrier, now: datetime) -> dict[str, Any]:
    return {
        "b_batch": carrier.batch_id,
        "b_first": carrier.shares[0].position,
        "b_last": carrier.shares[-1].position,
        "b_carrier": carrier.id,
        "b_signature": carrier.transaction.signature,
        "b_height": carrier.transaction.last_valid_block_height,
        "b_context_slot": carrier.transaction.context_slot,
        "b_now": now,
    }


def _attempts_of_a_span() -> sa.Insert:
    column, earlier = token_transactions.c, payment_attempts.alias("earlier")
    number = (
        sa.select(sa.func.count() + 1)
        .where(earlier.c.payment_id == column.id)
        .correlate(token_transactions)
        .scalar_subquery()
    )
    now = sa.bindparam("b_now", type_=UtcDateTime())
    rows = (
        sa.select(
            column.id,
            number,
            sa.literal("signed"),
            sa.bindparam("b_signature", type_=sa.String()),
            sa.bindparam("b_height", type_=sa.BigInteger()),
            sa.bindparam("b_context_slot", type_=sa.BigInteger()),
            sa.bindparam("b_carrier", type_=sa.Uuid()),
            now,
            now,
        )
        .where(column.batch_id == sa.bindparam("b_batch"))
        .where(column.batch_position.between(sa.bindparam("b_first"), sa.bindparam("b_last")))
        .where(is_unsent(), column.lease_owner.is_not_distinct_from(_LEASE_OWNER))
    )
    names: Iterable[str] = (
        "payment_id",
        "number",
        "status",
        "signature",
        "last_valid_block_height",
        "context_slot",
        "carrier_id",
        "created_at",
        "updated_at",
    )
    return payment_attempts.insert().from_select(list(names), rows)


_LEASE_OWNER: Final = sa.bindparam("b_lease_owner", type_=sa.Uuid())
_ATTEMPTS: Final = _attempts_of_a_span()
