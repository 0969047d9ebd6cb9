"""Tells metrics and subscribers of credit operations, after they are durable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from deal_sdk.accounting.journal import Operation
from deal_sdk.events import EventBus
from deal_sdk.metrics import Metrics

TOKEN_SPEND: Final = "token_spend"
INSUFFICIENT_TOKENS: Final = "insufficient_tokens"
SPENDING_KINDS: Final = ("debit", "post")
"""What was put aside is spent when it is posted, and not before."""
CREDITS_EXPIRED: Final = "credits_expired"


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
        command, result = operation.command, operation.result
        if command.kind == "expire":
            said = command.metadata or {}
            self._events.publish(
                CREDITS_EXPIRED, user=str(command.user_id), amount=command.amount, lot=said.get("lot_id")
            )
        user, entry = str(command.user_id), operation.entry
        if command.kind in SPENDING_KINDS and entry is not None:
            self._events.publish(TOKEN_SPEND, user=user, operation=entry.operation_type, amount=-entry.amount)
        elif result.code == INSUFFICIENT_TOKENS:
            self._events.publish(
                INSUFFICIENT_TOKENS, user=user, operation=command.type, balance=result.new_balance
            )
