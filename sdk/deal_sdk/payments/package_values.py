"""What a credit package is, and the one way in which its credits are granted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol
from uuid import UUID

from deal_sdk.accounting import OperationResult
from deal_sdk.amounts import DEAL_DECIMALS, BaseUnits, format_amount
from deal_sdk.records import UserId
from deal_sdk.records.lot_tables import DEFAULT_LOT_PRIORITY

PACKAGE_PURCHASE: Final = "purchase"


class CreditGrants(Protocol):
    """Where credits are granted."""

    async def credit(
        self,
        user_id: UserId,
        operation_type: str,
        amount: int,
        metadata: Mapping[str, Any] | None = None,
        *,
        expires_in: timedelta | None = None,
        priority: int = DEFAULT_LOT_PRIORITY,
        idempotency_key: str | None = None,
    ) -> OperationResult:
        """Grant credits once for a key."""
        ...


@dataclass(frozen=True, slots=True)
class CreditPackage:
    """So many credits for so much DEAL."""

    id: UUID
    name: str
    credits: int
    price: BaseUnits
    created_at: datetime
    withdrawn_at: datetime | None
    lifetime_days: int | None = None
    """How long its credits last; None for ever."""
    priority: int = DEFAULT_LOT_PRIORITY
    """Of its credits; lower ones are spent first."""

    def to_dict(self, *, decimals: int = DEAL_DECIMALS) -> dict[str, Any]:
        """Return the package as JSON-serialisable data, its price as text in whole tokens."""
        withdrawn_at = self.withdrawn_at
        return {
            "id": str(self.id),
            "name": self.name,
            "credits": self.credits,
            "price": format_amount(self.price, decimals=decimals),
            "created_at": self.created_at.isoformat(),
            "withdrawn_at": None if withdrawn_at is None else withdrawn_at.isoformat(),
            "lifetime_days": self.lifetime_days,
            "priority": self.priority,
        }


async def grant_package(
    credits: CreditGrants,
    user_id: UUID,
    package: CreditPackage,
    *,
    said: Mapping[str, str],
    idempotency_key: str,
) -> OperationResult:
    """Grant a package's credits once for a key.

    Args:
        credits: where they are granted.
        user_id: who has them.
        package: what was bought.
        said: what paid for it, kept with the entry.
        idempotency_key: of what paid for it.
    """
    return await credits.credit(
        user_id,
        PACKAGE_PURCHASE,
        package.credits,
        {"package": package.name, "package_id": str(package.id), **said},
        expires_in=None if package.lifetime_days is None else timedelta(days=package.lifetime_days),
        priority=package.priority,
        idempotency_key=idempotency_key,
    )
