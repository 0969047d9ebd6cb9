"""What became of every line of a batch, read from the records."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from deal_sdk.amounts import DEAL_DECIMALS, format_amount
from deal_sdk.payments.batches.lines import CheckedLine
from deal_sdk.payments.batches.recording import Batch
from deal_sdk.payments.batches.runs import BatchProgress, progress_of
from deal_sdk.records import Database
from deal_sdk.records.tables import token_transactions

_ROWS_PER_QUERY: Final = 10_000
_KEYS_PER_QUERY: Final = 5_000


@dataclass(frozen=True, slots=True)
class RecipientReport:
    """One line's payment; `error` says why it was not paid, and `replayed` that an earlier one paid it."""

    position: int
    payment_id: UUID
    status: str
    address: str | None
    user_id: UUID | None
    amount: int
    reward_type: str | None
    key: str | None
    signature: str | None
    error: Any | None
    replayed: bool = False

    def to_dict(self, *, decimals: int = DEAL_DECIMALS) -> dict[str, Any]:
        """Return the line as JSON-serialisable data, the amount as text in whole tokens."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            **plain,
            "payment_id": str(self.payment_id),
            "user_id": None if self.user_id is None else str(self.user_id),
            "amount": format_amount(self.amount, decimals=decimals),
        }


RECIPIENT_COLUMNS: Final = tuple(field.name for field in fields(RecipientReport))


@dataclass(frozen=True, slots=True)
class BatchReport:
    """A batch and what became of each of its lines."""

    batch_id: UUID
    batch_key: str
    total_base_units: int
    progress: BatchProgress
    recipients: tuple[RecipientReport, ...]

    @property
    def unpaid(self) -> tuple[RecipientReport, ...]:
        """Return the lines that provably were not paid."""
        return tuple(line for line in self.recipients if line.status in _UNPAID)

    def to_dict(self, *, decimals: int = DEAL_DECIMALS) -> dict[str, Any]:
        """Return the report as JSON-serialisable data, amounts as text in whole tokens."""
        counts = {field.name: getattr(self.progress, field.name) for field in fields(self.progress)}
        return {
            "batch_id": str(self.batch_id),
            "batch_key": self.batch_key,
            "total": format_amount(self.total_base_units, decimals=decimals),
            **counts,
            "recipients": [line.to_dict(decimals=decimals) for line in self.recipients],
        }


async def read_report(database: Database, batch: Batch, lines: Sequence[CheckedLine] = ()) -> BatchReport:
    """Read a batch's report.

    Args:
        database: where it is recorded.
        batch: which.
        lines: its lines, where they are at hand: those whose own keys were used before the batch are no
            members of it, and are found by them.
    """
    found = await _members(database, batch)
    seen = {line.position for line in found}
    replayed = {line.key: line for line in lines if line.key is not None and line.position not in seen}
    found += await _replayed(database, replayed)
    found.sort(key=lambda line: line.position)
    counts: dict[str, int] = {}
    for line in found:
        counts[line.status] = counts.get(line.status, 0) + 1
    return BatchReport(
        batch.id, batch.key, batch.total_amount, progress_of(batch.lines, counts), tuple(found)
    )


_UNPAID: Final = ("failed", "expired")
_COLUMNS: Final = (
    *(
        token_transactions.c[name]
        for name in (
            "id",
            "status",
            "to_address",
            "to_user_id",
            "amount",
            "reason",
            "idempotency_key",
            "signature",
        )
    ),
    # Read for the few who were not paid: to parse what proves everybody's payment takes longer than the rest.
    sa.case((token_transactions.c.status.in_(_UNPAID), token_transactions.c.evidence), else_=sa.null()).label(
        "evidence"
    ),
)


async def _members(database: Database, batch: Batch) -> list[RecipientReport]:
    column = token_transactions.c
    found: list[RecipientReport] = []
    last = 0
    while True:
        query = (
            sa.select(column.batch_position, *_COLUMNS)
            .where(column.batch_id == batch.id, column.batch_position > last)
            .order_by(column.batch_position)
            .limit(_ROWS_PER_QUERY)
        )
        rows = await database.fetch(query)
        found += await asyncio.to_thread(lambda page: [_line(row[0], row[1:]) for row in page], rows)
        if len(rows) < _ROWS_PER_QUERY:
            return found
        last = rows[-1][0]


async def _replayed(database: Database, lines: Mapping[str, CheckedLine]) -> list[RecipientReport]:
    keys = list(lines)
    column = token_transactions.c
    found: list[RecipientReport] = []
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        query = sa.select(*_COLUMNS).where(column.idempotency_key.in_(keys[start : start + _KEYS_PER_QUERY]))
        rows = await database.fetch(query)
        found += [_line(lines[row.idempotency_key].position, row, replayed=True) for row in rows]
    return found


def _line(position: int, row: Sequence[Any], *, replayed: bool = False) -> RecipientReport:
    payment_id, status, address, user_id, amount, reason, key, signature, evidence = row
    return RecipientReport(
        position=position,
        payment_id=payment_id,
        status=status,
        address=address,
        user_id=user_id,
        amount=amount,
        reward_type=reason,
        key=key,
        signature=signature,
        error=(evidence or {}).get("error"),
        replayed=replayed,
    )
