"""The purchase limit as subscriptions use it: counted under the purchase's own id, given back on proof.

Owns which rule a subscription comes to. The gate decides, and the id makes a repeated count the same count.
"""

from __future__ import annotations

from typing import Final

from deal_sdk.limits import Gate, PurchaseRecords, PurchaseRule, Reservation, Settled
from deal_sdk.limits.rules import DEFAULT_PURCHASE_PERIOD_SECONDS
from deal_sdk.monitor.subscription_values import SubscriptionPurchase

GIVE_BACK_SECONDS: Final = 86_400
"""How long a count can be given back; it counts as used for good after that."""


class PurchaseCounter:
    """Counts purchases and gives back those that provably did not happen."""

    def __init__(
        self,
        gate: Gate,
        records: PurchaseRecords,
        *,
        period_seconds: int = DEFAULT_PURCHASE_PERIOD_SECONDS,
    ) -> None:
        """Keep the parts; nothing is asked yet."""
        self._gate = gate
        self._records = records
        self._period_seconds = period_seconds

    async def count(self, purchase: SubscriptionPurchase) -> bool:
        """Check and count one purchase at once; the same purchase again is not counted again.

        Returns:
            False at the limit; nothing was counted then.

        Raises:
            StoreUnavailableError, DatabaseError: it may be counted; the same call again is safe.
        """
        subscription = purchase.subscription
        assert subscription.token_buy_count is not None
        rule = PurchaseRule(
            subscription.user_id,
            purchase.buy.token_mint,
            subscription.token_buy_count,
            str(subscription.id),
            self._period_seconds,
        )
        decision = await self._gate.reserve(str(purchase.id), [rule], reservation_seconds=GIVE_BACK_SECONDS)
        if not decision.allowed:
            return False
        await self._records.add_counted(str(purchase.id), rule)
        return True

    async def give_back(self, purchase: SubscriptionPurchase) -> bool:
        """Take a count back, once; False when there is none, or it is too late.

        Raises:
            StoreUnavailableError: when the store failed; calling again is safe.
            DatabaseError: the count was given back, and its record still counts after a loss of the store.
        """
        reservation = Reservation(str(purchase.id), purchase.subscription.user_id)
        if await self._gate.cancel(reservation) is not Settled.CANCELLED:
            return False
        await self._records.cancel_counted(str(purchase.id))
        return True
