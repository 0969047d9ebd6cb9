"""Grants periods in a book: the entry, the row that makes it unique, and the step of the series."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

from deal_sdk.accounting.book import Book
from deal_sdk.accounting.commands import RESET_TYPE, Command, OperationResult
from deal_sdk.accounting.plans import OperationType, TierPlan
from deal_sdk.accounting.renewal_rows import Changes
from deal_sdk.accounting.series import Series, Terms
from deal_sdk.records.fingerprint import fingerprint_of

PURCHASE_TYPE: Final = OperationType.PURCHASE.value


@dataclass(slots=True)
class Granting:
    """What one transaction grants."""

    book: Book
    changes: Changes
    decided: list[tuple[Command, OperationResult]] = field(default_factory=list)

    def renew(
        self, user_id: UUID, plan: TierPlan, series: Series, periods: range, terms: Terms
    ) -> tuple[int, OperationResult]:
        """Grant periods of a series one after another, until one is refused.

        Returns:
            How many credits were added by those that were granted, and the last one's result.
        """
        added = 0
        result = OperationResult(True, self.book.users[user_id].balance)
        for index in periods:
            balance = self.book.users[user_id].balance
            wanted = terms.balance_after(balance, plan.credits)
            kind, amount = ("credit", wanted - balance) if terms.mode == "add" else ("reset", wanted)
            command = Command(kind, user_id, RESET_TYPE, amount, "issuance")  # type: ignore[arg-type]
            result = self._grant(command, series, index, terms, {})
            if not result.success:
                break
            added += self.book.users[user_id].balance - balance
            self.changes.series[user_id] = replace(series, next_index=index + 1)
        return added, result

    def sell(
        self, user_id: UUID, plan: TierPlan, series: Series, payment_reference: str, terms: Terms
    ) -> OperationResult:
        """Grant the next period of a series for a payment, in full whatever the terms of renewals are."""
        command = Command("credit", user_id, PURCHASE_TYPE, plan.credits, "issuance")
        said = {"payment_reference": payment_reference}
        result = self._grant(command, series, series.next_index, terms, said)
        if result.success:
            self.changes.series[user_id] = replace(series, next_index=series.next_index + 1)
        return result

    def _grant(
        self, command: Command, series: Series, index: int, terms: Terms, said: dict[str, Any]
    ) -> OperationResult:
        user_id = command.user_id
        start, end = series.start(index), series.start(index + 1)
        named = replace(
            command,
            expires_at=terms.expires_at(series, index),
            metadata={"plan": series.plan, "period_index": index, "period_start": start.isoformat(), **said},
            fingerprint=fingerprint_of(kind="renewal", user=user_id, plan=series.plan, index=index),
        )
        before = self.book.users[user_id].balance
        is_over = terms.is_over(series, index, self.book.now)
        if command.kind == "credit" and (command.amount == 0 or is_over):
            # A plan of nothing, a balance at the cap, or credits that would have expired by now: the
            # period is over all the same.
            result = OperationResult(True, before)
        else:
            result = self.book.apply(named)
            self.decided.append((named, result))
        if result.success:
            self.changes.renewals.append(
                {
                    "id": self.book.ids.next(self.book.now),
                    "user_id": user_id,
                    "plan": series.plan,
                    "period_index": index,
                    "period_start": start,
                    "period_end": end,
                    "tokens_added": self.book.users[user_id].balance - before,
                    "entry_id": result.ledger_entry_id,
                    "created_at": self.book.now,
                }
            )
        return result
