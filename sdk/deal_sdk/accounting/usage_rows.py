"""The rows of usage reports: what one user did by one kind of operation within one period."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from deal_sdk.accounting.report_periods import ReportPeriod
from deal_sdk.amounts import DEAL_DECIMALS, format_amount


@dataclass(frozen=True, slots=True)
class CreditUsage:
    """What a user spent and earned in credits by one operation.

    A refund counts in the row of the operation that it gives back, so that the row shows what the
    operation came to; the net of all rows is the change of the balance.
    """

    user_id: UUID
    period: ReportPeriod
    operation_type: str
    spent: int
    earned: int
    """Granted, bought or renewed; what was given back is in `refunded`."""
    refunded: int
    count: int
    """Of operations, refunds not among them."""
    refunds: int

    @property
    def net(self) -> int:
        """Return by how much the balance changed."""
        return self.earned + self.refunded - self.spent

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON-serialisable data."""
        return {
            "user_id": str(self.user_id),
            "period_start": self.period.start.isoformat(),
            "period_end": self.period.end.isoformat(),
            "operation_type": self.operation_type,
            "spent": self.spent,
            "earned": self.earned,
            "refunded": self.refunded,
            "net": self.net,
            "count": self.count,
            "refunds": self.refunds,
        }


@dataclass(frozen=True, slots=True)
class PaymentUsage:
    """What a user paid and received in DEAL by one type of payment; amounts are base units."""

    user_id: UUID
    period: ReportPeriod
    type: str
    """As in `token_transactions`: service_fee, reward, purchase, deposit, ..."""
    paid: int
    received: int
    refunded: int
    """Given back to the user; negative where the user gave back more."""
    count: int
    """Of payments, refunds not among them; one between a user's own wallets is one."""
    refunds: int

    @property
    def net(self) -> int:
        """Return what the user has more than before, in base units."""
        return self.received + self.refunded - self.paid

    def to_dict(self, *, decimals: int = DEAL_DECIMALS) -> dict[str, Any]:
        """Return the row as JSON-serialisable data, amounts as text in whole tokens."""
        amounts = {"paid": self.paid, "received": self.received, "refunded": self.refunded, "net": self.net}
        return {
            "user_id": str(self.user_id),
            "period_start": self.period.start.isoformat(),
            "period_end": self.period.end.isoformat(),
            "type": self.type,
            **{name: format_amount(amount, decimals=decimals) for name, amount in amounts.items()},
            "count": self.count,
            "refunds": self.refunds,
        }
