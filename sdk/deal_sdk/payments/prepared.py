"""Prepared transactions as rows: open until they are signed or proven dead, one open for a payment.

Owns the rows' form and their changes of status; `PreparedStore` says in which transactions they happen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.chain import UnsignedTransaction
from deal_sdk.records.tables import prepared_transactions

_prepared = prepared_transactions.c


@dataclass(frozen=True, slots=True)
class Prepared:
    """One row of `prepared_transactions`."""

    id: UUID
    payment_id: UUID
    number: int
    status: str
    transaction: UnsignedTransaction

    def to_row(self, now: datetime) -> dict[str, Any]:
        """Return the row with which it begins."""
        return {
            "id": self.id,
            "payment_id": self.payment_id,
            "number": self.number,
            "status": self.status,
            "message": self.transaction.message_bytes,
            "last_valid_block_height": self.transaction.last_valid_block_height,
            "context_slot": self.transaction.context_slot,
            "created_at": now,
            "updated_at": now,
        }

    def with_status(self, status: str) -> Prepared:
        """Return it as a later change leaves it."""
        return replace(self, status=status)


def to_prepared(row: Mapping[Any, Any]) -> Prepared:
    """Make the value from a row."""
    transaction = UnsignedTransaction(row["message"], row["last_valid_block_height"], row["context_slot"])
    return Prepared(row["id"], row["payment_id"], row["number"], row["status"], transaction)


async def latest_prepared(connection: AsyncConnection, payment_id: UUID) -> Prepared | None:
    """Return what a payment's owner was last asked to sign."""
    query = (
        sa.select(prepared_transactions)
        .where(_prepared.payment_id == payment_id)
        .order_by(_prepared.number.desc())
        .limit(1)
    )
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else to_prepared(row)


async def change_status(
    connection: AsyncConnection,
    prepared: Prepared,
    status: str,
    now: datetime,
    evidence: Mapping[str, Any] | None = None,
) -> bool:
    """Move a row on from the status that was seen, and return whether it was still there."""
    update = (
        prepared_transactions.update()
        .where(_prepared.id == prepared.id, _prepared.status == prepared.status)
        .values(status=status, updated_at=now, evidence=None if evidence is None else dict(evidence))
    )
    return (await connection.execute(update)).rowcount == 1
