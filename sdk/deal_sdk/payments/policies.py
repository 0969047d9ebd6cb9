"""Stored purchase policies, looked up for many payments in one query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from deal_sdk.batching import Collector
from deal_sdk.errors import TokenError
from deal_sdk.limits import PurchaseRecords
from deal_sdk.payments.orders import PurchaseLimit

MAX_POLICIES_PER_QUERY: Final = 500


class StoredPolicies:
    """Answers which purchase limit a user has for one mint."""

    def __init__(self, records: PurchaseRecords, token_mint: str) -> None:
        """Look policies up for a mint; nothing is read yet."""
        self._records = records
        self._token_mint = token_mint
        self._lookups: Collector[UUID, PurchaseLimit | None] = Collector(
            self._look_up, max_items=MAX_POLICIES_PER_QUERY, max_in_flight=2
        )

    async def __call__(self, user_id: UUID) -> PurchaseLimit | None:
        """Return the user's stored limit, or None.

        Raises:
            DatabaseError: when it could not be read; a payment must not go on without knowing.
        """
        return await self._lookups.submit(user_id)

    async def close(self) -> None:
        """Finish the lookups under way."""
        await self._lookups.close()

    async def _look_up(self, user_ids: Sequence[UUID]) -> Sequence[PurchaseLimit | BaseException | None]:
        try:
            found = await self._records.get_policies(user_ids, self._token_mint)
        except TokenError as error:
            return [error] * len(user_ids)
        limits = {
            user_id: PurchaseLimit(
                policy.token_mint,
                policy.max_purchases,
                policy.subscription_id,
                policy.period_seconds,
                policy.calendar,
                policy.max_amount_base_units,
            )
            for user_id, policy in found.items()
        }
        return [limits.get(user_id) for user_id in user_ids]
