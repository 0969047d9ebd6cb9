"""Tells the caller's audit of every credit operation, one record each, after its commit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from deal_sdk.accounting.journal import Operation


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """What was asked of the ledger, and what became of it."""

    kind: str
    """debit, credit, refund, reset, hold, post, void or expire."""
    operation_type: str
    user_id: UUID
    amount: int
    """Credits, without a sign: those that moved, and else those that were asked for."""
    success: bool
    new_balance: int | None
    ledger_entry_id: UUID | None
    error: str | None
    code: str | None
    duration_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-serialisable data."""
        entry_id = self.ledger_entry_id
        return {
            "kind": self.kind,
            "operation_type": self.operation_type,
            "user_id": str(self.user_id),
            "amount": self.amount,
            "success": self.success,
            "new_balance": self.new_balance,
            "ledger_entry_id": None if entry_id is None else str(entry_id),
            "error": self.error,
            "code": self.code,
            "duration_seconds": self.duration_seconds,
        }


AuditCallback = Callable[[AuditRecord], Awaitable[None]]
"""Told of each operation; what it raises is logged, what hangs is ended, and neither changes anything."""


class Audit:
    """Hands the operations of each commit to a callback, one after another."""

    def __init__(self, callback: AuditCallback) -> None:
        """Keep the callback."""
        self._callback = callback

    async def __call__(self, operations: Sequence[Operation]) -> None:
        """Tell of the operations of one commit."""
        for operation in operations:
            await self._callback(_record_of(operation))


def _record_of(operation: Operation) -> AuditRecord:
    command, result, entry = operation.command, operation.result, operation.entry
    return AuditRecord(
        command.kind,
        command.type if entry is None else entry.operation_type,
        command.user_id,
        command.amount if entry is None else abs(entry.amount),
        result.success,
        result.new_balance,
        result.ledger_entry_id,
        result.error,
        result.code,
        operation.seconds,
    )
