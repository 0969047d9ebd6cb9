"""What is left to do of a batch, read from its records alone: what was sent, and what is still to be."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.chain import SignedTransaction
from deal_sdk.payments.batches.recording import SHARE_COLUMNS, share_of
from deal_sdk.payments.batches.shares import Share
from deal_sdk.records import payment_carriers
from deal_sdk.records.tables import LIVE_ATTEMPT_STATUSES, payment_attempts, token_transactions


@dataclass(frozen=True, slots=True)
class Carrier:
    """A signed transaction and the members that it pays."""

    id: UUID
    batch_id: UUID
    shares: tuple[Share, ...]
    transaction: SignedTransaction
    was_confirmed: bool = False
    """Whether it was confirmed already when it was read back."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """Unsent members that follow one another, with the failed transaction that they come from, if any."""

    shares: tuple[Share, ...]
    failed_bytes: bytes | None = None
    error: Any = None


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """What is left to do of a batch."""

    live: tuple[Carrier, ...]
    unsent: tuple[Parcel, ...]


async def read_open_batch(connection: AsyncConnection, batch_id: UUID, lease_owner: UUID | None) -> OpenBatch:
    """Read what is left to do of a batch.

    Args:
        connection: any.
        batch_id: which.
        lease_owner: whose members; those of others are theirs to drive.
    """
    live = await _live_carriers(connection, batch_id, lease_owner)
    unsent = await _unsent(connection, batch_id, lease_owner)
    failed = await _failed_carriers(connection, batch_id)
    runs = itertools.groupby(unsent, key=lambda found: found[1])
    parcels = [
        Parcel(tuple(share for share, _ in run), *failed.get(failed_in, (None, None)))
        for failed_in, run in runs
    ]
    return OpenBatch(tuple(live), tuple(parcels))


def is_unsent() -> sa.ColumnElement[bool]:
    """Select the payments that are pending and have no attempt that may land."""
    attempt = payment_attempts.alias("live").c
    live = (
        sa.select(attempt.id)
        .where(
            attempt.payment_id == token_transactions.c.id,
            sa.or_(*(attempt.status == status for status in LIVE_ATTEMPT_STATUSES)),
        )
        .correlate(token_transactions)
        .exists()
    )
    return sa.and_(token_transactions.c.status == "pending", ~live)


async def _unsent(
    connection: AsyncConnection, batch_id: UUID, lease_owner: UUID | None
) -> list[tuple[Share, UUID | None]]:
    """Return the members without a live attempt, each with the carrier it failed in last, if it did."""
    column, attempt = token_transactions.c, payment_attempts.c
    later = payment_attempts.alias("later")
    failed_in = (
        sa.select(attempt.carrier_id)
        .where(attempt.payment_id == column.id, attempt.status == "failed")
        .where(
            ~sa.select(later.c.id)
            .where(later.c.payment_id == attempt.payment_id, later.c.number > attempt.number)
            .where(later.c.status == "failed")
            .exists()
        )
        .correlate(token_transactions)
        .scalar_subquery()
    )
    query = sa.select(*SHARE_COLUMNS, failed_in).where(
        column.batch_id == batch_id, column.lease_owner == lease_owner, is_unsent()
    )
    rows = await connection.execute(query.order_by(column.batch_position))
    return [(share_of(row), row[-1]) for row in rows]


async def _failed_carriers(
    connection: AsyncConnection, batch_id: UUID
) -> dict[UUID | None, tuple[bytes, Any]]:
    column = payment_carriers.c
    query = sa.select(column.id, column.signed_bytes, column.evidence).where(
        column.batch_id == batch_id, column.status == "failed"
    )
    return {
        carrier_id: (raw_bytes, (evidence or {}).get("error"))
        for carrier_id, raw_bytes, evidence in await connection.execute(query)
    }


async def _live_carriers(
    connection: AsyncConnection, batch_id: UUID, lease_owner: UUID | None
) -> list[Carrier]:
    column, attempt = payment_carriers.c, payment_attempts.c
    members = (
        sa.select(attempt.carrier_id, *SHARE_COLUMNS)
        .join(token_transactions, token_transactions.c.id == attempt.payment_id)
        .join(payment_carriers, column.id == attempt.carrier_id)
        .where(column.batch_id == batch_id, column.status.in_(LIVE_ATTEMPT_STATUSES))
        .where(token_transactions.c.lease_owner == lease_owner)
        .order_by(token_transactions.c.batch_position)
    )
    shares: dict[UUID, list[Share]] = {}
    for row in await connection.execute(members):
        shares.setdefault(row[0], []).append(share_of(row[1:]))
    carriers = sa.select(
        column.id,
        column.signature,
        column.signed_bytes,
        column.last_valid_block_height,
        column.context_slot,
        column.status,
    ).where(column.batch_id == batch_id, column.status.in_(LIVE_ATTEMPT_STATUSES))
    return [
        Carrier(
            carrier_id,
            batch_id,
            tuple(shares[carrier_id]),
            SignedTransaction(signature, raw_bytes, height, slot),
            status == "confirmed",
        )
        for carrier_id, signature, raw_bytes, height, slot, status in await connection.execute(carriers)
        if carrier_id in shares
    ]
