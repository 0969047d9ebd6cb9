"""The attempts of a payment, as anyone may read them; the payments area alone writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.records.tables import payment_attempts
from deal_sdk.records.transaction_rows import plain_value


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed transaction of a payment, without its bytes."""

    payment_id: UUID
    number: int
    """Counts from 1; only the last one can be alive."""
    status: str
    """`signed`, `sent`, `unknown` and `confirmed` are alive; `finalized`, `failed` and `expired` are ends."""
    signature: str
    last_valid_block_height: int
    context_slot: int
    evidence: Mapping[str, Any] | None
    created_at: datetime
    updated_at: datetime

    def to_dict(self) -> dict[str, Any]:
        """Return the attempt as JSON-serialisable data."""
        return {field.name: plain_value(getattr(self, field.name)) for field in fields(self)}


_COLUMNS: Final = [payment_attempts.c[field.name] for field in fields(Attempt)]


async def attempts_of(connection: AsyncConnection, payment_id: UUID) -> list[Attempt]:
    """Return a payment's attempts, the first one first."""
    query = sa.select(*_COLUMNS).where(payment_attempts.c.payment_id == payment_id)
    rows = await connection.execute(query.order_by(payment_attempts.c.number))
    return [Attempt(**row._mapping) for row in rows]
