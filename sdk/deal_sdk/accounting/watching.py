"""Tells metrics and subscribers of credit operations once they are durable, and webhooks in their commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.accounting.commands import Command, LedgerEntry, OperationResult
from deal_sdk.accounting.journal import Decided, Entries, Operation
from deal_sdk.clock import Clock
from deal_sdk.events import EventBus
from deal_sdk.metrics import Metrics
from deal_sdk.webhooks import Outbox, OutgoingEvent

TOKEN_SPEND: Final = "token_spend"
INSUFFICIENT_TOKENS: Final = "insufficient_tokens"
SPENDING_KINDS: Final = ("debit", "post")
"""What was put aside is spent when it is posted, and not before."""
CREDITS_EXPIRED: Final = "credits_expired"
CREDIT_EVENTS: Final = frozenset({TOKEN_SPEND, INSUFFICIENT_TOKENS, CREDITS_EXPIRED})


class CreditWatch:
    """Counts every operation, and publishes what was spent, what could not be, and what expired."""

    def __init__(self, metrics: Metrics, events: EventBus) -> None:
        """Keep the parts."""
        self._metrics = metrics
        self._events = events

    async def __call__(self, operations: Sequence[Operation]) -> None:
        """Take notice of the operations of one commit."""
        for operation in operations:
            self._count(operation)
            self._publish(operation)

    def _count(self, operation: Operation) -> None:
        success = "true" if operation.result.success else "false"
        # By kind, not by type: callers add types of their own, and a label has to stay bounded.
        self._metrics.credit_operations.labels(operation=operation.command.kind, success=success).inc()
        self._metrics.credit_operation_duration_seconds.observe(operation.seconds)

    def _publish(self, operation: Operation) -> None:
        said = event_of(operation.command, operation.result, operation.entry)
        if said is not None:
            event_type, facts = said
            self._events.publish(event_type, **facts)


class CreditOutbox:
    """Writes the events of credit operations for webhooks, in the transaction that makes the operations."""

    def __init__(self, outbox: Outbox, clock: Clock) -> None:
        """Keep the parts.

        Args:
            outbox: knows who listens.
            clock: stamps the events.
        """
        self._outbox = outbox
        self._clock = clock

    async def write(self, connection: AsyncConnection, decided: Decided, entries: Entries) -> None:
        """Write an event for each operation that somebody wants to hear of."""
        if not self._outbox.wants_any(CREDIT_EVENTS):
            return
        said = [event_of(*one, entries.get(one[1].ledger_entry_id)) for one in decided]
        now = self._clock.now()
        await self._outbox.write(
            connection, [OutgoingEvent(uuid4(), *one, timestamp=now) for one in said if one is not None]
        )

    def committed(self) -> None:
        """Have what was written delivered without delay."""
        self._outbox.committed()


def event_of(
    command: Command, result: OperationResult, entry: LedgerEntry | None
) -> tuple[str, dict[str, Any]] | None:
    """Return the event that tells of an operation, with its facts; None where nobody needs to be told.

    Args:
        command: what was asked.
        result: what was decided.
        entry: what it added to the user's account.
    """
    facts: dict[str, Any] = {"user": str(command.user_id)}
    if command.kind == "expire":
        lot = (command.metadata or {}).get("lot_id")
        return CREDITS_EXPIRED, facts | {"amount": command.amount, "lot": lot}
    if command.kind in SPENDING_KINDS and entry is not None:
        return TOKEN_SPEND, facts | {"operation": entry.operation_type, "amount": -entry.amount}
    if result.code == INSUFFICIENT_TOKENS:
        return INSUFFICIENT_TOKENS, facts | {"operation": command.type, "balance": result.new_balance}
    return None
